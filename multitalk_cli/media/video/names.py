"""Names of video files: how they end, and a right one in place of a wrong one."""

from __future__ import annotations

import os
from pathlib import Path

from multitalk_cli.errors import UsageError

SUFFIX, PREVIEW_SUFFIX = ".mp4", ".preview.mp4"
_SUFFIXES = {".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}


_FIRST = ".first"
FIRST_SUFFIXES = (_FIRST + SUFFIX, _FIRST + PREVIEW_SUFFIX)
"""Endings of the names of first windows."""
_LONGEST_BYTES = 255


def first_of(path: Path) -> Path:
    """The file of the first window of a video: `talk.first.mp4` of `talk.mp4`."""
    stem, suffix = _split(path.name)
    while len(os.fsencode(stem + _FIRST + suffix)) > _LONGEST_BYTES:
        stem = stem[:-1]
    return path.with_name(stem + _FIRST + suffix)


def whole_of(path: Path) -> Path:
    """The file of the whole video: `talk.mp4` of `talk.first.mp4`, any other path as it is."""
    stem, suffix = _split(path.name)
    name = stem.removesuffix(_FIRST)
    return path.with_name(name + suffix) if name else path


def preview_of(name: str) -> str:
    """The name of the preview of a video: `talk.preview.mp4` of `talk.mp4`, any other as it is."""
    stem = name.removesuffix(SUFFIX)
    is_video = stem != name and Path(name).name != SUFFIX and not name.endswith(PREVIEW_SUFFIX)
    return stem + PREVIEW_SUFFIX if is_video else name


def _split(name: str) -> tuple[str, str]:
    suffix = PREVIEW_SUFFIX if name.endswith(PREVIEW_SUFFIX) else Path(name).suffix
    return name.removesuffix(suffix), suffix


def suffix_of(*, preview: bool) -> str:
    """The ending of a valid name."""
    return PREVIEW_SUFFIX if preview else SUFFIX


def check_name(target: Path, stem: str, *, preview: bool = False, typed: str | None = None) -> None:
    """Raises UsageError E_OUTPUT_NAME for a name that is no video's.

    stem: of a name where nothing of the target's can be kept. typed: the target, or a template of
    it.
    """
    suffix = suffix_of(preview=preview)
    if target.name.endswith(suffix) and target.name != suffix:
        if preview or not target.name.endswith(PREVIEW_SUFFIX):
            return
        said = f"{target.name!r} is the name of a preview: that of a video ends in {SUFFIX} alone"
    else:
        what = f"a {'preview' if preview else 'video'}'s name ends in {suffix}"
        said = f"{what}, not {target.name!r}"
    proposed = _with_suffix(Path(target if typed is None else typed), stem, preview=preview)
    raise UsageError(
        said,
        code="E_OUTPUT_NAME",
        facts={"proposed": str(proposed)},
    )


def _with_suffix(path: Path, stem: str, *, preview: bool) -> Path:
    """The path with the ending of a valid name in place of one that is another type's."""
    if not preview and path.name.endswith(PREVIEW_SUFFIX):
        return path.with_name(path.name.removesuffix(PREVIEW_SUFFIX) + SUFFIX)
    # Of `take.v2` and `talk.` nothing is lost but the dots at the end; `-` is no name.
    name = path.name.rstrip(".") if path.name.strip("-.") else ""
    before, dot, suffix = name.rpartition(".")
    is_type = bool(before) and dot + suffix.lower() in _known_suffixes()
    kept = before if is_type else name if name else stem
    return path.with_name(kept + suffix_of(preview=preview))


def _known_suffixes() -> set[str]:
    import mimetypes

    return {*_SUFFIXES, *mimetypes.MimeTypes().types_map[True]}
