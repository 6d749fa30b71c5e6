"""The command that helps with an input that cannot be used: the words typed, with another one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from multitalk_cli.cli.typed_words import (
    option_values,
    typed_again,
    typed_line,
    typed_without,
    with_replaced,
)
from multitalk_cli.errors import MultitalkError
from multitalk_cli.files import shown_path
from multitalk_cli.media.video.names import FIRST_SUFFIXES
from multitalk_cli.reporting.formatting import shell_line

PICTURES = ("E_IMAGE_FORMAT", "E_IMAGE_BROKEN", "E_IMAGE_SIZE")
SOUNDS = (
    "E_AUDIO_FORMAT", "E_AUDIO_BROKEN", "E_AUDIO_NONE", "E_AUDIO_SILENT", "E_AUDIO_LENGTH",
)  # fmt: skip
FILES = ("E_FILE_MISSING", "E_FILE_UNREADABLE", *PICTURES, *SOUNDS)
"""Codes of an input that another file must replace."""
_OTHER_KINDS = ("mp4", "csv", "jsonl", "safetensors")
"""Endings of files that are no picture and no voice."""
_LIST_FIRST = "multitalk jobs ls --state first-window"


def other_input(error: MultitalkError, words: Sequence[str]) -> str:
    """The command typed with another file in place of the one that the error names.

    Empty where the error names none of the words.
    """
    name = _named(error, words)
    if not name:
        return ""
    if error.code == "E_FILE_MISSING":
        if words[:1] == ["finish"]:
            close = _similar_name(Path(name), FIRST_SUFFIXES)
            return typed_line(with_replaced(words, name, close)) if close else _LIST_FIRST
        close = _similar_name(Path(name))
        return typed_line(with_replaced(words, name, close)) if close else _list_folder(Path(name))
    ending = Path(name).suffix.lower().removeprefix(".")
    if ending in _OTHER_KINDS:
        return typed_line(with_replaced(words, name, f"OTHER.{ending}"))
    is_picture = error.code in PICTURES or (error.code not in SOUNDS and words[1:2] == [name])
    other = "OTHER.png" if is_picture else "OTHER.wav"
    return typed_line(with_replaced(words, name, other))


def _named(error: MultitalkError, words: Sequence[str]) -> str:
    """The file, of the words typed, with which the error's message begins."""
    candidates = {text for word in words[1:] for text in (word, word.partition("=")[2]) if text}
    named = [text for text in candidates if _begins_with(error.message, text)]
    return max(named, key=len, default="")


def _begins_with(message: str, text: str) -> bool:
    shown = (shown_path(Path(text)), repr(text))
    return message.startswith(tuple(f"{each}{end}" for each in shown for end in (" ", ":")))


def _similar_name(path: Path, endings: tuple[str, ...] = ("",)) -> str:
    """The path of a file beside it, with one of the endings, whose name is similar; or empty."""
    with suppress(OSError):
        files = [
            each for each in path.parent.iterdir() if each.is_file() and each.name.endswith(endings)
        ]
        same_kind = {each.stem: each for each in files if each.suffix == path.suffix}
        renamed = {each.stem: each for each in files if each.stem == path.stem}
        close = difflib.get_close_matches(path.stem, same_kind, n=1, cutoff=0.7)
        found = [*(same_kind[stem] for stem in close), *renamed.values()]
        return str(path.with_name(found[0].name)) if found else ""
    return ""


def _list_folder(path: Path) -> str:
    """The command that lists the nearest folder that exists."""
    folder = next((each for each in path.parents if each.is_dir()), Path())
    return shell_line(["ls", str(folder)])


def show_faces(words: Sequence[str]) -> str:
    """The command that draws the numbered faces of the picture that was typed."""
    voices = [text.partition("=")[2] for text in option_values(words, "--speaker")]
    kept = typed_without(words, "--speaker")
    has_voices = bool(voices) and all(voices) and kept[:1] == ["generate"]
    return typed_again([*kept, *voices], "--plan") if has_voices else ""
