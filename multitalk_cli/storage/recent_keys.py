"""Keys of S3 that commands have seen, kept so that a shell completes them without a network."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from multitalk_cli.errors import FileError
from multitalk_cli.files import write_atomically

MOST_KEPT = 1000
_MOST_BYTES = 4_000_000


def keys_path() -> Path:
    """The file of addresses, one a line, the latest first; whether or not it exists."""
    import platformdirs

    return platformdirs.user_cache_path("multitalk") / "s3-keys"


def remember(addresses: Iterable[str]) -> None:
    """Puts addresses before those that are known; the oldest are forgotten."""
    fresh = [address for address in addresses if address.isprintable()]
    kept = list(dict.fromkeys([*fresh, *known()]))[:MOST_KEPT]
    path = keys_path()
    content = "".join(f"{address}\n" for address in kept)
    # What cannot be kept is only missing when Tab is pressed.
    with suppress(OSError, FileError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode(), mode=0o600)


def known() -> Iterator[str]:
    """The addresses that are kept, the latest first; none where the file cannot be read."""
    with suppress(OSError), keys_path().open(encoding="utf-8", errors="replace") as file:
        for line in file.read(_MOST_BYTES).splitlines():
            if line.startswith("s3://") and line.isprintable():
                yield line
