"""`multitalk batch`: the videos of a manifest, and `generate --seeds`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import First, Force, HelpAll, Seeds, setting_options
from multitalk_cli.errors import ExitCode, RefusedError, UsageError
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from multitalk_cli.batch.manifest import Manifest
    from multitalk_cli.batch.plan import BatchPlan
    from multitalk_cli.batch.rows import Defaults
    from multitalk_cli.batch.run import BatchResult, RunOptions
    from multitalk_cli.reporting.reporter import StopRequests

EXAMPLES = (
    "multitalk batch videos.csv --plan",
    "multitalk batch videos.csv --budget 40 --report report",
    "multitalk batch --pairs takes/ -o videos/",
)

LOOK_S = 0.3
"""How often a batch looks for a request to stop; before it starts, Modal may keep it longer."""

ManifestPath = Annotated[
    str | None,
    typer.Argument(metavar="LIST", help="CSV or JSON lines, a row a video; - is stdin."),
]
Pairs = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A video of each picture and voice of one name."),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="PATH", help="FOLDER/, or with {id}, {image}, {voice}."),
]
Prompt = Annotated[
    str,
    typer.Option(
        "--prompt", "-p", metavar="TEXT", help="For rows without a prompt.", show_default=False
    ),
]
Seed = Annotated[str | None, typer.Option(metavar="N", help="For rows without a seed.")]
PlanOnly = Annotated[
    bool, typer.Option("--plan", "--dry-run", help="Show all rows and their price only.")
]
Parallel = Annotated[
    str | None,
    typer.Option(metavar="N", help="Videos at once (default 4, on this machine 1)."),
]
Budget = Annotated[
    str | None,
    typer.Option(metavar="DOLLARS", help="Most for all rows, with what earlier runs paid."),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Start no other row after a failure.")]
Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write a page about all videos there.")
]


@setting_options(
    after={
        "report": (
            "max_cost", "backend", "gpu", "size", "fit", "fps", "order", "preset", "sample_steps",
        ),
    },
    advanced=(
        "tier", "lora", "text_gate",
        "negative_prompt", "text_guidance", "audio_guidance", "shift", "background", "loudness",
        "rotate", "sound_level", "trim_silence", "audio_track", "weights", "device", "stack",
        "attention", "app", "environment", "persistent_params", "keep_inputs", "sidecar",
        "embed_prompt", "fail_under",
    ),
)  # fmt: skip
def batch(
    ctx: typer.Context,
    given: Mapping[str, object],
    manifest: ManifestPath = None,
    pairs: Pairs = None,
    output: Output = None,
    prompt: Prompt = settings.DEFAULT_PROMPT,
    seed: Seed = None,
    seeds: Seeds = None,
    plan: PlanOnly = False,
    first: First = False,
    parallel: Parallel = None,
    budget: Budget = None,
    fail_fast: FailFast = False,
    report: Report = None,
    force: Force = False,
    help_all: HelpAll = False,
) -> None:
    """Make the videos of a list: run it again to make what is missing.

    The columns are id, image, voice, voice2, output, and the options of generate by name. Relative
    paths follow the list. What exists is not paid again.
    """
    from multitalk_cli.batch.rows import Defaults

    console: Console = ctx.obj
    found = _read(manifest, pairs)
    defaults = Defaults(
        output=output,
        prompt=prompt,
        seed=None if seed is None else settings.parse_whole("--seed", seed),
        seeds=_seeds(seeds),
        force=force,
        first=first,
        given=given,
    )
    options = _run_options(parallel, budget, fail_fast=fail_fast)
    planned = _plan(found, defaults, console)
    if plan:
        from multitalk_cli.batch.plan import budget_of
        from multitalk_cli.cli.views import batch as view

        shown = view.plan_blocks(planned, console.typed, budget_of(planned, options.budget_usd))
        console.succeed("batch", view.plan_data(planned), shown)
        return
    _run(planned, options, report, console, force=force)


def _seeds(seeds: str | None) -> int:
    from multitalk_cli.batch.rows import parse_seeds

    return 1 if seeds is None else parse_seeds("--seeds", seeds)


def _run_options(parallel: str | None, budget: str | None, *, fail_fast: bool) -> RunOptions:
    from multitalk_cli.batch.run import MOST_PARALLEL, RunOptions

    return RunOptions(
        parallel=None
        if parallel is None
        else settings.parse_whole("--parallel", parallel, low=1, high=MOST_PARALLEL),
        budget_usd=None if budget is None else settings.parse_dollars("--budget", budget),
        fail_fast=fail_fast,
    )


def _read(manifest: str | None, pairs: Path | None) -> Manifest:
    from multitalk_cli.batch.manifest import MOST_BYTES, STDIN, read_manifest, read_pairs
    from multitalk_cli.cli.stdin import read_pipe

    if (manifest is None) == (pairs is None):
        raise UsageError(
            "a batch needs a LIST or --pairs DIR, and not both",
            code="E_USAGE",
            hint="multitalk batch --help",
        )
    if pairs is not None:
        return read_pairs(pairs)
    assert manifest is not None
    if manifest != STDIN:
        return read_manifest(manifest, _piped(manifest, MOST_BYTES))
    return read_manifest(manifest, read_pipe(MOST_BYTES, "multitalk batch FILE.csv"))


def _piped(manifest: str, most_bytes: int) -> bytes | None:
    """What a pipe with a name holds, `<(...)` of a shell; None for anything else."""
    path = Path(manifest)
    with suppress(OSError, ValueError):
        if path.is_fifo():
            with path.open("rb") as pipe:
                return pipe.read(most_bytes + 1)
    return None


def _plan(found: Manifest, defaults: Defaults, console: Console) -> BatchPlan:
    from multitalk_cli.batch.plan import plan_rows
    from multitalk_cli.batch.rows import read_rows
    from multitalk_cli.contract import Stage

    rows = read_rows(found, defaults, console, found.problems)
    with console.progress() as progress:

        def show(done: int, total: int) -> None:
            progress.show(Stage(name="reading", done=done, total=total))

        return plan_rows(found.name, rows, found.problems, unpaired=found.unpaired, show=show)


def _run(
    plan: BatchPlan, options: RunOptions, report: Path | None, console: Console, *, force: bool
) -> None:
    from multitalk_cli.batch.report import check_place, write_report
    from multitalk_cli.cli.views import batch as view

    if report is not None:
        check_place(report, force=force)
    for row in view.facts(plan):
        console.fact(*row)
    agree(plan, options, console)
    with console.stop_requests(look_s=LOOK_S) as requests:
        ended = run(plan, options, console, requests)
        page = None if report is None else write_report(ended, report, force=force)
        console.fact("batch", view.summary(ended))
        if page is not None:
            console.fact("report", str(page))
        _show_results(ended, page, console)
        show_rest(ended, console)
        end_if_stopped(ended)
    require_complete(ended, "batch", console)


def agree(plan: BatchPlan, options: RunOptions, console: Console) -> None:
    """Asks once for all where that is dear. Raises RefusedError where nobody agrees."""
    from multitalk_cli.batch.plan import check_total

    question = check_total(plan, options.budget_usd, interactive=console.can_ask)
    if question and not console.confirm(question):
        raise RefusedError("nothing was started or paid", code="E_DECLINED")


def run(
    plan: BatchPlan,
    options: RunOptions,
    console: Console,
    requests: StopRequests,
    *,
    in_lines: bool = True,
) -> BatchResult:
    """Makes the videos while they are shown. in_lines: each result is a line on stdout."""
    from multitalk_cli.batch.run import run_batch
    from multitalk_cli.cli.batch_progress import show_batch

    console.leaving = "interrupted; the same command makes what is missing"
    with show_batch(console, len(plan.videos), in_lines=in_lines) as watcher:
        return run_batch(plan, options, watcher, requests)


def show_rest(ended: BatchResult, console: Console) -> None:
    """What the rests of first windows cost, and the command that makes them."""
    from multitalk_cli.cli.views import batch as view

    if command := view.finish_command(ended):
        console.fact("rest", view.describe_rest(ended))
        console.next(command)


def end_if_stopped(ended: BatchResult) -> None:
    """Ends the command as Ctrl-C or the signal would have, once all is in order."""
    if ended.stopped is not None:
        raise StoppedError


def require_complete(ended: BatchResult, command: str, console: Console) -> None:
    """Says that videos are missing, which their JSON has said already, and ends with exit 5."""
    from multitalk_cli.cli.next_command import next_command
    from multitalk_cli.cli.views import batch as view

    if ended.is_complete:
        return
    if not console.options.json:
        error = view.missing_error(ended)
        console.fail(command, error, next_command(error, [*console.typed]))
    raise typer.Exit(int(ExitCode.REMOTE))


def _show_results(ended: BatchResult, page: Path | None, console: Console) -> None:
    """A table on a terminal, one object with --json; elsewhere the lines have been written."""
    from multitalk_cli.cli.views import batch as view

    if console.options.json:
        console.succeed("batch", view.data(ended, page), errors=view.errors(ended, console.typed))
        return
    if console.shows_results:
        console.succeed("batch", {}, view.blocks(ended))
