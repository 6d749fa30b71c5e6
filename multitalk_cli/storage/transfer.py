"""The work of `multitalk s3`: which objects are meant, what their files are called, transfers."""

from __future__ import annotations

import os
import re
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
from multitalk_cli.files import (
    is_safe_name,
    is_same_file,
    is_web_address,
    open_input,
    shown_path,
)
from multitalk_cli.reporting.formatting import human_bytes, shell_line, shell_word
from multitalk_cli.reporting.reporter import Reporter
from multitalk_cli.storage import recent_keys
from multitalk_cli.storage.address import S3Uri, is_folder, is_stored, parse_uri, shown_key
from multitalk_cli.storage.client import Listing, StoredObject

if TYPE_CHECKING:
    from multitalk_cli.storage.client import Storage, Transferred


OUTPUTS = "outputs/"
_GZIP = ("gzip", "x-gzip")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketListing:
    """The newest objects below a URI."""

    uri: S3Uri
    listing: Listing


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """An object that is now a file. checked: the digest that its bytes were compared by.

    was_there: whether it was one before.
    """

    uri: S3Uri
    path: Path
    size_bytes: int
    checked: str
    resumed_bytes: int
    was_there: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrl:
    """A web address that reads one object without credentials.

    ends_with_session: the credentials are temporary, and the address may expire with them.
    """

    uri: S3Uri
    url: str
    expires_s: int
    ends_with_session: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Download:
    """An object to fetch and the file that it becomes."""

    uri: S3Uri
    size_bytes: int
    target: Path


# URIs


def to_uri(text: str, bucket: str) -> S3Uri:
    """The URI that a user means: s3://bucket/key, or a key of the bucket that is set.

    bucket: empty where none is set. Raises UsageError, or SetupError E_S3_UNSET.
    """
    if not is_unicode(text):
        raise UsageError(f"{text!r} must be text in UTF-8", code="E_S3_ADDRESS")
    if re.match(r"s3:", text, re.IGNORECASE):
        return parse_uri(text)
    if is_web_address(text):
        message = f"{text!r} is a web address, not s3://BUCKET/KEY"
        raise UsageError(message, code="E_S3_ADDRESS")
    if not bucket:
        raise SetupError(f"{text!r} names no bucket, and none is set", code="E_S3_UNSET")
    return parse_uri(f"s3://{bucket}/{text}")


def to_object_uri(text: str, bucket: str) -> S3Uri:
    """Like `to_uri`, for something that must name one object."""
    uri = to_uri(text, bucket)
    if not uri.key:
        raise UsageError(f"{text!r} names no object", code="E_S3_ADDRESS")
    if is_folder(uri.key):
        raise UsageError(
            f"{text!r} is a folder: its objects are {text + '*'!r}",
            code="E_S3_ADDRESS",
            facts={"folder": str(uri)},
        )
    return uri


# ls


def list_newest(storage: Storage, uri: S3Uri, limit: int, *, recursive: bool) -> BucketListing:
    """The newest objects below a URI, whose keys a shell completes from then on.

    A folder may be named without its slash.
    """
    uri, listing = _newest(storage, uri, limit, recursive=recursive)
    recent_keys.remember(f"s3://{uri.bucket}/{found.key}" for found in reversed(listing.objects))
    return BucketListing(uri=uri, listing=listing)


def _newest(storage: Storage, uri: S3Uri, limit: int, *, recursive: bool) -> tuple[S3Uri, Listing]:
    """The newest objects of the folder that a URI names, else those whose keys begin with it."""
    if uri.key and not is_folder(uri.key):
        folder = S3Uri(bucket=uri.bucket, key=f"{uri.key}/")
        listing = storage.newest(folder, limit, recursive=recursive)
        if listing.count or listing.folders:
            return folder, listing
    return uri, storage.newest(uri, limit, recursive=recursive)


# get


def fetch(
    storage: Storage,
    uris: Sequence[S3Uri],
    output_path: str | None,
    *,
    overwrite: bool,
    reporter: Reporter,
) -> list[FetchedFile]:
    """Fetches objects, each into a file of its own. output_path: a file, or a folder with a slash.

    Raises UsageError and FileError before anything is fetched, then as `Storage.get`.
    """
    downloads = _choose_targets(list(_expand(storage, uris, reporter)), output_path, reporter)
    with _kept_on_interrupt(reporter):
        fetched = _fetch_all(storage, downloads, overwrite, reporter)
    recent_keys.remember(str(one.uri) for one in downloads)
    return fetched


def latest(storage: Storage, uri: S3Uri) -> S3Uri:
    """The newest object below a URI. Raises StorageError E_S3_KEY for an empty place."""
    uri, listing = _newest(storage, uri, 1, recursive=True)
    if not listing.objects:
        raise StorageError(
            f"{uri} is empty", code="E_S3_KEY", facts={"folder": f"s3://{uri.bucket}/"}
        )
    return S3Uri(bucket=uri.bucket, key=listing.objects[-1].key)


def _expand(
    storage: Storage, uris: Sequence[S3Uri], reporter: Reporter
) -> Iterator[tuple[S3Uri, StoredObject]]:
    """The objects meant, with patterns replaced by their matches; each once."""
    seen = set()
    for uri in uris:
        for found in _matches(storage, uri, reporter):
            one = S3Uri(bucket=uri.bucket, key=found.key)
            if one not in seen:
                seen.add(one)
                yield one, found


def _matches(storage: Storage, uri: S3Uri, reporter: Reporter) -> Iterator[StoredObject]:
    if not _GLOB.search(uri.key):
        yield storage.find(uri)
        return
    prefix = _GLOB.split(uri.key, maxsplit=1)[0]
    count = 0
    for found in storage.iter_objects(S3Uri(bucket=uri.bucket, key=prefix)):
        if isinstance(found, str) or not _fits(found.key, uri.key):
            continue
        count += 1
        if found.key == uri.key or is_safe_name(_name_of(found.key)):
            yield found
        else:
            reporter.warn(f"{shown_key(found.key)} is skipped: unsafe as a file name")
    if not count:
        raise StorageError(
            f"no object matches {uri}",
            code="E_S3_KEY",
            facts={"folder": f"s3://{uri.bucket}/{prefix}"},
        )


def _fits(key: str, pattern: str) -> bool:
    """Whether a key matches, as paths in a shell: a star does not reach over a slash, two stars do.

    A key fits itself, whatever is in it. Consoles show folders as empty objects with a slash at
    their end: these never fit.
    """
    if key == pattern or is_folder(key):
        return key == pattern
    if "**" not in pattern and key.count("/") != pattern.count("/"):
        return False
    return fnmatchcase(key, pattern)


def _choose_targets(
    objects: Sequence[tuple[S3Uri, StoredObject]], output_path: str | None, reporter: Reporter
) -> list[_Download]:
    """The file of each object. Raises UsageError and FileError."""
    if not objects:
        reporter.note("nothing to fetch")
    folder, name = _folder_and_name(output_path, len(objects))
    downloads = [
        _Download(
            uri=uri,
            size_bytes=found.size_bytes,
            target=folder / (name if name else _file_name(uri)),
        )
        for uri, found in objects
    ]
    owners: dict[Path, S3Uri] = {}
    for one in downloads:
        if one.target in owners:
            raise UsageError(
                f"{owners[one.target]} and {one.uri} would be the same file {one.target}",
                code="E_OUTPUT_NAME",
                facts={"problem": "same file"},
            )
        owners[one.target] = one.uri
    return downloads


def _folder_and_name(output_path: str | None, count: int) -> tuple[Path, str]:
    """The folder that -o names, and the file's name in it; empty for the names of the objects."""
    if output_path is None:
        return Path(), ""
    if not output_path:
        raise UsageError("-o is empty", code="E_OUTPUT_NAME", facts={"problem": "empty"})
    is_folder = output_path.endswith("/") or os.path.isdir(output_path)  # noqa: PTH112 - never raises
    if count > 1 and not is_folder:
        raise UsageError(
            f"{count} objects do not fit into one file {output_path!r}",
            code="E_OUTPUT_NAME",
            facts={"folder": f"{output_path}/"},
        )
    folder = Path(output_path) if is_folder else Path(output_path).parent
    if not folder.is_dir():
        raise FileError(
            f"the output's folder {str(folder)!r} does not exist",
            code="E_OUTPUT_PATH",
            facts={"missing_folder": str(folder)},
        )
    return folder, "" if is_folder else Path(output_path).name


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


def _file_name(uri: S3Uri) -> str:
    name = _name_of(uri.key)
    if not is_safe_name(name):
        raise UsageError(
            f"{shown_key(str(uri))} is unsafe as a file name",
            code="E_OUTPUT_NAME",
            facts={"problem": "unsafe key"},
        )
    return name


def _fetch_all(
    storage: Storage, downloads: Sequence[_Download], overwrite: bool, reporter: Reporter
) -> list[FetchedFile]:
    total = sum(one.size_bytes for one in downloads)
    done = 0
    fetched = []
    with reporter.progress() as view:

        def report(count: int) -> None:
            nonlocal done
            # An object may have been replaced by a larger one since it was listed.
            done = min(done + count, total)
            view.show(contract.Stage(name=DOWNLOADING, done=done, total=total))

        for one in downloads:
            moved = storage.get(one.uri, one.target, overwrite=overwrite, report=report)
            _report_fetched(moved, one.target, reporter)
            fetched.append(
                FetchedFile(
                    uri=one.uri,
                    path=one.target.absolute(),
                    size_bytes=moved.size_bytes,
                    checked=moved.checked,
                    resumed_bytes=moved.resumed_bytes,
                    was_there=moved.was_there,
                )
            )
    return fetched


def _report_fetched(moved: Transferred, target: Path, reporter: Reporter) -> None:
    if moved.resumed_bytes and not moved.was_there:
        reporter.fact("resumed", f"{human_bytes(moved.resumed_bytes)} were already there")
    about = f"{moved.uri}, {human_bytes(moved.size_bytes)}, {moved.checked} OK"
    if moved.was_there:
        reporter.fact("present", f"{about}: not fetched again")
    else:
        reporter.fact("fetched", about)
    if moved.encoding:
        name = shown_path(target)
        warning = f"{name} is as the store keeps it, in the encoding {moved.encoding}"
        if moved.encoding in _GZIP:
            words = shell_line(["gunzip", "-c", str(target)])
            unpacked = shell_word(str(target.with_name(f"unpacked-{target.name}")))
            warning += f"; to unpack it:\n{words} > {unpacked}"
        reporter.warn(warning)


@contextmanager
def _kept_on_interrupt(reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        reporter.leaving = "interrupted; the same command resumes"
        raise


# put


def split_sources(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The files of a `put`, and the KEY behind them if there is one.

    A pattern of a shell may have given any number of files: a word that is a file is never the KEY,
    so that no file is stored under another one's name. Raises UsageError E_CONFLICT where a word
    could be both.
    """
    files, last = list(words[:-1]), words[-1]
    if not files and not is_stored(last):
        return [last], None
    is_bucket = is_stored(last) and last.count("/") == 2
    if last.endswith("/") or is_bucket or (is_stored(last) and len(files) < 2):
        return files, last
    is_other_file = os.path.lexists(last) and not is_same_file(Path(files[0]), Path(last))
    if len(files) > 1 or is_other_file:
        problem = f"{len(files)} files do not fit under one KEY {last!r}"
        raise UsageError(
            f"{last!r} is a file, and could be a KEY" if is_other_file else problem,
            code="E_CONFLICT",
            facts={"sources": tuple(words), "is_file": is_other_file},
        )
    return files, last


def store(
    storage: Storage, sources: Sequence[Path], uri: S3Uri, *, overwrite: bool, reporter: Reporter
) -> list[Transferred]:
    """Stores files. A key that is empty or ends with a slash is a folder, for any number of them.

    Raises UsageError and FileError before anything is stored, then as `Storage.put`.
    """
    uploads = _choose_keys(sources, uri)
    sizes = []
    for source in sources:
        with open_input(source) as file:
            sizes.append(os.fstat(file.fileno()).st_size)
    stored = []
    with reporter.progress() as view:
        total, done = sum(sizes), 0

        def report(count: int) -> None:
            nonlocal done
            done = min(done + count, total)
            view.show(contract.Stage(name=UPLOADING, done=done, total=total))

        for target, source in uploads.items():
            moved = storage.put(source, target, overwrite=overwrite, report=report)
            reporter.fact("stored", f"{source.name}, {human_bytes(moved.size_bytes)}")
            stored.append(moved)
    recent_keys.remember(str(target) for target in uploads)
    return stored


def _choose_keys(sources: Sequence[Path], uri: S3Uri) -> dict[S3Uri, Path]:
    """The file of each object. Raises UsageError E_CONFLICT for two files of one name."""
    if uri.key and not is_folder(uri.key):
        return {uri: sources[0]}
    uploads: dict[S3Uri, Path] = {}
    for source in sources:
        target = S3Uri(bucket=uri.bucket, key=uri.key + source.name)
        if target in uploads:
            message = f"{uploads[target]} and {source} would be the same object {target}"
            raise UsageError(message, code="E_CONFLICT", facts={"sources": (str(source),)})
        uploads[target] = source
    return uploads


# url


def sign_url(storage: Storage, uri: S3Uri, expires_s: int) -> SignedUrl:
    """A URL of an object that can be read; the errors of `Storage.require_readable`."""
    storage.require_readable(uri)
    return SignedUrl(
        uri=uri,
        url=storage.url(uri, expires_s),
        expires_s=expires_s,
        ends_with_session=storage.has_temporary_credentials,
    )
