"""`multitalk status`, `warm` and `cool`: the containers, and what keeping one costs."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Gpu, Stack
from multitalk_cli.errors import UsageError, error_from_code
from multitalk_cli.reporting.formatting import human_duration, human_money

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud

MOST_WARM_S = 3600
DEPLOYED_WINDOW_S = 30
_DURATION = re.compile(r"(\d{1,5})(s|m|h|min)?")
_UNITS = {None: 60, "m": 60, "min": 60, "s": 1, "h": 3600}


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
    """Show what is deployed, how busy it is, and what a minute costs."""
    from multitalk_cli.cloud.errors import not_deployed
    from multitalk_cli.planning.cost import price_of

    output: Console = ctx.obj
    cloud, chosen = _open({"gpu": gpu, "stack": stack, "app": app, "environment": environment})
    record = cloud.deployment()
    if record is None:
        raise not_deployed(cloud.place)
    load = cloud.load_of(chosen["stack"], chosen["gpu"])
    minute = price_of(chosen["gpu"], 60)
    data: dict[str, Any] = {
        "deployed": record,
        "containers": load.containers,
        "waiting": load.backlog,
        "running": load.running,
        "idle_usd_per_minute": round(minute, 4),
    }
    lines = [
        f"deployed    version {record['client']}, stacks {', '.join(record['stacks'])}",
        f"containers  {load.containers}, {load.running} at work, {load.backlog} calls waiting",
        f"idle        {human_money(minute)} a minute for each container",
    ]
    output.succeed("status", data, lines)


def warm(
    ctx: typer.Context,
    duration: Annotated[
        str, typer.Argument(metavar="[TIME]", help="Such as 15m, at most 60m.")
    ] = "15m",
    gpu: Gpu = None,
    stack: Stack = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Start a container, load the weights, and keep it for a while."""
    from multitalk_cli import contract
    from multitalk_cli.cloud.readiness import check_ready
    from multitalk_cli.planning.cost import price_of

    output: Console = ctx.obj
    window_s = parse_duration(duration)
    cloud, chosen = _open({"gpu": gpu, "stack": stack, "app": app, "environment": environment})
    check_ready(cloud, chosen["stack"])
    most = human_money(price_of(chosen["gpu"], window_s))
    output.fact("warm", f"idle for at most {human_duration(window_s)} after each call, {most}")
    answer = cloud.warm(chosen["stack"], chosen["gpu"], window_s=window_s)
    if "event" in answer:
        event = contract.event_from_wire(answer["event"])
        if isinstance(event, contract.Failed):
            raise error_from_code(event.code, event.message, event.hint)
    output.note("multitalk cool lets it go sooner")
    output.succeed("warm", {"seconds": window_s, "load_seconds": answer["seconds"]}, [])


def cool(
    ctx: typer.Context,
    gpu: Gpu = None,
    stack: Stack = None,
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Undo warm: containers go as soon as they are idle again."""
    output: Console = ctx.obj
    cloud, chosen = _open({"gpu": gpu, "stack": stack, "app": app, "environment": environment})
    cloud.set_idle_window(chosen["stack"], chosen["gpu"], DEPLOYED_WINDOW_S)
    output.fact("cool", f"idle containers go after {DEPLOYED_WINDOW_S} s")
    output.succeed("cool", {"seconds": DEPLOYED_WINDOW_S}, [])


def parse_duration(text: str) -> int:
    """Seconds of `15m`, `90s`, `1h` or `15` (minutes). Raises UsageError E_RANGE."""
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 2 <= seconds <= MOST_WARM_S:
        raise UsageError(
            f"the time must be from 2s to 60m, not {text!r}",
            code="E_RANGE",
            hint="multitalk warm 15m",
        )
    return seconds
