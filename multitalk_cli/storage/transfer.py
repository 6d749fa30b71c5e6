"""What `multitalk s3` does: which objects are meant, what their files are called, what is said."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.contract.events import DOWNLOADING, UPLOADING
from multitalk_cli.contract.limits import is_unicode
from multitalk_cli.errors import FileError, SetupError, StorageError, UsageError
from multitalk_cli.files import is_safe_name
from multitalk_cli.reporting.formatting import human_bytes
from multitalk_cli.reporting.reporter import Reporter
from multitalk_cli.storage import recent_keys
from multitalk_cli.storage.address import S3Uri, parse_uri, shown_key
from multitalk_cli.storage.client import StoredObject

if TYPE_CHECKING:
    from multitalk_cli.storage.client import Storage, Transferred


OUTPUTS = "outputs/"
_GLOB = re.compile(r"[*?\[]")
_FIRST_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An object to fetch and the file that it becomes."""

    address: S3Uri
    size_bytes: int
    target: Path


# Addresses


def to_address(text: str, bucket: str) -> S3Uri:
    """The address that a user means: s3://bucket/key, or a key of the bucket that is set.

    bucket: empty where none is set. Raises UsageError, or SetupError E_S3_UNSET.
    """
    if not is_unicode(text):
        raise UsageError(f"{text!r} must be text in UTF-8", code="E_S3_ADDRESS")
    if re.match(r"s3:", text, re.IGNORECASE):
        return parse_uri(text)
    if not bucket:
        raise SetupError(f"{text!r} names no bucket, and none is set", code="E_S3_UNSET")
    return parse_uri(f"s3://{bucket}/{text}")


def to_object_address(text: str, bucket: str) -> S3Uri:
    """As `to_address`, for something that must name one object."""
    address = to_address(text, bucket)
    if not address.key:
        raise UsageError(f"{text!r} names no object", code="E_S3_ADDRESS")
    return address


# get


def fetch(
    storage: Storage, addresses: Sequence[S3Uri], asked: str | None, force: bool, reporter: Reporter
) -> None:
    """Fetches objects, each into a file of its own; `asked` is -o."""
    wanted = _choose_targets(list(_expand(storage, addresses, reporter)), asked, reporter)
    with _kept_on_interrupt(reporter):
        fetched = _transfer_all(storage, wanted, force, reporter)
    recent_keys.remember(str(one.address) for one in wanted)
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
    reporter.succeed("s3", {"files": data}, [str(one.target.absolute()) for one in wanted])


def latest(storage: Storage, address: S3Uri) -> S3Uri:
    """The newest object below an address. Raises StorageError E_S3_KEY where there is none."""
    listing = storage.newest(address, 1)
    if not listing.objects:
        raise StorageError(
            f"there is nothing in {address}",
            code="E_S3_KEY",
            hint=f"multitalk s3 ls {shlex.quote(f's3://{address.bucket}/')} --recursive",
        )
    return S3Uri(bucket=address.bucket, key=listing.objects[-1].key)


def _expand(
    storage: Storage, addresses: Sequence[S3Uri], reporter: Reporter
) -> Iterator[tuple[S3Uri, StoredObject]]:
    """The objects meant, with patterns replaced by what they match; each once."""
    seen = set()
    for address in addresses:
        for found in _matches(storage, address, reporter):
            one = S3Uri(bucket=address.bucket, key=found.key)
            if one not in seen:
                seen.add(one)
                yield one, found


def _matches(storage: Storage, address: S3Uri, reporter: Reporter) -> Iterator[StoredObject]:
    if not _GLOB.search(address.key):
        yield storage.find(address)
        return
    prefix = _GLOB.split(address.key, maxsplit=1)[0]
    count = 0
    for found in storage.each(S3Uri(bucket=address.bucket, key=prefix)):
        if isinstance(found, str) or not _fits(found.key, address.key):
            continue
        count += 1
        if found.key == address.key or is_safe_name(_name_of(found.key)):
            yield found
        else:
            reporter.warn(f"{shown_key(found.key)} is left out: no file should have that name")
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
    objects: Sequence[tuple[S3Uri, StoredObject]], asked: str | None, reporter: Reporter
) -> list[_Wanted]:
    """Where each object goes. Raises UsageError and FileError before anything is fetched."""
    if not objects:
        reporter.note("nothing to fetch")
    folder, name = _place(asked, len(objects))
    wanted = [
        _Wanted(
            address=address,
            size_bytes=found.size_bytes,
            target=folder / (name if name else _file_name(address)),
        )
        for address, found in objects
    ]
    owners: dict[Path, S3Uri] = {}
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


def _file_name(address: S3Uri) -> str:
    name = _name_of(address.key)
    if not is_safe_name(name):
        raise UsageError(
            f"{shown_key(str(address))} has no name that a file should have",
            code="E_OUTPUT_NAME",
            hint="add -o FILE",
        )
    return name


def _transfer_all(
    storage: Storage, wanted: Sequence[_Wanted], force: bool, reporter: Reporter
) -> list[Transferred]:
    total = sum(one.size_bytes for one in wanted)
    done = 0
    fetched = []
    with reporter.progress() as view:

        def report(count: int) -> None:
            nonlocal done
            # An object may have been replaced by a larger one since it was listed.
            done = min(done + count, total)
            view.show(contract.Stage(name=DOWNLOADING, done=done, total=total))

        for one in wanted:
            result = storage.get(one.address, one.target, overwrite=force, report=report)
            fetched.append(result)
            _say_fetched(one, result, reporter)
    return fetched


def _say_fetched(one: _Wanted, result: Transferred, reporter: Reporter) -> None:
    if result.resumed_bytes:
        reporter.fact("resumed", f"{human_bytes(result.resumed_bytes)} were already there")
    reporter.fact(
        "fetched", f"{one.address}, {human_bytes(result.size_bytes)}, {result.checked} right"
    )


@contextmanager
def _kept_on_interrupt(reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        reporter.leaving = "interrupted; the same command goes on where this one stopped"
        raise


# put and url


def store(storage: Storage, source: Path, address: S3Uri, force: bool, reporter: Reporter) -> None:
    """Stores a file. A key that is empty or ends with a slash gets the file's name."""
    if not address.key or address.key.endswith("/"):
        address = S3Uri(bucket=address.bucket, key=address.key + source.name)
    with reporter.progress() as view:
        total = source.stat().st_size if source.is_file() else 0
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done = min(done + count, total)
            view.show(contract.Stage(name=UPLOADING, done=done, total=total))

        result = storage.put(source, address, overwrite=force, report=report)
    recent_keys.remember([str(address)])
    data = {"address": str(address), "size_bytes": result.size_bytes}
    reporter.fact("stored", f"{source.name}, {human_bytes(result.size_bytes)}")
    reporter.succeed("s3", data, [str(address)])
