"""8-bit weights that are stored next to a pack: which of them jobs use, and what renews others.

A job without usable ones makes them from the pack at each start of a container, which takes longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from multitalk_cli.cloud.pack import (
    COMPLETE,
    INCOMPLETE,
    MANIFEST,
    eight_bit_state,
    read_manifest,
)
from multitalk_cli.contract import EXACT_TIER
from multitalk_cli.contract.weights_task import (
    EIGHT_BIT_FOLDER,
    eight_bit_folder,
    is_eight_bit_folder,
)
from multitalk_cli.doctor.check import Outcome
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.reporting.formatting import shell_line


def local_states(pack: Path) -> dict[str, str]:
    """Folder of 8-bit weights next to a pack on this machine -> their state."""
    from multitalk_cli.generation.backends.local import all_digests

    places = sorted(path for path in (pack.parent / EIGHT_BIT_FOLDER).glob("*") if path.is_dir())
    named = {f"{EIGHT_BIT_FOLDER}/{path.name}": path for path in places}
    ours = {name: path for name, path in named.items() if is_eight_bit_folder(name)}
    digests = all_digests(pack) if ours else {}
    return {name: _local_state(path, pack, digests) for name, path in ours.items()}


def _local_state(folder: Path, pack: Path, digests: Mapping[str, str]) -> str:
    try:
        found, base = (read_manifest((each / MANIFEST).read_bytes()) for each in (folder, pack))
    except (OSError, ValueError):
        return INCOMPLETE
    return eight_bit_state(found, base, digests)


def outcome(text: str, states: Mapping[str, str], where: Sequence[str] | None = ()) -> Outcome:
    """The finding about a pack, and a warning where weights next to it are not used.

    text: about the pack. where: options of `download` for the folder of weights; None for one that
    it cannot write to.
    """
    named = [name if state == COMPLETE else f"{name} ({state})" for name, state in states.items()]
    found = "; ".join([text, ", ".join(named)]) if named else text
    unused = {name: state for name, state in states.items() if state != COMPLETE}
    if not unused:
        return Outcome(text=found)
    task = _task(unused)
    is_mendable = bool(task) and where is not None
    remedy = shell_line(["multitalk", "download", *(where or ()), *task]) if is_mendable else ""
    return Outcome(text=found, state="warn", remedy=remedy)


def _task(unused: Mapping[str, str]) -> list[str]:
    """The options that write one of them again, or else remove those that no preset needs."""
    for name, preset in PRESETS.items():
        if preset.tier != EXACT_TIER and eight_bit_folder(preset.lora) in unused:
            return ["--preset", name]
    is_outdated = any(state != INCOMPLETE for state in unused.values())
    return ["--prune"] if is_outdated else []
