"""`multitalk bench`: how fast a card makes videos, measured by the deployed app."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.layout import Line
from multitalk_cli.cli.options import AppName, Environment, Gpu, Stack, Yes
from multitalk_cli.errors import InterruptedRunError, UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud.bench import Cost

EXAMPLES = ("multitalk bench", "multitalk bench --gpu l40s --persons 1 --steps 1 --yes")


def bench(
    ctx: typer.Context,
    gpu: Gpu = None,
    stack: Stack = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the video.")] = "896x448",
    persons: Annotated[str, typer.Option(metavar="1|2|both", help="How many talk.")] = "both",
    steps: Annotated[
        int, typer.Option(metavar="N", help="Steps of each window that is timed, 1 to 10.")
    ] = 3,
    yes: Yes = False,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Measure a card: its speed, memory and prices, and whether estimates hold.

    Uses the deployed app and its weights, as a video does; costs money.
    """
    from multitalk_cli.cloud import bench as cloud_bench
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.readiness import check_ready

    output: Console = ctx.obj
    chosen = settings.load_settings(
        {"gpu": gpu, "stack": stack, "app": app, "environment": environment}
    )
    task = cloud_bench.make_task(size, persons, steps, chosen["gpu"])
    cost = cloud_bench.estimate(task, chosen["gpu"], chosen["stack"])
    if not yes and not output.can_ask:
        hint = "multitalk bench --yes"
        raise UsageError(f"costs money: {cost.describe()}", code="E_USAGE", hint=hint)
    cloud = Cloud.reachable(AppRef(app=chosen["app"], environment=chosen["environment"]))
    check_ready(cloud, chosen["stack"])
    _agree(output, cost, yes=yes)
    answer = cloud_bench.ask(cloud, chosen["stack"], chosen["gpu"], task, output)
    compared = cloud_bench.compare(answer["report"], task, chosen["gpu"])
    data: dict[str, Any] = {**answer["report"], "rates": [each.data() for each in compared]}
    lines = [*answer["lines"], *(each.describe() for each in compared)]
    output.succeed("bench", data, [Line(line) for line in lines])


def _agree(output: Console, cost: "Cost", *, yes: bool) -> None:
    output.note(cost.describe())
    if not yes and not output.confirm("Go on?"):
        raise InterruptedRunError("nothing was started or paid", code="E_INTERRUPTED")
