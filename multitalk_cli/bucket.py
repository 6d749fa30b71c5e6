"""What `multitalk s3` does: which objects are meant, what their files are called, what is said."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, stored_keys
from multitalk_cli.errors import FileError, SetupError, StorageError, UsageError
from multitalk_cli.output import Output, align
from multitalk_cli.progress import DOWNLOADING, UPLOADING
from multitalk_cli.settings import is_unicode
from multitalk_cli.storage import MAX_URL_S, Address, Listing, StoredObject, parse_address
from multitalk_cli.wording import human_bytes, human_count, human_duration

if TYPE_CHECKING:
    from multitalk_cli.storage import Storage, Transferred

OUTPUTS = "outputs/"
MAX_LISTED = 100_000
_DAY_S = 24 * 3600
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": _DAY_S}
_GLOB = re.compile(r"[*?\[]")
_FIRST_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An object to fetch and the file that it becomes."""

    address: Address
    size_bytes: int
    target: Path


# Addresses


def to_address(text: str, bucket: str) -> Address:
    """The address that a user means: s3://bucket/key, or a key of the bucket that is set.

    bucket: empty where none is set. Raises UsageError, or SetupError E_S3_UNSET.
    """
    if not is_unicode(text):
        raise UsageError(f"{text!r} must be text in UTF-8", code="E_S3_ADDRESS")
    if re.match(r"s3:", text, re.IGNORECASE):
        return parse_address(text)
    if not bucket:
        raise SetupError(f"{text!r} names no bucket, and none is set", code="E_S3_UNSET")
    return parse_address(f"s3://{bucket}/{text}")


def to_object_address(text: str, bucket: str) -> Address:
    """As `to_address`, for something that must name one object."""
    address = to_address(text, bucket)
    if not address.key:
        raise UsageError(f"{text!r} names no object", code="E_S3_ADDRESS")
    return address


# ls


def parse_limit(raw: int) -> int:
    """How many objects to show. Raises UsageError E_RANGE."""
    if not 1 <= raw <= MAX_LISTED:
        raise UsageError(
            f"--limit must be from 1 to {MAX_LISTED}, not {raw}",
            code="E_RANGE",
            hint="multitalk s3 ls --help",
        )
    return raw


def show_listing(storage: Storage, address: Address, limit: int, deep: bool, out: Output) -> None:
    """Lists the newest objects below an address."""
    listing = storage.newest(address, limit, recursive=deep)
    stored_keys.remember(
        f"s3://{address.bucket}/{found.key}" for found in reversed(listing.objects)
    )
    hidden = listing.count - len(listing.objects)
    if hidden > 0:
        older = human_count(hidden, "older one")
        out.note(f"{older} not shown: --limit N shows more, up to {MAX_LISTED:,}")
    if not listing.count and not listing.folders:
        out.note(f"nothing in {address}")
    out.succeed("s3", _listing_data(address, listing), _listing_lines(listing, time.time()))


def _listing_data(address: Address, listing: Listing) -> dict[str, Any]:
    objects = [
        {
            "key": found.key,
            "size_bytes": found.size_bytes,
            "modified": datetime.fromtimestamp(found.modified_s, UTC).isoformat(),
            "etag": found.etag,
        }
        for found in listing.objects
    ]
    return {
        "bucket": address.bucket,
        "prefix": address.key,
        "folders": list(listing.folders),
        "objects": objects,
        "count": listing.count,
        "size_bytes": listing.size_bytes,
    }


def _listing_lines(listing: Listing, now_s: float) -> list[str]:
    rows = [("", "", _shown(folder)) for folder in listing.folders]
    rows += [
        (human_bytes(found.size_bytes), age(now_s - found.modified_s), _shown(found.key))
        for found in listing.objects
    ]
    if not rows:
        return []
    widest = max(len(size) for size, _, _ in rows)
    return align([(size.rjust(widest), old, key) for size, old, key in rows])


def _shown(key: str) -> str:
    return key if key.isprintable() else ascii(key)


def age(seconds: float) -> str:
    """How old something is: `42 s ago`, `9 min ago`, `3 days ago`."""
    if seconds >= 2 * _DAY_S:
        return f"{human_count(int(seconds // _DAY_S), 'day')} ago"
    return f"{human_duration(max(0.0, seconds))} ago"


# get


def fetch(
    storage: Storage, addresses: Sequence[Address], asked: str | None, force: bool, out: Output
) -> None:
    """Fetches objects, each into a file of its own; `asked` is -o."""
    wanted = _choose_targets(list(_expand(storage, addresses, out)), asked, out)
    with _kept_on_interrupt(out):
        fetched = _transfer_all(storage, wanted, force, out)
    stored_keys.remember(str(one.address) for one in wanted)
    data = [
        {
            "address": str(one.address),
            "output": str(one.target.absolute()),
            "size_bytes": done.size_bytes,
            "checked": done.checked,
            "resumed_bytes": done.resumed_bytes,
        }
        for one, done in zip(wanted, fetched, strict=True)
    ]
    out.succeed("s3", {"files": data}, [str(one.target.absolute()) for one in wanted])


def latest(storage: Storage, address: Address) -> Address:
    """The newest object below an address. Raises StorageError E_S3_KEY where there is none."""
    listing = storage.newest(address, 1)
    if not listing.objects:
        raise StorageError(
            f"there is nothing in {address}",
            code="E_S3_KEY",
            hint=f"multitalk s3 ls {shlex.quote(f's3://{address.bucket}/')} --recursive",
        )
    return Address(bucket=address.bucket, key=listing.objects[-1].key)


def _expand(
    storage: Storage, addresses: Sequence[Address], out: Output
) -> Iterator[tuple[Address, StoredObject]]:
    """The objects meant, with patterns replaced by what they match; each once."""
    seen = set()
    for address in addresses:
        for found in _matches(storage, address, out):
            one = Address(bucket=address.bucket, key=found.key)
            if one not in seen:
                seen.add(one)
                yield one, found


def _matches(storage: Storage, address: Address, out: Output) -> Iterator[StoredObject]:
    if not _GLOB.search(address.key):
        yield storage.find(address)
        return
    prefix = _GLOB.split(address.key, maxsplit=1)[0]
    count = 0
    for found in storage.each(Address(bucket=address.bucket, key=prefix)):
        if isinstance(found, str) or not _fits(found.key, address.key):
            continue
        count += 1
        if found.key == address.key or is_safe_name(_name_of(found.key)):
            yield found
        else:
            out.warn(f"{_shown(found.key)} is left out: no file should have that name")
    if not count:
        raise StorageError(
            f"nothing matches {address}",
            code="E_S3_KEY",
            hint=f"multitalk s3 ls {shlex.quote(f's3://{address.bucket}/{prefix}')} --recursive",
        )


def _fits(key: str, pattern: str) -> bool:
    """As a shell matches paths: a star does not reach over a slash, two stars do.

    A key fits itself, whatever is in it. Consoles show folders as empty objects with a slash at
    their end: these never fit.
    """
    if key == pattern or key.endswith("/"):
        return key == pattern
    if "**" not in pattern and key.count("/") != pattern.count("/"):
        return False
    return fnmatchcase(key, pattern)


def _choose_targets(
    objects: Sequence[tuple[Address, StoredObject]], asked: str | None, out: Output
) -> list[_Wanted]:
    """Where each object goes. Raises UsageError and FileError before anything is fetched."""
    if not objects:
        out.note("nothing to fetch")
    folder, name = _place(asked, len(objects))
    wanted = [
        _Wanted(
            address=address,
            size_bytes=found.size_bytes,
            target=folder / (name if name else _file_name(address)),
        )
        for address, found in objects
    ]
    owners: dict[Path, Address] = {}
    for one in wanted:
        if one.target in owners:
            raise UsageError(
                f"{owners[one.target]} and {one.address} would be the same file {one.target}",
                code="E_OUTPUT_NAME",
                hint="fetch them one by one, each with -o FILE",
            )
        owners[one.target] = one.address
    return wanted


def _place(asked: str | None, count: int) -> tuple[Path, str]:
    """The folder that -o means, and the file's name in it if it says one."""
    if asked is None:
        return Path(), ""
    if not asked:
        raise UsageError("-o is empty", code="E_OUTPUT_NAME", hint="-o FILE or -o FOLDER/")
    is_folder = asked.endswith("/") or os.path.isdir(asked)  # noqa: PTH112 - never raises
    if count > 1 and not is_folder:
        raise UsageError(
            f"{count} objects do not fit into one file {asked!r}",
            code="E_OUTPUT_NAME",
            hint=f"-o {shlex.quote(asked + '/')}",
        )
    folder = Path(asked) if is_folder else Path(asked).parent
    if not folder.is_dir():
        raise FileError(
            f"the output's folder {str(folder)!r} does not exist",
            code="E_OUTPUT_PATH",
            hint=f"mkdir -p {shlex.quote(str(folder))}",
        )
    return folder, "" if is_folder else Path(asked).name


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


def is_safe_name(name: str) -> bool:
    """Whether a file may be called what somebody else has called an object.

    Nothing hidden, nothing that leaves the folder, nothing that moves a terminal's cursor.
    """
    return bool(name) and not name.startswith(".") and name.isprintable()


def _file_name(address: Address) -> str:
    name = _name_of(address.key)
    if not is_safe_name(name):
        raise UsageError(
            f"{_shown(str(address))} has no name that a file should have",
            code="E_OUTPUT_NAME",
            hint="add -o FILE",
        )
    return name


def _transfer_all(
    storage: Storage, wanted: Sequence[_Wanted], force: bool, out: Output
) -> list[Transferred]:
    total = sum(one.size_bytes for one in wanted)
    done = 0
    fetched = []
    with out.progress() as view:

        def report(count: int) -> None:
            nonlocal done
            # An object may have been replaced by a larger one since it was listed.
            done = min(done + count, total)
            view.show(contract.Stage(name=DOWNLOADING, done=done, total=total))

        for one in wanted:
            result = storage.get(one.address, one.target, overwrite=force, report=report)
            fetched.append(result)
            _say_fetched(one, result, out)
    return fetched


def _say_fetched(one: _Wanted, result: Transferred, out: Output) -> None:
    if result.resumed_bytes:
        out.fact("resumed", f"{human_bytes(result.resumed_bytes)} were already there")
    out.fact("fetched", f"{one.address}, {human_bytes(result.size_bytes)}, {result.checked} right")


@contextmanager
def _kept_on_interrupt(out: Output) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        out.leaving = "interrupted; the same command goes on where this one stopped"
        raise


# put and url


def store(storage: Storage, source: Path, address: Address, force: bool, out: Output) -> None:
    """Stores a file. A key that is empty or ends with a slash gets the file's name."""
    if not address.key or address.key.endswith("/"):
        address = Address(bucket=address.bucket, key=address.key + source.name)
    with out.progress() as view:
        total = source.stat().st_size if source.is_file() else 0
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done = min(done + count, total)
            view.show(contract.Stage(name=UPLOADING, done=done, total=total))

        result = storage.put(source, address, overwrite=force, report=report)
    stored_keys.remember([str(address)])
    data = {"address": str(address), "size_bytes": result.size_bytes}
    out.fact("stored", f"{source.name}, {human_bytes(result.size_bytes)}")
    out.succeed("s3", data, [str(address)])


def parse_expiry(text: str) -> int:
    """Seconds in `45m`, `1h`, `7d` or a number of seconds. Raises UsageError E_RANGE."""
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 1 <= seconds <= MAX_URL_S:
        raise UsageError(
            f"--expires must be from 1s to 7d, not {text!r}",
            code="E_RANGE",
            hint="multitalk s3 url KEY --expires 1h",
        )
    return seconds


def show_url(storage: Storage, address: Address, expires_s: int, out: Output) -> None:
    """Prints an address that anybody can read the object with for a while."""
    storage.find(address)
    url = storage.url(address, expires_s)
    if storage.has_temporary_credentials:
        out.warn("the URL ends with the session of your credentials, if that is sooner")
    out.note(f"anybody who has it can read the object for {human_duration(expires_s)}")
    out.succeed("s3", {"address": str(address), "url": url, "expires_s": expires_s}, [url])
