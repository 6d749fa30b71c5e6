"""The videos of a batch as they would be made: what exists already, and the price of the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from multitalk_cli.batch import rows as batch_rows
from multitalk_cli.batch.existing import Known, find_existing, has_trace
from multitalk_cli.batch.loras import LoraContents
from multitalk_cli.batch.problems import Problems
from multitalk_cli.batch.rows import BatchRow
from multitalk_cli.contract import MAX_SEED
from multitalk_cli.errors import MultitalkError, RefusedError, UsageError
from multitalk_cli.generation import reuse
from multitalk_cli.generation.backends.select import choose_name
from multitalk_cli.generation.job import check_gpu, chosen_gpu, estimate_plan
from multitalk_cli.generation.plan import read_inputs
from multitalk_cli.generation.report import report_inputs
from multitalk_cli.generation.spec import build_spec
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.experience import read_experience
from multitalk_cli.media.video.names import first_of
from multitalk_cli.planning import cost
from multitalk_cli.planning.request import make_recipe
from multitalk_cli.reporting.formatting import human_money
from multitalk_cli.reporting.reporter import QuietReporter

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.generation.prepared_inputs import PreparedInputs
    from multitalk_cli.generation.result import Video
    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.planning.cost import Estimate, Experience, Pace
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

SHARED_ROWS = 1
"""Rows of a batch of which the prepared inputs are kept: more would fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedVideo:
    """One video of a row.

    seed: None where it is random. estimate: of what is still to be paid; None for what is known,
    and on this machine. video: the file that was made before, if nothing is left to do with it.
    inputs: prepared, where they are shared. paid_usd: what was paid before for its first window.
    first: whether that alone is made, which seconds and prices are of then. content: equal for
    videos that one job makes; empty where a job makes this one alone. same_as: an earlier video of
    the batch, with which it is made and paid.
    """

    row: BatchRow
    seed: int | None
    target: Path | None
    name: str
    seconds: float
    gpu: str
    known: Known
    video: Video | None
    estimate: Estimate | None
    inputs: PreparedInputs | None = None
    paid_usd: float = 0.0
    first: bool = False
    content: str = ""
    same_as: PlannedVideo | None = None

    @property
    def id(self) -> str:
        """The row's, with the seed where the row is several videos."""
        return self.row.id if self.row.seeds == 1 else f"{self.row.id}-{self.seed}"

    @property
    def price_least_usd(self) -> float:
        """The least that it still costs."""
        return 0.0 if self.estimate is None else self.estimate.price_least_usd

    @property
    def price_usd(self) -> float:
        """The most that it still costs."""
        return 0.0 if self.estimate is None else self.estimate.price_usd

    @property
    def is_new(self) -> bool:
        """Whether it is still to be made and paid."""
        return not self.known and self.same_as is None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """All videos of a batch, in the order of the manifest. name: of the manifest."""

    name: str
    videos: tuple[PlannedVideo, ...]
    unpaired: tuple[str, ...] = ()

    @property
    def price_least_usd(self) -> float:
        """The least that all together still cost."""
        return sum(video.price_least_usd for video in self.videos)

    @property
    def price_usd(self) -> float:
        """The most that all together still cost, each in a container of its own."""
        return sum(video.price_usd for video in self.videos)

    @property
    def gpu_s_range(self) -> tuple[float, float]:
        """The least and the most that all together still take of containers, in seconds."""
        found = [video.estimate for video in self.videos if video.estimate is not None]
        return sum(each.seconds_least for each in found), sum(each.seconds for each in found)

    @property
    def is_paid(self) -> bool:
        """Whether any of them is made where that costs money."""
        return any(video.row.is_paid for video in self.videos)

    @property
    def paces(self) -> tuple[Pace, ...]:
        """Of this account's own videos, which prices follow."""
        found = (video.estimate.paces for video in self.videos if video.estimate is not None)
        return tuple(dict.fromkeys(pace for paces in found for pace in paces))

    def ordered(self) -> list[PlannedVideo]:
        """What is known first, then those of one GPU after the other: containers stay warm."""
        first: dict[tuple[object, ...], int] = {}
        for number, video in enumerate(self.videos):
            first.setdefault(pool_of(video), number)
        return sorted(self.videos, key=lambda each: (not each.known, first[pool_of(each)]))


def pool_of(video: PlannedVideo) -> tuple[object, ...]:
    """What two videos share that the same containers may make."""
    chosen = video.row.settings
    names = ("app", "environment", "stack", "gpu")
    return (video.row.backend, *(chosen[name] for name in names))


_LIMITS = ("gpu", "stack", "attention", "max_cost")
"""Options that keep a row from being made; another value helps where the command has them."""


def plan_rows(
    name: str,
    rows: Sequence[BatchRow],
    problems: Problems,
    *,
    unpaired: tuple[str, ...] = (),
    show: Callable[[int, int], None] = lambda _done, _total: None,
) -> BatchPlan:
    """Plans every row, one after the other, without a network as long as inputs are files.

    show(done, total): is called before each row. Raises one error for all problems.
    """
    videos: list[PlannedVideo] = []
    made: dict[str, PlannedVideo] = {}
    recall, loras = cache(read_experience), LoraContents()
    for done, row in enumerate(rows):
        show(done, len(rows))
        try:
            is_kept = len(rows) <= SHARED_ROWS
            planned = [*_plan_row(row, QuietReporter(), recall, loras, keep_inputs=is_kept)]
        except RefusedError as error:
            is_own = not row.own.isdisjoint(_LIMITS)
            problems.add(
                RefusedError(error.message, code=error.code) if is_own else error, row.number
            )
            continue
        except MultitalkError as error:
            problems.add(error, row.number)
            continue
        if row.seeds > 1:
            for video in planned:
                batch_rows.find_collision(video.name, row.number, problems)
        videos += [_shared(video, made) for video in planned]
    show(len(rows), len(rows))
    problems.require_none(name)
    return BatchPlan(name=name, videos=tuple(videos), unpaired=unpaired)


def _shared(video: PlannedVideo, made: dict[str, PlannedVideo]) -> PlannedVideo:
    """The video; without a price where an earlier one has the same inputs, options and seed.

    made: the first video of each content.
    """
    if not video.is_new or not video.content:
        return video
    first = made.setdefault(video.content, video)
    return video if first is video else replace(video, same_as=first, estimate=None)


def plan_variations(
    args: GenerateArgs, settings: Settings, seeds: int, reporter: Reporter
) -> BatchPlan:
    """The videos of one picture and its voices that differ in their seed; read once for all.

    Raises whatever keeps any of them from being made.
    """
    backend = choose_name(settings, reporter)
    output = batch_rows.seeded_output(
        args.output, seeds, is_drawn=args.seed is None, backend=backend
    )
    args = replace(args, output=output)
    row = BatchRow(
        number=1, id=batch_rows.stem_of(args), args=args, seeds=seeds, backend=backend, given={},
        settings=settings.having("backend", backend),
    )  # fmt: skip
    videos = [*_plan_row(row, reporter, read_experience, LoraContents(), keep_inputs=True)]
    return BatchPlan(name=row.id, videos=tuple(videos))


def _plan_row(
    row: BatchRow,
    reporter: Reporter,
    recall: Callable[[str, str], Experience],
    loras: LoraContents,
    *,
    keep_inputs: bool,
) -> Iterator[PlannedVideo]:
    """recall(app, environment): what videos of that app took."""
    spec = build_spec(row.args, row.settings)
    with closing(read_inputs(row.args, row.settings, spec, reporter)) as inputs:
        seeds = _seeds(row, spec, inputs)
        report_inputs(spec, seeds[0], inputs.summary, reporter)
        estimate = _estimate(row, inputs, recall) if row.is_paid else None
        if keep_inputs and row.seeds > 1:
            # Once for all of them.
            inputs.start_encoding()
        for seed in seeds:
            yield _plan_video(row, spec, inputs, estimate, seed, loras, keep_inputs=keep_inputs)


def _estimate(
    row: BatchRow, inputs: PreparedInputs, recall: Callable[[str, str], Experience]
) -> Estimate:
    """Raises RefusedError for a GPU that cannot make it, and for a price above --max-cost."""
    chosen, plan = row.settings, inputs.summary.plan
    check_gpu(chosen, plan, here=False)
    plan = plan.first_window if row.args.first else plan
    estimate = estimate_plan(chosen, plan, recall(chosen["app"], chosen["environment"]))
    if chosen["max_cost"] is not None:
        cost.check_cost(plan, estimate, chosen["max_cost"], interactive=False)
    return estimate


def _seeds(row: BatchRow, spec: GenerateSpec, inputs: PreparedInputs) -> list[int]:
    """The seeds of a row. Variations without a given one have seeds made of their inputs and
    options, so that a rerun finds them."""
    if row.seeds == 1:
        return [spec.options.seed]
    base = row.args.seed
    if base is None:
        recipe = make_recipe(inputs.summary, spec.options, "", model_output=True)
        digest = hashlib.sha256(json.dumps(reuse.identity(recipe), sort_keys=True).encode())
        base = int.from_bytes(digest.digest()[:3])
    if base + row.seeds - 1 > MAX_SEED:
        raise UsageError(
            f"--seed must be at most {MAX_SEED + 1 - row.seeds} for {row.seeds} videos, not {base}",
            code="E_RANGE",
            facts={"option": "--seed", "example": str(MAX_SEED + 1 - row.seeds)},
        )
    return [base + number for number in range(row.seeds)]


def _plan_video(
    row: BatchRow,
    spec: GenerateSpec,
    inputs: PreparedInputs,
    estimate: Estimate | None,
    seed: int,
    loras: LoraContents,
    *,
    keep_inputs: bool,
) -> PlannedVideo:
    if row.seeds > 1:
        options = replace(spec.options, seed=seed, seed_drawn=False)
        spec, inputs = replace(spec, options=options), inputs.with_options(options)
        row = replace(row, args=replace(row.args, seed=seed))
    target, name = batch_rows.choose_target(row, spec)
    plan = inputs.summary.plan
    first = row.args.first and len(plan.windows) > 1
    is_preview = row.backend == batch_rows.PREVIEW
    recipe = make_recipe(inputs.summary, spec.options, row.backend, model_output=not is_preview)
    if row.settings["lora"] and has_trace(row, spec, inputs, target):
        recipe |= loras.entry(row)
    found = find_existing(row, spec, inputs, target, recipe, first=first)
    first = first and found.known != "whole"
    if estimate is not None and found.begun is not None:
        estimate = estimate_plan(row.settings, plan.after(1))
    return PlannedVideo(
        row=row,
        seed=row.args.seed,
        target=first_of(target) if first and target is not None else target,
        name=name,
        seconds=plan.first_window.duration_s if first else plan.duration_s,
        gpu=chosen_gpu(row.settings) if row.is_paid else "",
        known=found.known,
        video=found.video,
        estimate=None if found.known else estimate,
        inputs=inputs if keep_inputs and not spec.stored else None,
        paid_usd=0.0 if found.begun is None else found.begun.price_usd or 0.0,
        first=first,
        content=_content(row, spec, recipe, first=first),
    )


def _content(row: BatchRow, spec: GenerateSpec, recipe: dict[str, Any], *, first: bool) -> str:
    """What two videos share that one job makes; empty for one that has a job of its own."""
    args = row.args
    is_stored = spec.stored or args.upload or args.upload_to is not None
    if not row.is_paid or args.force or is_stored:
        return ""
    names = ("app", "environment", "stack")
    parts = [reuse.identity(recipe), args.seed, first, *(row.settings[name] for name in names)]
    return json.dumps(parts, sort_keys=True)


# The money of all rows


@dataclass(slots=True)
class Budget:
    """Money of a batch: what is paid, and what running videos may still cost.

    limit_usd: None without a limit.
    """

    limit_usd: float | None = None
    paid_usd: float = 0.0
    reserved_usd: dict[int, float] = field(default_factory=dict)

    def fits(self, price_usd: float) -> bool:
        """Whether another video of this price at most fits. What costs nothing always does."""
        if self.limit_usd is None or price_usd <= 0:
            return True
        return self.paid_usd + sum(self.reserved_usd.values()) + price_usd <= self.limit_usd


def paid_before(plan: BatchPlan) -> dict[str, float]:
    """What earlier runs of these rows have paid, by the ledger: name of a video -> dollars."""
    names = [video.name for video in plan.videos if video.row.is_paid and video.target]
    return jobs_ledger.Ledger().paid_for(names)


def budget_of(plan: BatchPlan, limit_usd: float | None) -> Budget:
    """The budget, with what earlier runs of these rows have paid."""
    if limit_usd is None:
        return Budget()
    return Budget(limit_usd=limit_usd, paid_usd=sum(paid_before(plan).values()))


def check_total(plan: BatchPlan, budget_usd: float | None, *, interactive: bool) -> str:
    """The question that must be asked before all is started; empty for none.

    Raises RefusedError E_COST where it cannot be asked.
    """
    price_usd = plan.price_usd
    if budget_usd is not None or price_usd <= cost.ASK_ABOVE_USD:
        return ""
    new = sum(video.is_new for video in plan.videos)
    about = f"up to {human_money(price_usd)} for {new} videos"
    if interactive:
        return f"{about}. Continue?"
    raise RefusedError(
        f"{about}: a price above ${cost.ASK_ABOVE_USD:g} needs --budget",
        code="E_COST",
        facts={"enough_usd": round(price_usd + 0.05, 1), "cheaper": (), "option": "--budget"},
    )
