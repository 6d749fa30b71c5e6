"""The command line as a whole: its commands, its global options, and the only catch of errors."""

import difflib
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from multitalk_cli import __version__, files
from multitalk_cli.cli.commands.batch import EXAMPLES as BATCH_EXAMPLES
from multitalk_cli.cli.commands.batch import batch
from multitalk_cli.cli.commands.bench import EXAMPLES as BENCH_EXAMPLES
from multitalk_cli.cli.commands.bench import bench
from multitalk_cli.cli.commands.compare import compare
from multitalk_cli.cli.commands.completion import app as completion_app
from multitalk_cli.cli.commands.config import app as config_app
from multitalk_cli.cli.commands.demo import demo
from multitalk_cli.cli.commands.deploy import deploy
from multitalk_cli.cli.commands.doctor import EXAMPLES as DOCTOR_EXAMPLES
from multitalk_cli.cli.commands.doctor import DoctorCommand, doctor
from multitalk_cli.cli.commands.download import EXAMPLES as DOWNLOAD_EXAMPLES
from multitalk_cli.cli.commands.download import download
from multitalk_cli.cli.commands.explain import explain
from multitalk_cli.cli.commands.ffmpeg import EXAMPLES as FFMPEG_EXAMPLES
from multitalk_cli.cli.commands.ffmpeg import ffmpeg
from multitalk_cli.cli.commands.finish import EXAMPLES as FINISH_EXAMPLES
from multitalk_cli.cli.commands.finish import finish
from multitalk_cli.cli.commands.generate import EXAMPLES as GENERATE_EXAMPLES
from multitalk_cli.cli.commands.generate import generate
from multitalk_cli.cli.commands.inspect import inspect, verify
from multitalk_cli.cli.commands.jobs import app as jobs_app
from multitalk_cli.cli.commands.login import login
from multitalk_cli.cli.commands.redo import EXAMPLES as REDO_EXAMPLES
from multitalk_cli.cli.commands.redo import redo
from multitalk_cli.cli.commands.s3 import app as s3_app
from multitalk_cli.cli.commands.setup_secrets import EXAMPLES as SECRETS_EXAMPLES
from multitalk_cli.cli.commands.setup_secrets import setup_secrets
from multitalk_cli.cli.commands.status import cool, status, warm
from multitalk_cli.cli.commands.upload_weights import upload_weights
from multitalk_cli.cli.console import Console, check_output_options, split_output_options
from multitalk_cli.cli.help import (
    MAKE,
    OTHER,
    RUN,
    SET_UP,
    PagedCommand,
    PagedGroup,
    epilog,
    show_help_of,
)
from multitalk_cli.cli.library_messages import library_messages
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cli.options import replace_renamed
from multitalk_cli.cli.signals import ending_signals
from multitalk_cli.cli.typed_words import option_values
from multitalk_cli.cloud.modal_config import stored_tokens
from multitalk_cli.errors import (
    CODES,
    ExitCode,
    FileError,
    MultitalkError,
    UsageError,
    masking,
)
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.reporting.formatting import shell_word

EXAMPLES = (
    "multitalk demo",
    "multitalk generate host.jpg voice.wav --plan",
    "multitalk doctor",
)

app = typer.Typer(
    name="multitalk",
    cls=PagedGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(*EXAMPLES),
)


def _show_version(ctx: typer.Context, is_wanted: bool) -> None:
    if is_wanted:
        console: Console = ctx.obj
        console.succeed("multitalk", {"version": __version__}, [f"multitalk {__version__}"])
        raise typer.Exit


@app.callback()
def _global_options(
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, also on failure.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the result and errors.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks and logs of what fails."),
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours.")] = False,
    progress: Annotated[
        str,
        typer.Option(metavar="KIND", help="On stderr: auto, bars, plain, json or none."),
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
    """Make talking videos from a picture and a voice.

    The options below work anywhere on the command line.
    """
    # `split_output_options` removes these from the command line before it is parsed, so that they
    # hold for errors of parsing too; they are declared here for the help.
    del json, quiet, debug, no_color, progress, version


def _help(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Such as: jobs attach.")
    ] = None,
) -> None:
    """Show how a command is used."""
    show_help_of(ctx, words if words is not None else [])


def _add(
    name: str,
    function: Callable[..., None],
    panel: str,
    *examples: str,
    cls: type[PagedCommand] = PagedCommand,
) -> None:
    """Adds a command to a panel of the help."""
    app.command(name, cls=cls, epilog=epilog(*examples), rich_help_panel=panel)(function)


_add("generate", generate, MAKE, *GENERATE_EXAMPLES)
_add("batch", batch, MAKE, *BATCH_EXAMPLES)
_add("demo", demo, MAKE, "multitalk demo")
_add("finish", finish, MAKE, *FINISH_EXAMPLES)
_add("redo", redo, MAKE, *REDO_EXAMPLES)
_add("inspect", inspect, MAKE, "multitalk inspect voice.mp4")
_add(
    "verify",
    verify,
    MAKE,
    "multitalk verify voice.mp4",
    "multitalk verify voice.mp4 host.jpg voice.wav",
)
_add("compare", compare, MAKE, "multitalk compare voice.mp4 voice-8.mp4")
app.add_typer(jobs_app, name="jobs", rich_help_panel=MAKE)
_add("login", login, SET_UP, "multitalk login")
app.command(
    "setup-secrets",
    cls=PagedCommand,
    epilog=epilog(*SECRETS_EXAMPLES),
    rich_help_panel=SET_UP,
    # A value among the words is refused without being repeated, which Typer would do.
    context_settings={"allow_extra_args": True},
)(setup_secrets)
_add("deploy", deploy, SET_UP, "multitalk deploy", "multitalk deploy --dry-run")
_add("download", download, SET_UP, *DOWNLOAD_EXAMPLES)
_add("upload-weights", upload_weights, SET_UP, "multitalk upload-weights weights/pack")
_add("doctor", doctor, SET_UP, *DOCTOR_EXAMPLES, cls=DoctorCommand)
_add("status", status, RUN, "multitalk status")
_add("warm", warm, RUN, "multitalk warm 15m")
_add("cool", cool, RUN, "multitalk cool")
_add("bench", bench, RUN, *BENCH_EXAMPLES)
app.add_typer(s3_app, name="s3", rich_help_panel=RUN)
app.add_typer(config_app, name="config", rich_help_panel=OTHER)
_add("ffmpeg", ffmpeg, OTHER, *FFMPEG_EXAMPLES)
_add("explain", explain, OTHER, "multitalk explain E_AUDIO_SILENT")
_add("help", _help, OTHER, "multitalk help generate")
app.add_typer(completion_app, name="completion", rich_help_panel=OTHER)


def run(argv: Sequence[str]) -> int:
    """Runs one command line; returns its exit code and raises nothing.

    128 + n means the signal n (130 for Ctrl-C, 143 for SIGTERM).
    """
    received: list[int] = []
    rest, options = split_output_options(argv)
    arguments, renamings = replace_renamed(rest)
    console = Console(options)
    console.typed = arguments
    masking.forget()
    console.hide(stored_tokens())
    with ending_signals(received, console), library_messages(console):
        try:
            check_output_options(options)
            for renaming in renamings:
                console.note(renaming.notice)
            return _invoke(arguments, console)
        except MultitalkError as error:
            if error.code == "E_DECLINED":
                console.tell(error.message)
            else:
                console.fail(_command_name(arguments), error, next_command(error, arguments))
            return int(error.exit_code)
        except typer.TyperException as error:
            usage = _usage_error(error, arguments)
            console.fail(_command_name(arguments), usage, next_command(usage, arguments))
            return int(ExitCode.USAGE)
        except (KeyboardInterrupt, typer.Abort):
            console.interrupted(_command_name(arguments))
            return 128 + (received[0] if received else signal.SIGINT)
        except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a message
            console.bug(_command_name(arguments), error, traceback.format_exc())
            return int(ExitCode.BUG)
        finally:
            if files.is_unkept():
                console.note(
                    "no home folder that can be written to: jobs and settings are not kept"
                )


def _invoke(arguments: list[str], console: Console) -> int:
    _refuse_dashed_files(arguments)
    _refuse_several_loras(arguments)
    try:
        code = app(args=arguments, prog_name="multitalk", standalone_mode=False, obj=console)
    except FileNotFoundError:
        _require_folder()
        raise
    if code == ExitCode.INTERRUPTED:
        # Typer turns KeyboardInterrupt into this exit code before it reaches us.
        raise KeyboardInterrupt
    return code if isinstance(code, int) else int(ExitCode.OK)


def _require_folder() -> None:
    """Raises FileError where the current folder was deleted: no relative path works there."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        raise FileError(
            "the current folder was deleted",
            code="E_FILE_MISSING",
            hint="cd to a folder that exists",
        ) from None


def _refuse_dashed_files(arguments: Sequence[str]) -> None:
    """Raises UsageError for a file called -voice.wav, which would be read as options: -v, -o ..."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for word in arguments[:end]:
        if word.startswith("-") and "." in word and os.path.lexists(word):
            raise UsageError(
                f"{word!r} is a file whose name begins with a dash",
                code="E_USAGE",
                hint=f"write it as {shell_word('./' + word)}",
            )


def _refuse_several_loras(arguments: Sequence[str]) -> None:
    """Raises UsageError for two of them, which may be meant to be merged both: one would be."""
    loras = option_values(arguments, "--lora")
    if len({*loras}) > 1:
        raise UsageError(
            "--lora is given more than once: name one LoRA",
            code="E_CONFLICT",
            facts={"option": "--lora", "example": loras[-1]},
        )


def _command_name(arguments: Sequence[str]) -> str:
    known = {command.name for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    name = next((word for word in arguments if not word.startswith("-")), "")
    return name if name in known else "multitalk"


def _usage_error(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The error of Typer's parser in our form, with the page of the command that was parsed."""
    context = getattr(error, "ctx", None)
    name = _command_name(arguments)
    path = "multitalk" if name == "multitalk" else f"multitalk {name}"
    path = path if context is None else context.command_path
    message = error.format_message().rstrip(".") or CODES["E_USAGE"].summary
    facts: dict[str, Fact] = {}
    names = getattr(error, "possibilities", None)
    if names is None and context is not None:
        names = getattr(context.command, "commands", {})
    unknown = getattr(error, "option_name", None)
    for word in arguments:
        name, equals, value = word.partition("=")
        if name == unknown or f"command {word!r}" in message:
            close = difflib.get_close_matches(name, names or (), n=1, cutoff=0.7)
            facts = {"typed": word, "nearest": f"{close[0]}{equals}{value}"} if close else {}
            break
    page = "--help-all" if _is_advanced(_command_name(arguments), unknown) else "--help"
    return UsageError(message, code="E_USAGE", hint=f"{path} {page}", facts=facts)


def _is_advanced(command: str, option: str | None) -> bool:
    """Whether an option of a command is one that only --help-all shows."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    parameters = commands[command].params if option and command in commands else []
    hidden = {name for each in parameters if getattr(each, "hidden", False) for name in each.opts}
    return option in hidden and any("--help-all" in each.opts for each in parameters)
