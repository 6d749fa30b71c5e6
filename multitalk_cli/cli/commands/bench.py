"""`multitalk bench`: the speed of a GPU, measured by the deployed app."""

from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import (
    AppName,
    Attention,
    Environment,
    Gpu,
    Stack,
    Yes,
    agree_to_pay,
)

EXAMPLES = (
    "multitalk bench",
    "multitalk bench --gpu l40s --persons 1 --steps 1 --yes",
    "multitalk bench --quality --persons 1",
)


def bench(
    ctx: typer.Context,
    gpu: Gpu = None,
    stack: Stack = None,
    attention: Attention = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the video.")] = "896x448",
    persons: Annotated[str, typer.Option(metavar="1|2|both", help="Talking persons.")] = "both",
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Timed steps of each window, 1 to 10; 3 by default."),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option("--quality", help="Measure the errors of the tiers near and turbo instead."),
    ] = False,
    yes: Yes = False,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Measure a GPU: its speed, memory and prices, and whether estimates hold.

    Uses the deployed app and its weights, as a video does; costs money.
    """
    from multitalk_cli.cli.views import bench as view
    from multitalk_cli.cloud import bench as cloud_bench
    from multitalk_cli.cloud import modal_config
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import BENCH
    from multitalk_cli.jobs.paid import paid_call

    console: Console = ctx.obj
    chosen = settings.load_settings(
        {
            "gpu": gpu,
            "stack": stack,
            "attention": attention,
            "app": app,
            "environment": environment,
        }
    )
    task = cloud_bench.make_task(
        size, persons, steps, chosen["gpu"], chosen["attention"], quality=quality
    )
    cost = cloud_bench.estimate(task, chosen["gpu"], chosen["stack"])
    modal_config.require_token()
    if not yes and not console.can_ask:
        # A script is refused before the network is used.
        agree_to_pay(console, "a benchmark", view.cost_line(cost), yes=yes)
    place = AppRef(app=chosen["app"], environment=chosen["environment"])
    cloud = Cloud.reachable(place)
    cloud_bench.check_app(cloud, task, chosen["stack"])
    agree_to_pay(console, "a benchmark", view.cost_line(cost), yes=yes)
    gpu, stack = chosen["gpu"], chosen["stack"]
    label = cloud_bench.describe(task)
    with paid_call(
        place, BENCH, label, console, gpu=gpu, stack=stack, job_id=task.job_id
    ) as record:
        result = cloud_bench.run(cloud, stack, gpu, task, cost, record, console)
    console.succeed("bench", view.data(result), view.blocks(result))
