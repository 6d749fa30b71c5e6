"""`multitalk download`: the published weights, and the pack made from them."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Yes
from multitalk_cli.contract import EXACT_TIER
from multitalk_cli.contract.loras import is_lora_file, known_name
from multitalk_cli.contract.weights_task import LORAS, PRECISIONS, check_lora
from multitalk_cli.errors import UsageError
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.reporting.formatting import human_choice
from multitalk_cli.weights import download as weights_download
from multitalk_cli.weights.download import DownloadOptions, WeightsTarget

if TYPE_CHECKING:
    from multitalk_cli.cloud.call_result import CallRecord
    from multitalk_cli.errors.exceptions import Fact

EXAMPLES = (
    "multitalk download",
    "multitalk download --verify",
    "multitalk download --preset fast",
    "multitalk download --to weights --preset fast --yes",
)
_REVISION = re.compile(r"([\w.-]+/[\w.-]+)=([\w./-]{1,200})")

_STORED = [name for name, preset in PRESETS.items() if preset.tier != EXACT_TIER]
"""Presets of which a download stores more than the pack."""

Lora = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help=f"Add a LoRA: {', '.join(LORAS)}, https://..., with --to a file."
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help=f"Add a preset's LoRA and 8-bit weights: {human_choice(_STORED)}.",
    ),
]
Revision = Annotated[
    list[str] | None,
    typer.Option(metavar="REPO=COMMIT", help="Fetch this commit, not the pinned one."),
]


def download(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DIR", help="Into a folder here, for --backend local."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(metavar="KIND", help="bf16; fp8 is replaced by --preset."),
    ] = "bf16",
    yes: Yes = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it in the cloud without waiting.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel the download that runs in the cloud.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the sha256 of every file.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Verify, and fetch only wrong files again.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove files that earlier downloads left.")
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show each file's size and state.")
    ] = False,
    lora: Lora = None,
    preset: Preset = None,
    revision: Revision = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Fetch the model's weights (about 92.5 GB) and pack them, in your Modal account or in DIR.

    In the cloud a container without a GPU does it. An interrupted download resumes at the byte
    where it stopped; while one is running, the command follows it.
    """
    console: Console = ctx.obj
    named = {"--cancel": cancel, "--verify": verify, "--repair": repair, "--prune": prune}
    named |= {"--list": show_list, "--lora": lora is not None, "--preset": preset is not None}
    task = _only(named)
    _refuse_in_folder(
        to, {"--detach": detach, "--cancel": cancel, "--app": app, "--environment": environment}
    )
    options = _parse(precision, revision or (), preset, yes=yes, is_repair=repair)
    if options.preset and options.preset not in _STORED:
        console.note(f"the preset {options.preset} needs nothing but the weights")
        console.succeed("download", {"lora": None})
        return
    lora = None if lora is None else known_name(lora)
    if lora is not None and not (to is not None and is_lora_file(lora)):
        check_lora(lora)
    if to is not None:
        _run(_open_folder(to), options, task, lora, console)
    else:
        chosen = settings.load_settings({"app": app, "environment": environment})
        _run_in_cloud(options, task, lora, chosen, console, detach=detach)


def _only(named: dict[str, bool]) -> str:
    """The option of the one task that was chosen; empty for the download itself."""
    chosen = [name for name, is_chosen in named.items() if is_chosen]
    if len(chosen) > 1:
        raise _conflict(chosen[0], chosen[1])
    return chosen[0] if chosen else ""


def _conflict(option: str, other: str) -> UsageError:
    """The error for two options that exclude each other, with the command without the first."""
    has_value = option in ("--lora", "--app", "--environment")
    facts: dict[str, Fact] = {"superfluous": option, "has_value": has_value}
    message = f"{option} and {other} exclude each other"
    return UsageError(message, code="E_CONFLICT", facts=facts)


def _refuse_in_folder(to: str | None, options: dict[str, object]) -> None:
    for name, value in options.items():
        if to is not None and value:
            raise _conflict(name, "--to")
    if to is not None and not to.strip():
        raise UsageError("--to needs the name of a folder", code="E_USAGE")


def _parse(
    precision: str, revisions: Sequence[str], preset: str | None, *, yes: bool, is_repair: bool
) -> DownloadOptions:
    """The options, checked. Raises UsageError."""
    if precision == "fp8":
        raise UsageError(
            "--precision fp8 is replaced by --preset, which stores a preset's 8-bit weights; "
            "the packs that it wrote are still read",
            code="E_RANGE",
            facts={
                "replaced": "--precision",
                "option": "--preset",
                "example": preset or "balanced",
            },
        )
    if precision not in PRECISIONS:
        raise UsageError(
            f"--precision must be {PRECISIONS[0]}, not {precision!r}",
            code="E_RANGE",
            facts={"option": "--precision", "example": PRECISIONS[0]},
        )
    matches = {text: _REVISION.fullmatch(text) for text in revisions}
    for text, match in matches.items():
        if match is None:
            raise UsageError(
                f"--revision must be REPO=COMMIT, not {text!r}",
                code="E_RANGE",
                facts={"option": "--revision"},
            )
    wanted = {match[1]: match[2] for match in matches.values() if match is not None}
    chosen = "" if preset is None else settings.parse_option("preset", preset)
    return DownloadOptions(preset=chosen, assume_yes=yes, revisions=wanted, is_repair=is_repair)


def _open_folder(to: str) -> WeightsTarget:
    from multitalk_cli.weights.local import LocalWeights

    return LocalWeights.usable(Path(to))


def _run_in_cloud(
    options: DownloadOptions,
    task: str,
    lora: str | None,
    chosen: settings.Settings,
    console: Console,
    *,
    detach: bool,
) -> None:
    from multitalk_cli.cli.views import download as view
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import DOWNLOAD
    from multitalk_cli.jobs.paid import paid_call
    from multitalk_cli.weights.cloud import CloudWeights, DownloadDetachedError

    account = AppRef(app=chosen["app"], environment=chosen["environment"])

    def record(label: str, call_id: str) -> "AbstractContextManager[CallRecord]":
        return paid_call(account, DOWNLOAD, label, console, call_id=call_id)

    target = CloudWeights.reachable(account, detach=detach, record=record)
    if task == "--cancel":
        console.succeed("download", {"cancelled": target.stop(console)})
        return
    if task in ("--verify", "--prune", "--list"):
        target.require_deployed()
    try:
        _run(target, options, task, lora, console)
    except DownloadDetachedError:
        for note in view.detached_notes(target.facts, options.preset):
            console.note(note)
        console.succeed("download", {"detached": True})


def _run(
    target: WeightsTarget,
    options: DownloadOptions,
    task: str,
    lora: str | None,
    console: Console,
) -> None:
    """Does the task, and shows its result."""
    from multitalk_cli.cli.views import download as view

    if task == "--verify":
        verified = weights_download.verify(target, console)
        console.succeed("download", {"verified": verified.files}, view.verified_lines(verified))
    elif task == "--prune":
        pruned = weights_download.prune(target, options, console)
        console.succeed("download", view.pruned_data(pruned), view.pruned_lines(pruned))
    elif task == "--list":
        listed = weights_download.list_files(target, console)
        console.succeed("download", view.listed_data(listed), view.listed_blocks(listed))
    elif lora is not None:
        added = weights_download.add_lora(target, options, lora, console)
        console.next(view.lora_next(added))
        console.succeed("download", view.lora_data(added), [added.file])
    else:
        downloaded = weights_download.download(target, options, console)
        for label, text in view.downloaded_facts(downloaded):
            console.fact(label, text)
        console.next(view.downloaded_next(downloaded))
        path = downloaded.eight_bit or downloaded.pack
        console.succeed("download", view.downloaded_data(downloaded), [path])
