"""`multitalk doctor`: the state of the set-up, and the command that continues it."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli import files, settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.help import PagedCommand
from multitalk_cli.cli.options import AppName, Environment, Force, Yes, agree_to_pay
from multitalk_cli.errors import ExitCode, FileError, MultitalkError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.doctor.check import CheckResult
    from multitalk_cli.doctor.model import Proof
    from multitalk_cli.doctor.report import DoctorReport

EXAMPLES = (
    "multitalk doctor",
    "multitalk doctor --gpu --yes",
    "multitalk doctor --gpu l4",
    "multitalk doctor --model --report report.md",
    "multitalk doctor --report report.md",
)


class DoctorCommand(PagedCommand):
    """`doctor`, whose --gpu may have no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turns a --gpu alone into one with an empty value: the GPU of the settings."""
        words = [
            "--gpu=" if word == "--gpu" and after.startswith("-") else word
            for word, after in pairwise([*args, "--"])
        ]
        return super().parse_args(ctx, words)


def doctor(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="A line for each check.")] = False,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="[GPU]", help="Also start a container with this GPU for a test video."
        ),
    ] = None,
    model: Annotated[
        bool,
        typer.Option(
            "--model", help="Also compare the model in your account with reference software."
        ),
    ] = False,
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Also write everything found to FILE, without secrets, for an issue.",
        ),
    ] = None,
    force: Force = False,
    yes: Yes = False,
    environment: Environment = None,
    app: AppName = None,
) -> None:
    """Check this machine and your account, and name the next command.

    Exit code 4 if something must be set up first, or if a part of the model differs.
    """
    from multitalk_cli.cli.views import doctor as view
    from multitalk_cli.doctor import account, check, local
    from multitalk_cli.doctor.report import make_report

    console: Console = ctx.obj
    if report_file is not None:
        _require_new(report_file, force)
    chosen = _read_settings({"environment": environment, "app": app, "gpu": gpu if gpu else None})
    columns = console.columns
    place = account.Account(chosen)
    results = check.run_all([*local.checks(columns), *place.checks()], debug=console.options.debug)
    report = make_report(results)
    if gpu is not None or model:
        paid = _Paid(place.cloud, chosen, console, yes) if chosen and report.is_deployed else None
        report = _with_containers(results, paid, has_gpu=gpu is not None, has_model=model)
    report = view.of_app(report, chosen)
    if report_file is not None:
        _write_report(report_file, report, chosen, force=force)
        console.fact("report", files.shown_path(report_file))
    console.succeed(
        "doctor",
        view.data(report),
        view.blocks(report, every=every, columns=columns),
        view.errors(report),
    )
    if report.failed:
        raise typer.Exit(int(ExitCode.SETUP))


def _require_new(path: Path, force: bool) -> None:
    """Raises FileError before a GPU is paid for, rather than when the report is written."""
    files.check_creatable(path)
    if path.exists() and not force:
        raise FileError(f"{files.shown_path(path)} exists", code="E_OUTPUT_EXISTS")


def _write_report(
    path: Path, report: "DoctorReport", chosen: settings.Settings | None, *, force: bool
) -> None:
    from multitalk_cli.cli.views import support_report

    files.write_atomically(path, support_report.text(report, chosen).encode(), overwrite=force)


def _read_settings(flags: dict[str, str | None]) -> settings.Settings | None:
    """The settings; None for files or variables that cannot be read, which a check reports.

    Raises UsageError for an option.
    """
    for name, flag in flags.items():
        if flag is not None:
            settings.parse_option(name, flag)
    try:
        return settings.load_settings(flags)
    except MultitalkError:
        return None


def _with_containers(
    results: "list[CheckResult]", paid: "_Paid | None", *, has_gpu: bool, has_model: bool
) -> "DoctorReport":
    """The report with what containers found. paid: None if they cannot be started."""
    from multitalk_cli.doctor.report import make_report

    checks, measured, proof = [*results], None, None
    if has_gpu:
        found, measured = ([_not_started("gpu")], {}) if paid is None else paid.examine()
        checks += found
    if has_model:
        found, proof = ([_not_started("model")], None) if paid is None else paid.prove()
        checks += found
    return make_report(checks, measured, proof)


def _not_started(group: str) -> "CheckResult":
    from multitalk_cli.doctor.check import CheckResult, Outcome

    skipped = Outcome(text="no container was started: see above", state="skip")
    return CheckResult(name="container", group=group, outcome=skipped, is_blocked=True)


@dataclass(frozen=True, slots=True)
class _Paid:
    """Containers that cost money, each started after its question."""

    cloud: "Cloud"
    chosen: settings.Settings
    console: Console
    yes: bool

    def examine(self) -> "tuple[list[CheckResult], dict[str, Any]]":
        """The checks of a container with a GPU, and its answer."""
        from multitalk_cli.doctor import gpu

        self._ask("a container with a GPU", gpu.question(self.chosen))
        return gpu.examine(self.cloud, self.chosen, self.console)

    def prove(self) -> "tuple[list[CheckResult], Proof]":
        """The checks of the model's parts, and their figures."""
        from multitalk_cli.doctor import model

        self._ask("comparing the model", model.question(self.chosen))
        shows_log = self.console.options.debug
        return model.prove(self.cloud, self.chosen, self.console, shows_log=shows_log)

    def _ask(self, work: str, price: str) -> None:
        agree_to_pay(self.console, work, price, yes=self.yes)
