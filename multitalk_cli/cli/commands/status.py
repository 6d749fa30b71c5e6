"""`multitalk status`, `warm` and `cool`: the containers, and their price."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Gpu, Stack
from multitalk_cli.errors import UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud

_DURATION = re.compile(r"(\d{1,5})(s|m|h|min)?")
_UNITS_S = {None: 60, "m": 60, "min": 60, "s": 1, "h": 3600}


def _open(flags: dict[str, str | None]) -> "tuple[Cloud, settings.Settings]":
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef

    chosen = settings.load_settings(flags)
    place = AppRef(app=chosen["app"], environment=chosen["environment"])
    return Cloud.reachable(place), chosen


def status(
    ctx: typer.Context,
    gpu: Gpu = None,
    stack: Stack = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Show the deployed app, its containers, and their price."""
    from multitalk_cli.cli.views import status as view
    from multitalk_cli.cloud.containers import read_status

    console: Console = ctx.obj
    cloud, chosen = _open({"gpu": gpu, "stack": stack, "app": app, "environment": environment})
    found = read_status(cloud, chosen["stack"], chosen["gpu"])
    console.succeed("status", view.status_data(found), view.status_blocks(found))


def warm(
    ctx: typer.Context,
    duration: Annotated[
        str, typer.Argument(metavar="TIME", help="15m by default; at most 60m.")
    ] = "15m",
    gpu: Gpu = None,
    stack: Stack = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Start a container that loads the weights and waits for jobs.

    It is paid while it waits: for TIME after its last job, or until multitalk cool.
    """
    from multitalk_cli.cli.views import status as view
    from multitalk_cli.cloud.containers import start_warm
    from multitalk_cli.cloud.readiness import check_ready
    from multitalk_cli.jobs.ledger import WARM
    from multitalk_cli.jobs.paid import paid_call
    from multitalk_cli.planning.cost import price_of
    from multitalk_cli.reporting.formatting import human_duration

    console: Console = ctx.obj
    idle_s = parse_duration(duration)
    cloud, chosen = _open({"gpu": gpu, "stack": stack, "app": app, "environment": environment})
    check_ready(cloud, chosen["stack"])
    console.fact("warm", view.warm_text(idle_s, price_of(chosen["gpu"], idle_s)))
    gpu, stack = chosen["gpu"], chosen["stack"]
    label = human_duration(idle_s)
    with paid_call(cloud.place, WARM, label, console, gpu=gpu, stack=stack) as record:
        load_s = start_warm(cloud, stack, gpu, idle_s=idle_s, record=record, reporter=console)
    console.note("multitalk cool stops it sooner")
    console.succeed("warm", {"seconds": idle_s, "load_seconds": load_s})


def cool(
    ctx: typer.Context,
    gpu: Gpu = None,
    stack: Stack = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Undo warm: idle containers stop after seconds again."""
    from multitalk_cli.cli.views import status as view
    from multitalk_cli.cloud.containers import IDLE_S

    console: Console = ctx.obj
    cloud, chosen = _open({"gpu": gpu, "stack": stack, "app": app, "environment": environment})
    cloud.set_idle_window(chosen["stack"], chosen["gpu"], IDLE_S)
    console.fact("cool", view.cool_text(IDLE_S))
    console.succeed("cool", {"seconds": IDLE_S})


def parse_duration(text: str) -> int:
    """Seconds of `15m`, `90s`, `1h` or `15` (minutes). Raises UsageError E_RANGE."""
    from multitalk_cli.cloud.containers import MAX_WARM_S

    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 2 <= seconds <= MAX_WARM_S:
        raise UsageError(
            f"the time must be from 2s to 60m, not {text!r}",
            code="E_RANGE",
            hint="multitalk warm 15m",
        )
    return seconds
