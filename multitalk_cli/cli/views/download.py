"""Results of `multitalk download` and `multitalk upload-weights` as lines and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cli.app_options import for_app
from multitalk_cli.cli.hints.weights import download_command
from multitalk_cli.cli.layout import Block, Table
from multitalk_cli.cli.views.next_step import GENERATE
from multitalk_cli.contract.loras import STEP_LORA, split_strength
from multitalk_cli.planning.presets import PRESETS, STEP_PRESET, Denoising
from multitalk_cli.reporting.formatting import human_bytes, human_count, human_money, shell_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multitalk_cli.cloud.pack import UploadedPack
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.weights.download import (
        AddedLora,
        DownloadedWeights,
        ListedFile,
        ListedWeights,
        PrunedWeights,
        VerifiedWeights,
    )


# The download itself


def downloaded_data(result: DownloadedWeights) -> dict[str, Any]:
    """The JSON of `download`."""
    data = {
        "pack": result.pack,
        "precision": "bf16",
        "fetched_bytes": result.fetched_bytes,
        "size_bytes": result.size_bytes,
        "revisions": dict(result.revisions),
    }
    if result.preset:
        lora = split_strength(PRESETS[result.preset].lora)[0] or None
        data |= {"preset": result.preset, "lora": lora, "eight_bit": result.eight_bit}
    if result.price_usd is not None:
        data["price_usd"] = round(result.price_usd, 4)
    return data


def downloaded_facts(result: DownloadedWeights) -> list[tuple[str, str]]:
    """The price."""
    return [] if result.price_usd is None else [("cost", human_money(result.price_usd))]


def downloaded_next(result: DownloadedWeights) -> str:
    """The command that uses the pack."""
    preset = f" --preset {result.preset}" if result.preset else ""
    return _generate_with(preset, result.pack, result.target)


def _generate_with(options: str, pack: str, target: Mapping[str, Fact]) -> str:
    """A video with these options and weights."""
    if "weights_folder" in target:
        return f"{GENERATE}{options} --backend local --weights {shell_word(pack)}"
    return for_app(f"{GENERATE}{options}", target)


def detached_notes(target: Mapping[str, Fact], preset: str) -> list[str]:
    """The commands that follow and cancel a download that keeps running."""
    follow = download_command(target, *(("--preset", preset) if preset else ()))
    return [
        f"the download is still running; follow it with:  {follow}",
        f"cancel it with:  {download_command(target, '--cancel')}",
    ]


# Other tasks


def verified_lines(result: VerifiedWeights) -> list[str]:
    """The number and size of the verified files."""
    amount = f"{human_count(result.files, 'file')}, {human_bytes(result.size_bytes)}"
    return [f"{amount}: all checksums OK"]


def listed_data(result: ListedWeights) -> dict[str, Any]:
    """The JSON of `download --list`."""
    return {
        "files": [
            {
                "file": file.name,
                "size": human_bytes(file.size_bytes),
                "state": _file_state(file),
            }
            for file in result.files
        ],
        "packs": {name: pack.is_complete for name, pack in result.packs.items()},
        "revisions": dict(result.revisions),
    }


def listed_blocks(result: ListedWeights) -> list[Block]:
    """A table of files and packs."""
    files = [(file.name, human_bytes(file.size_bytes), _file_state(file)) for file in result.files]
    packs = [
        (pack.name, human_bytes(pack.size_bytes), _pack_state(pack))
        for name, pack in result.packs.items()
        if pack.size_bytes or name == "bf16"  # no other is needed
    ]
    return [Table(rows=[*files, *packs], gives_way=(0,))]


def _file_state(file: ListedFile) -> str:
    if file.is_complete:
        return "complete"
    held = file.held_bytes
    return f"{100 * held // max(1, file.size_bytes)} %" if held else "absent"


def _pack_state(pack: ListedFile) -> str:
    if pack.is_complete:
        return "complete"
    if pack.is_outdated:
        return "outdated"
    return "incomplete" if pack.size_bytes else "absent"


def pruned_data(result: PrunedWeights) -> dict[str, Any]:
    """The JSON of `download --prune`."""
    return {"removed": list(result.removed), "size_bytes": result.size_bytes}


def pruned_lines(result: PrunedWeights) -> list[str]:
    """The number and size of the removed files."""
    count = human_count(len(result.removed), "file")
    return [f"{count} removed, {human_bytes(result.size_bytes)}"]


def lora_data(result: AddedLora) -> dict[str, Any]:
    """The JSON of `download --lora`."""
    data = {"lora": result.name, "file": result.file, "fetched_bytes": result.fetched_bytes}
    if result.sha256 is not None:
        data |= {"sha256": result.sha256, "licence": result.licence}
    return data


def lora_next(result: AddedLora) -> str:
    """The command that uses the LoRA: its preset, or a preset that suits it."""
    own = "" if result.name == STEP_LORA else f" --lora {result.name}"
    needs_preset = Denoising(lora=result.name).step_lora is not None
    preset = f" --preset {STEP_PRESET}" if needs_preset else ""
    return _generate_with(preset + own, result.pack, result.target)


# upload-weights


def uploaded_data(result: UploadedPack) -> dict[str, Any]:
    """The JSON of `upload-weights`."""
    return {
        "files": result.files,
        "bytes": result.size_bytes,
        "volume": contract.WEIGHTS_VOLUME,
    }
