"""`multitalk download`: the published weights, and the pack made from them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli import downloads, settings
from multitalk_cli.downloads import Wish
from multitalk_cli.errors import UsageError
from multitalk_cli.output import Output
from multitalk_cli.tasks import PRECISIONS, check_lora

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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
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
    environment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Modal environment.")
    ] = None,
) -> None:
    """Fetch the model's weights (about 82 GB) and pack them, in your Modal account or in DIR.

    In the cloud a container without a GPU does it. An interrupted download goes on where it
    stopped, to the byte; run while one is under way, the command follows that one.
    """
    output: Output = ctx.obj
    named = {"--cancel": cancel, "--verify": verify, "--repair": repair, "--prune": prune}
    named |= {"--list": show_list, "--lora": lora is not None}
    task = _only(named)
    _refuse_in_folder(to, {"--detach": detach, "--cancel": cancel, "--environment": environment})
    wish = _parse(precision, revision or (), yes=yes, is_repair=repair)
    if lora is not None:
        check_lora(lora)
    if to is not None:
        _work(_here(to), wish, task, lora, output)
    else:
        _work_in_cloud(wish, task, lora, environment, output, detach=detach)


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


def _parse(precision: str, revisions: Sequence[str], *, yes: bool, is_repair: bool) -> Wish:
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
    return Wish(precision=kind, assume_yes=yes, revisions=wanted, is_repair=is_repair)


def _here(to: str) -> downloads.Workplace:
    from multitalk_cli.weights_here import WeightsHere

    return WeightsHere.usable(Path(to).expanduser())


def _work(
    place: downloads.Workplace, wish: Wish, task: str, lora: str | None, output: Output
) -> None:
    if task == "--verify":
        downloads.check(place, output)
    elif task == "--prune":
        downloads.clean(place, wish, output)
    elif task == "--list":
        downloads.show(place, output)
    elif lora is not None:
        downloads.add_lora(place, wish, lora, output)
    else:
        downloads.bring(place, wish, output)


def _work_in_cloud(
    wish: Wish,
    task: str,
    lora: str | None,
    environment: str | None,
    output: Output,
    *,
    detach: bool,
) -> None:
    from multitalk_cli.cloud import Place
    from multitalk_cli.weights_there import WeightsThere, WentAwayError

    chosen = settings.load_settings({"environment": environment})
    account = Place(app=chosen["app"], environment=chosen["environment"])
    place = WeightsThere.reachable(account, leaves=detach)
    if task == "--cancel":
        output.succeed("download", {"cancelled": place.stop(output)}, [])
        return
    if task in ("--verify", "--prune", "--list"):
        place.require_deployed()
    try:
        _work(place, wish, task, lora, output)
    except WentAwayError:
        downloads.detached(place, output)
