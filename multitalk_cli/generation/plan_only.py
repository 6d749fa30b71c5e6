"""`generate --plan`: the plan, without making a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.cli.views import generate as views_generate
from multitalk_cli.files import write_atomically
from multitalk_cli.generation import output_path
from multitalk_cli.generation.job import chosen_gpu
from multitalk_cli.generation.prepared_inputs import PreparedInputs
from multitalk_cli.generation.spec import GenerateArgs
from multitalk_cli.planning import cost, rates
from multitalk_cli.planning.inputs import GenerateSpec
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings


def show_plan(
    asked: GenerateArgs,
    settings: Settings,
    wanted: GenerateSpec,
    ready: PreparedInputs,
    reporter: Reporter,
) -> None:
    from multitalk_cli.cli.views import plan

    table, summary = rates.load(), ready.summary
    estimates = cost.estimate_all(summary.plan, table, first=chosen_gpu(settings))
    views_generate.report_facts(wanted, wanted.options.seed, summary, reporter)
    if settings["max_cost"] is not None:
        # Before the result: a refusal is the only thing that is then printed.
        cost.check_cost(summary.plan, estimates[0], settings["max_cost"], interactive=False)
    folder = None if asked.output is None or is_stored(asked.output) else asked.output
    picture = output_path.choose_plan_picture(folder, wanted.image.path)
    write_atomically(picture, ready.drawing())
    reporter.succeed(
        "generate",
        plan.data(summary, wanted.options, estimates, picture),
        plan.lines(summary, wanted.options, estimates, table, picture),
    )
