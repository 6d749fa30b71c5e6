"""Options that several commands share, each declared once, and the old words of renamed ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli.errors import RefusedError, UsageError
from multitalk_cli.settings import SETTINGS

if TYPE_CHECKING:
    from multitalk_cli.cli.console import Console


def setting_option(name: str, *, is_advanced: bool = False) -> Any:
    """The option of a setting; an advanced one is shown by --help-all only."""
    setting = SETTINGS[name]
    switch = f"{setting.option}/--no-{setting.option.removeprefix('--')}"
    return typer.Option(
        switch if setting.kind is bool else setting.option,
        *setting.aliases,
        metavar=setting.metavar,
        help=setting.option_help,
        hidden=is_advanced,
        rich_help_panel="Advanced" if is_advanced else None,
    )


Command = Callable[..., None]


def setting_options(
    after: Mapping[str, Sequence[str]], advanced: Sequence[str]
) -> Callable[[Command], Command]:
    """Adds the options of settings to a command; their values are its argument `given`.

    after: an argument of the command -> settings whose options follow it on the help page.
    advanced: settings that --help-all shows at the end.
    """

    def decorate(command: Command) -> Command:
        own = dict(inspect.signature(command, eval_str=True).parameters)
        del own["given"]
        parameters = []
        for argument, parameter in own.items():
            parameters.append(parameter)
            parameters += [_parameter(name) for name in after.get(argument, ())]
        parameters += [_parameter(name, is_advanced=True) for name in advanced]
        return _with_parameters(command, own, parameters)

    return decorate


def options_of(
    other: Command, without: Collection[str], optional: Collection[str]
) -> Callable[[Command], Command]:
    """Adds the options of another command behind a command's own; `given` has their values.

    without: arguments of the other command that are left out. optional: those that are None where
    they are not given, in place of the other command's default.
    """

    def decorate(command: Command) -> Command:
        own = dict(inspect.signature(command, eval_str=True).parameters)
        del own["given"]
        theirs = [
            parameter.replace(default=None) if name in optional else parameter
            for name, parameter in inspect.signature(other).parameters.items()
            if name not in {*own, *without}
        ]
        return _with_parameters(command, own, [*own.values(), *theirs])

    return decorate


def _with_parameters(
    command: Command,
    own: Mapping[str, inspect.Parameter],
    parameters: Sequence[inspect.Parameter],
) -> Command:
    """The command with these parameters; the values of those that are not its own are `given`."""

    @functools.wraps(command)
    def call(**values: object) -> None:
        mine = {name: value for name, value in values.items() if name in own}
        command(**mine, given={name: values[name] for name in values.keys() - own.keys()})

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _parameter(name: str, *, is_advanced: bool = False) -> inspect.Parameter:
    kind = bool if SETTINGS[name].kind is bool else str
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[kind | None, setting_option(name, is_advanced=is_advanced)],
    )


AppName = Annotated[str | None, setting_option("app")]
Environment = Annotated[str | None, setting_option("environment")]
Gpu = Annotated[str | None, setting_option("gpu")]
Stack = Annotated[str | None, setting_option("stack")]
Attention = Annotated[str | None, setting_option("attention")]
STDOUT = "-"
"""The output of `generate` that is no file."""


def _refuse_stdout(path: str | None) -> str | None:
    if path == STDOUT:
        raise UsageError(
            "-o - (stdout) is for multitalk generate only",
            code="E_OUTPUT_NAME",
            facts={"problem": "stdout"},
        )
    return path


OutputPath = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="PATH", help="FILE or FOLDER/.", callback=_refuse_stdout
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what exists.")]
Seeds = Annotated[str | None, typer.Option(metavar="N", help="N variations, from --seed on.")]
First = Annotated[
    bool, typer.Option("--first", help="First window only; see multitalk finish --help.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")]


def agree_to_pay(console: Console, work: str, price: str, *, yes: bool) -> None:
    """Asks before work that costs money; raises UsageError where nobody can answer.

    work: such as `a benchmark`. price: a line about what is done and its price.
    """
    if yes or not console.can_ask:
        console.note(price)
    if yes:
        return
    if not console.can_ask:
        raise UsageError(
            f"{work} costs money, and this is not a terminal: pass --yes",
            code="E_USAGE",
            facts={"option": "--yes"},
        )
    before, console.leaving = console.leaving, "interrupted; nothing was started or paid"
    if not console.confirm("Continue?", about=price):
        raise RefusedError("nothing was started or paid", code="E_DECLINED")
    console.leaving = before


def _help_all(ctx: typer.Context, is_asked: bool) -> None:
    if is_asked:
        hidden: list[Any] = [each for each in ctx.command.params if getattr(each, "hidden", False)]
        for parameter in hidden:
            parameter.hidden = False
        try:
            ctx.get_help()
        finally:
            for parameter in hidden:
                parameter.hidden = True


HelpAll = Annotated[
    bool, typer.Option("--help-all", is_eager=True, callback=_help_all, help="Show every option.")
]


# Renamed words


RENAMED_COMMANDS: dict[str, str] = {"upload": "upload-weights"}
"""Old words of a command -> its new ones."""

RENAMED_OPTIONS: dict[str, dict[str, str]] = {
    "deploy": {"--name": "--app"},
}
"""Words of a command (the new ones) -> old option -> new option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """An old word that was typed, and the word that replaced it."""

    old: str
    new: str

    @property
    def notice(self) -> str:
        """The sentence that tells the user."""
        return f"{self.old} is now {self.new}"


def replace_renamed(arguments: Sequence[str]) -> tuple[list[str], list[Renaming]]:
    """The command line in today's words, and each old word that it held, once.

    Words after `--` are files and stay.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words, files = list(arguments[:end]), list(arguments[end:])
    found: list[Renaming] = []
    for old, new in RENAMED_COMMANDS.items():
        old_words = old.split()
        if words[: len(old_words)] == old_words:
            words[: len(old_words)] = new.split()
            found.append(Renaming(old=old, new=new))
    for command, options in RENAMED_OPTIONS.items():
        command_words = command.split()
        if words[: len(command_words)] == command_words:
            for place, word in enumerate(words):
                name, equals, value = word.partition("=")
                if name in options:
                    words[place] = options[name] + equals + value
                    found.append(Renaming(old=name, new=options[name]))
    return [*words, *files], list(dict.fromkeys(found))
