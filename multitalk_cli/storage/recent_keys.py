"""S3 keys that commands have seen, for completion in the shell without a network."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from multitalk_cli.errors import FileError
from multitalk_cli.files import is_printable, user_folder, write_atomically

MOST_KEPT = 1000
_MOST_BYTES = 4_000_000


def keys_path() -> Path:
    """The file of addresses, one a line, the latest first."""
    return user_folder("cache") / "s3-keys"


def remember(addresses: Iterable[str]) -> None:
    """Adds addresses before the known ones; the oldest are dropped."""
    fresh = [address for address in addresses if is_printable(address)]
    kept = list(dict.fromkeys([*fresh, *known()]))[:MOST_KEPT]
    path = keys_path()
    content = "".join(f"{address}\n" for address in kept)
    # A failure costs completion only.
    with suppress(OSError, FileError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode(), mode=0o600)


def known() -> Iterator[str]:
    """The known addresses, the latest first; none from an unreadable file."""
    with suppress(OSError), keys_path().open(encoding="utf-8", errors="replace") as file:
        for line in file.read(_MOST_BYTES).splitlines():
            if line.startswith("s3://") and is_printable(line):
                yield line
