"""Commands that help with weights and LoRAs: they fetch, repair or choose them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.cli.app_options import app_options
from multitalk_cli.cli.typed_words import typed_again, typed_line
from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.reporting.formatting import shell_line

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


def add_lora(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The download of the LoRA that the facts name."""
    if "lora" not in facts:
        return ""
    return download_command(facts, "--lora", str(facts["lora"]))


def replace_lora(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The download of a known LoRA to the folder of this machine where it is unusable."""
    is_known = "weights_folder" in facts and facts.get("lora") in KNOWN_LORAS
    return add_lora(facts, []) if is_known else ""


def download_command(facts: Mapping[str, Fact], *options: str) -> str:
    """`multitalk download` for the folder of weights that the facts name."""
    words = ["multitalk", "download"]
    if "weights_folder" in facts:
        words += ["--to", str(facts["weights_folder"])]
    return shell_line([*words, *app_options(facts), *options])


def download(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The download again, which resumes or repairs."""
    if not facts.keys() & {"volume", "weights_folder"}:
        return ""
    if "option" in facts and words[:1] == ["download"]:
        return typed_again(words, str(facts["option"]))
    options = ["--repair", "--yes"] if "damaged" in facts else []
    options += [str(facts["option"])] if "option" in facts else []
    return download_command(facts, *options)


def download_again(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The download that was typed, which resumes, or else that of the published weights."""
    if words[:1] == ["download"] and facts.keys() & {"volume", "weights_folder"}:
        return typed_line(words)
    return download(facts, words)


def choose_weights(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The pack below the folder that was named, or a download of one."""
    if "pack" not in facts:
        return "multitalk download --to weights"
    pack = str(facts["pack"])
    if words[:1] == ["generate"]:
        return typed_again(words, "--weights", pack)
    return shell_line(["multitalk", "config", "set", "weights", pack])


def pack_again(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The upload of the pack below a folder, or a download that makes one."""
    if "pack_folder" not in facts:
        return ""
    if "pack" in facts:
        return shell_line(["multitalk", "upload-weights", str(facts["pack"])])
    repair = ["--repair"] if "damaged" in facts else []
    return shell_line(["multitalk", "download", "--to", "weights", *repair])


def open_hub(facts: Mapping[str, Fact], words: list[str]) -> str:
    """A token for containers, where it is missing there."""
    if "volume" not in facts:
        return ""
    where = shell_line(["multitalk", "setup-secrets", "--only", "hf"])
    return "\n".join([where, "multitalk deploy", download(facts, words)])
