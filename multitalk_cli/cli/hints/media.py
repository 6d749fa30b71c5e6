"""Commands that help with pictures, voices and videos: converted, swapped, left out, named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.cli.hints.inputs import show_faces
from multitalk_cli.cli.hints.rule import Rule
from multitalk_cli.cli.typed_words import typed_again, typed_line
from multitalk_cli.reporting.formatting import shell_line, shell_word

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


def picture_first(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed, the picture moved to where the sound is."""
    picture, sound = facts.get("picture"), facts.get("sound")
    if picture not in words or sound not in words:
        return ""
    rest = [word for word in words if word != picture]
    at = rest.index(sound)
    return shell_line(["multitalk", *rest[:at], picture, *rest[at:]])


def convert_sound(facts: Mapping[str, Fact], words: list[str]) -> str:
    """Text becomes bytes; samples get a header, of the rate that speech services send them at."""
    path = str(facts.get("raw_file", ""))
    source, target = shell_word(path), shell_word(f"{path}.wav")
    from_samples = f"multitalk ffmpeg -f s16le -ar 24000 -ac 1 -i {source} {target}" if path else ""
    return from_samples or from_base64("wav")(facts, words)


def from_base64(ending: str) -> Rule:
    """Text becomes bytes."""

    def rule(facts: Mapping[str, Fact], _words: list[str]) -> str:
        path = facts.get("data_uri_file", facts.get("base64_file"))
        if path is None:
            return ""
        source, target = shell_word(str(path)), shell_word(f"{path}.{ending}")
        if "data_uri_file" in facts:
            return f"cut -d, -f2 {source} | base64 -d > {target}"
        return f"base64 -d {source} > {target}"

    return rule


def shrink_picture(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A smaller copy, still larger than any video, by a reader that takes less memory."""
    if "large_file" not in facts:
        return ""
    path = str(facts["large_file"])
    source, target = shell_word(path), shell_word(f"{path}.png")
    return f"multitalk ffmpeg -i {source} -vf scale=4096:-2 {target}"


def loop_over_voices(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A loop of a shell that makes a video of each voice."""
    if "image" not in facts:
        return ""
    image = shell_word(str(facts["image"]))
    return f'for f in *.wav; do multitalk generate {image} "$f"; done'


def fetch_address(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The address fetched by curl, then the words typed with its file."""
    address = facts.get("address")
    if address not in words:
        return ""
    name = str(address).partition("?")[0].rstrip("/").rpartition("/")[2] or "FILE"
    rest = [name if word == address else word for word in words]
    return f"{shell_line(['curl', '-fLo', name, str(address)])}\n{typed_line(rest)}"


def drop_voice(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with the voice once."""
    voice = facts.get("voice")
    if voice not in words:
        return ""
    last = len(words) - 1 - words[::-1].index(str(voice))
    return typed_line([*words[:last], *words[last + 1 :]])


def correct_speaker(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with a box that is right or a larger frame, or the numbered faces."""
    if "size" in facts and words[:1] in (["generate"], ["redo"]):
        return typed_again(words, "--size", str(facts["size"]))
    if "example" not in facts:
        return show_faces(words)
    typed, example = f"{facts['typed']}=", f"{facts['example']}="
    corrected = [word.replace(typed, example, 1) for word in words]
    return show_faces(words) if corrected == words else typed_line(corrected)


def inspect(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The command that tells what is known of a video without a recipe."""
    is_useful = "video" in facts and words[:1] != ["inspect"]
    return f"multitalk inspect {shell_word(str(facts['video']))}" if is_useful else ""


def name_input(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed, and the option for an input of the recipe that was not found."""
    option = facts.get("option")
    return typed_line([*words, str(option), str(facts["example"])]) if option else ""
