"""`multitalk download`: the published weights, and the pack made from them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Yes
from multitalk_cli.contract.weights_task import PRECISIONS, check_lora
from multitalk_cli.errors import UsageError
from multitalk_cli.weights import download as weights_download
from multitalk_cli.weights.download import DownloadOptions

EXAMPLES = (
    "multitalk download",
    "multitalk download --verify",
    "multitalk download --lora fusionx",
    "multitalk download --to weights --precision fp8 --yes",
)
_REVISION = re.compile(r"([\w.-]+/[\w.-]+)=([\w./-]{1,200})")


def download(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DIR", help="Onto this machine, for --backend local."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="KIND", help="Of the pack: bf16, or fp8 for smaller cards.")
    ] = "bf16",
    yes: Yes = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it in the cloud, and do not wait.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel the one that runs in the cloud.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare what is there with its sha256.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Verify, and fetch anew only what is wrong.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what earlier downloads left behind.")
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show each file's size and state.")
    ] = False,
    lora: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add a LoRA: fusionx, lightx2v, or an https address."),
    ] = None,
    revision: Annotated[
        list[str] | None,
        typer.Option(metavar="REPO=COMMIT", help="Another commit than the pinned one."),
    ] = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Fetch the model's weights (about 82 GB) and pack them, in your Modal account or in DIR.

    In the cloud a container without a GPU does it. An interrupted download goes on where it
    stopped, to the byte; run while one is under way, the command follows that one.
    """
    output: Console = ctx.obj
    named = {"--cancel": cancel, "--verify": verify, "--repair": repair, "--prune": prune}
    named |= {"--list": show_list, "--lora": lora is not None}
    task = _only(named)
    _refuse_in_folder(
        to, {"--detach": detach, "--cancel": cancel, "--app": app, "--environment": environment}
    )
    wish = _parse(precision, revision or (), yes=yes, is_repair=repair)
    if lora is not None:
        check_lora(lora)
    if to is not None:
        _work(_here(to), wish, task, lora, output)
    else:
        chosen = settings.load_settings({"app": app, "environment": environment})
        _work_in_cloud(wish, task, lora, chosen, output, detach=detach)


def _only(named: dict[str, bool]) -> str:
    """The one task that was chosen; empty for the download itself."""
    chosen = [name for name, is_chosen in named.items() if is_chosen]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} are two tasks", code="E_CONFLICT")
    return chosen[0] if chosen else ""


def _refuse_in_folder(to: str | None, options: dict[str, object]) -> None:
    for name, value in options.items():
        if to is not None and value:
            raise UsageError(f"{name} and --to contradict each other", code="E_CONFLICT")
    if to is not None and not to.strip():
        raise UsageError("--to needs the name of a folder", code="E_USAGE")


def _parse(
    precision: str, revisions: Sequence[str], *, yes: bool, is_repair: bool
) -> DownloadOptions:
    """Raises UsageError for what cannot be meant."""
    kind = next((each for each in PRECISIONS if each == precision), None)
    if kind is None:
        raise UsageError(
            f"--precision must be one of {', '.join(PRECISIONS)}, not {precision!r}",
            code="E_RANGE",
        )
    matches = {text: _REVISION.fullmatch(text) for text in revisions}
    for text, match in matches.items():
        if match is None:
            raise UsageError(f"--revision must be REPO=COMMIT, not {text!r}", code="E_RANGE")
    wanted = {match[1]: match[2] for match in matches.values() if match is not None}
    return DownloadOptions(precision=kind, assume_yes=yes, revisions=wanted, is_repair=is_repair)


def _here(to: str) -> weights_download.WeightsTarget:
    from multitalk_cli.weights.local import LocalWeights

    return LocalWeights.usable(Path(to).expanduser())


def _work(
    place: weights_download.WeightsTarget,
    wish: DownloadOptions,
    task: str,
    lora: str | None,
    output: Console,
) -> None:
    if task == "--verify":
        weights_download.check(place, output)
    elif task == "--prune":
        weights_download.prune(place, wish, output)
    elif task == "--list":
        weights_download.show(place, output)
    elif lora is not None:
        weights_download.add_lora(place, wish, lora, output)
    else:
        weights_download.download(place, wish, output)


def _work_in_cloud(
    wish: DownloadOptions,
    task: str,
    lora: str | None,
    chosen: settings.Settings,
    output: Console,
    *,
    detach: bool,
) -> None:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.weights.cloud import CloudWeights, DownloadDetachedError

    account = AppRef(app=chosen["app"], environment=chosen["environment"])
    place = CloudWeights.reachable(account, leaves=detach)
    if task == "--cancel":
        output.succeed("download", {"cancelled": place.stop(output)}, [])
        return
    if task in ("--verify", "--prune", "--list"):
        place.require_deployed()
    try:
        _work(place, wish, task, lora, output)
    except DownloadDetachedError:
        weights_download.detached(place, output)
