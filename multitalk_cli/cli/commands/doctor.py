"""`multitalk doctor`: what is set up, what is not, and the command that mends it."""

import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Yes
from multitalk_cli.errors import ExitCode, InterruptedRunError, MultitalkError, UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.doctor.check import CheckResult

EXAMPLES = ("multitalk doctor", "multitalk doctor --gpu --yes")
_ASK = "multitalk doctor --gpu --yes"


def doctor(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="A line for each check.")] = False,
    examine: Annotated[
        bool, typer.Option("--gpu", help="Also start a card's container, and time a short video.")
    ] = False,
    yes: Yes = False,
    environment: Environment = None,
    app: AppName = None,
) -> None:
    """Check this machine and your account, and name the next command.

    Exit code 4 where something must be set up first.
    """
    from multitalk_cli.cli.views import doctor as views_doctor
    from multitalk_cli.doctor import account, check, local

    not_started = check.Outcome(text="no container was started: see above", state="skip")
    output: Console = ctx.obj
    chosen = _read_settings({"environment": environment, "app": app})
    columns = shutil.get_terminal_size().columns
    place = account.Account(chosen)
    looks = [*local.looks(columns), *place.looks()]
    found = views_doctor.order(check.run_all(looks, debug=output.options.debug))
    measured: dict[str, Any] = {}
    if examine:
        more = [check.to_result("container", "gpu", not_started, is_blocked=True)]
        if chosen is not None and found.is_deployed:
            more, measured = _examine(place.cloud, chosen, yes=yes, output=output)
        found = views_doctor.order([*found.checks, *more])
    data = {**found.data(), "gpu": measured} if examine else found.data()
    output.report("doctor", data, found.lines(every=every, columns=columns), found.errors())
    if found.failed:
        raise typer.Exit(int(ExitCode.SETUP))


def _read_settings(flags: dict[str, str | None]) -> settings.Settings | None:
    """The settings; where they cannot be read, one of the checks says why."""
    try:
        return settings.load_settings(flags)
    except MultitalkError:
        return None


def _examine(
    cloud: "Cloud", chosen: settings.Settings, *, yes: bool, output: Console
) -> "tuple[list[CheckResult], dict[str, Any]]":
    from multitalk_cli.doctor import gpu

    question = gpu.question(chosen)
    output.note(question)
    if yes:
        return gpu.examine(cloud, chosen, output)
    if not output.can_ask:
        raise UsageError("a container with a card costs money", code="E_USAGE", hint=_ASK)
    if not output.confirm("Go on?"):
        raise InterruptedRunError("nothing was started or paid", code="E_INTERRUPTED")
    return gpu.examine(cloud, chosen, output)
