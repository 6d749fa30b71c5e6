"""The command line as a whole: its commands, its global options, and the only catch of errors."""

import os
import shlex
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from multitalk_cli import __version__
from multitalk_cli.cli.commands.bench import EXAMPLES as BENCH_EXAMPLES
from multitalk_cli.cli.commands.bench import bench
from multitalk_cli.cli.commands.completion import app as completion_app
from multitalk_cli.cli.commands.config import app as config_app
from multitalk_cli.cli.commands.demo import demo
from multitalk_cli.cli.commands.deploy import deploy
from multitalk_cli.cli.commands.doctor import EXAMPLES as DOCTOR_EXAMPLES
from multitalk_cli.cli.commands.doctor import DoctorCommand, doctor
from multitalk_cli.cli.commands.download import EXAMPLES as DOWNLOAD_EXAMPLES
from multitalk_cli.cli.commands.download import download
from multitalk_cli.cli.commands.explain import explain
from multitalk_cli.cli.commands.generate import EXAMPLES as GENERATE_EXAMPLES
from multitalk_cli.cli.commands.generate import generate
from multitalk_cli.cli.commands.jobs import app as jobs_app
from multitalk_cli.cli.commands.login import login
from multitalk_cli.cli.commands.s3 import app as s3_app
from multitalk_cli.cli.commands.setup_secrets import EXAMPLES as SECRETS_EXAMPLES
from multitalk_cli.cli.commands.setup_secrets import setup_secrets
from multitalk_cli.cli.commands.status import cool, status, warm
from multitalk_cli.cli.commands.upload_weights import upload_weights
from multitalk_cli.cli.console import Console, check_output_options, split_output_options
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cli.options import replace_renamed
from multitalk_cli.errors import CODES, ExitCode, MultitalkError, UsageError
from multitalk_cli.settings import secret_values

EPILOG = "A first video without any set-up:  multitalk demo"

app = typer.Typer(
    name="multitalk",
    cls=PagedGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _show_version(ctx: typer.Context, asked: bool) -> None:
    if asked:
        output: Console = ctx.obj
        output.succeed("multitalk", {"version": __version__}, [f"multitalk {__version__}"])
        raise typer.Exit


@app.callback()
def _global_options(
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the result and errors only.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an unexpected error."),
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours.")] = False,
    progress: Annotated[
        str,
        typer.Option(metavar="KIND", help="On stderr: auto, bars, plain, json (lines) or none."),
    ] = "auto",
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Print the version.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """A picture and a voice in, a talking video out.

    The options below may stand anywhere on the command line.
    """
    # `split_output_options` has taken these from the command line already, so that they are known
    # while it is parsed; they are declared here for the help.
    del json, quiet, debug, no_color, progress, version


app.command("generate", cls=PagedCommand, epilog=epilog(*GENERATE_EXAMPLES))(generate)
app.command("demo", cls=PagedCommand, epilog=epilog("multitalk demo"))(demo)
app.command("doctor", cls=DoctorCommand, epilog=epilog(*DOCTOR_EXAMPLES))(doctor)
app.command("login", cls=PagedCommand, epilog=epilog("multitalk login"))(login)
app.command(
    "setup-secrets",
    cls=PagedCommand,
    epilog=epilog(*SECRETS_EXAMPLES),
    # A value among the words is refused without being repeated, which Typer would do.
    context_settings={"allow_extra_args": True},
)(setup_secrets)
app.command("deploy", cls=PagedCommand, epilog=epilog("multitalk deploy --dry-run"))(deploy)
app.command("download", cls=PagedCommand, epilog=epilog(*DOWNLOAD_EXAMPLES))(download)
app.command(
    "upload-weights", cls=PagedCommand, epilog=epilog("multitalk upload-weights weights/pack")
)(upload_weights)
app.command("status", cls=PagedCommand, epilog=epilog("multitalk status"))(status)
app.command("warm", cls=PagedCommand, epilog=epilog("multitalk warm 15m"))(warm)
app.command("cool", cls=PagedCommand, epilog=epilog("multitalk cool"))(cool)
app.command("bench", cls=PagedCommand, epilog=epilog(*BENCH_EXAMPLES))(bench)
app.command("explain", cls=PagedCommand, epilog=epilog("multitalk explain E_AUDIO_SILENT"))(explain)
app.add_typer(jobs_app, name="jobs")
app.add_typer(s3_app, name="s3")
app.add_typer(config_app, name="config")
app.add_typer(completion_app, name="completion")


def run(argv: Sequence[str]) -> int:
    """Runs one command line and gives its exit code; nothing is raised.

    128 + n stands for the signal n (130 for Ctrl-C, 143 for SIGTERM).
    """
    received: list[int] = []
    rest, options = split_output_options(argv)
    arguments, renamings = replace_renamed(rest)
    output = Console(options)
    output.hide(secret_values(for_signing=arguments[:2] == ["s3", "url"]))
    with _signals(received):
        try:
            check_output_options(options)
            for renaming in renamings:
                output.note(renaming.notice)
            return _invoke(arguments, output)
        except MultitalkError as error:
            _hide_all(output)
            output.fail(_command_name(arguments), error, next_command(error, arguments))
            return int(error.exit_code)
        except typer.TyperException as error:
            output.fail(_command_name(arguments), _usage_error(error, arguments))
            return int(ExitCode.USAGE)
        except (KeyboardInterrupt, typer.Abort):
            output.interrupted(_command_name(arguments))
            return 128 + (received[0] if received else signal.SIGINT)
        except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a message
            _hide_all(output)
            output.bug(_command_name(arguments), error, traceback.format_exc())
            return int(ExitCode.BUG)


def _hide_all(output: Console) -> None:
    """Hides every key and token that a library may have put into its error."""
    from multitalk_cli.cloud.modal_config import stored_tokens

    output.hide([*secret_values(), *stored_tokens()])


def _invoke(arguments: list[str], output: Console) -> int:
    _refuse_dashed_files(arguments)
    code = app(args=arguments, prog_name="multitalk", standalone_mode=False, obj=output)
    if code == ExitCode.INTERRUPTED:
        # Typer turns KeyboardInterrupt into this exit code before it reaches us.
        raise KeyboardInterrupt
    return code if isinstance(code, int) else int(ExitCode.OK)


def _refuse_dashed_files(arguments: Sequence[str]) -> None:
    """A file called -voice.wav would be read as options: -v, -o, -i ..."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for word in arguments[:end]:
        if word.startswith("-") and "." in word and os.path.lexists(word):
            raise UsageError(
                f"{word!r} is a file whose name begins with a dash",
                code="E_USAGE",
                hint=f"write it as {shlex.quote('./' + word)}",
            )


@contextmanager
def _signals(received: list[int]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt once, so that work cleans up.

    A second signal ends the process at once.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; that choice is kept.
    handled = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, interrupt) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command_name(arguments: Sequence[str]) -> str:
    names = [word for word in arguments if not word.startswith("-")]
    return names[0] if names and names[0] in _known_commands() else "multitalk"


def _known_commands() -> set[str]:
    commands = {command.name for command in app.registered_commands}
    return {name for name in commands | {group.name for group in app.registered_groups} if name}


def _usage_error(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """What Typer's parser refused, in our form."""
    name = _command_name(arguments)
    hint = "multitalk --help" if name == "multitalk" else f"multitalk {name} --help"
    message = error.format_message().rstrip(".")
    return UsageError(message or CODES["E_USAGE"].summary, code="E_USAGE", hint=hint)
