"""The recipe and the AI-generated mark inside an MP4."""

import json
import os
import re
from pathlib import Path
from typing import Any

from multitalk_cli.files import open_input
from multitalk_cli.media.video.mp4_boxes import BoxError, child, children, read_moov

AI_MARK = "AI-generated video made with MultiTalk"
MAX_RECIPE_BYTES = 64 * 1024
COMMENT, WRITER = b"\xa9cmt", b"\xa9too"
"""Tags: the comment, which holds the recipe, and the program that wrote the file."""
_UTF8 = 1


def to_metadata(recipe: str, *, title: str, mark: str) -> bytes:
    """The tags of a video as a file that ffmpeg reads.

    recipe: a JSON object. Raises ValueError for anything else, or more than MAX_RECIPE_BYTES.
    """
    if len(recipe.encode()) > MAX_RECIPE_BYTES or not isinstance(json.loads(recipe), dict):
        raise ValueError(f"a recipe is a JSON object of at most {MAX_RECIPE_BYTES} bytes")
    tags = {"title": title, "description": mark, "comment": recipe}
    lines = [f"{name}={_escaped(value)}" for name, value in tags.items() if value]
    return "\n".join([";FFMETADATA1", *lines, ""]).encode()


def _escaped(value: str) -> str:
    return re.sub(r"([=;#\\\n])", r"\\\1", value)


def replace_recipe(path: Path, old: str, new: str) -> None:
    """Writes another recipe over the one that an MP4 carries; both are equally long ASCII."""
    with path.open("r+b") as file:
        moov, _ = read_moov(file)
        at = moov.find(old.encode("ascii"))
        if at < 0 or len(old) != len(new):
            raise ValueError(f"{path.name} carries another recipe")
        file.seek(at - len(moov), os.SEEK_CUR)
        file.write(new.encode("ascii"))


def read_tags(path: Path) -> dict[bytes, str]:
    """The text tags of an MP4 by their four-byte names; empty for a file without tags.

    Raises the errors of `open_input`.
    """
    with open_input(path) as file:
        try:
            return _tags(read_moov(file)[0])
        except BoxError:
            return {}


def _tags(moov: bytes) -> dict[bytes, str]:
    meta = child(moov, b"udta", b"meta")
    items = None if meta is None else child(meta[4:], b"ilst")
    found = {}
    for name, item in children(items or b""):
        data = child(item, b"data")
        if data is not None and int.from_bytes(data[:4], "big") == _UTF8:
            found[name] = data[8 : 8 + MAX_RECIPE_BYTES + 1].decode("utf-8", "replace")
    return found


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe inside an MP4, None without a valid one. Its content is untrusted.

    Raises the errors of `open_input`.
    """
    text = read_tags(path).get(COMMENT, "")
    if not text or len(text.encode()) > MAX_RECIPE_BYTES:
        return None
    try:
        recipe = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return recipe if isinstance(recipe, dict) else None
