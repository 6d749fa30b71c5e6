"""The grammar of the command line for completion, read from Typer's tree of commands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from multitalk_cli.cli.console import PROGRESS_KINDS
from multitalk_cli.cli.help import PLACED, label_of
from multitalk_cli.contract.bench_task import PERSONS
from multitalk_cli.contract.secrets import SECRET_SPECS
from multitalk_cli.contract.weights_task import LORAS, PRECISIONS
from multitalk_cli.errors import CODES
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.settings import SETTINGS

SHELLS = ("bash", "zsh", "fish")
PLACES = ("left=", "right=", "face:1=", "face:2=", "box:")

WORDS, FILES, FOLDERS, NOTHING = "words", "files", "folders", "nothing"
PICTURE, SOUND, SPEAKER, KEYS, JOBS = "pictures", "sounds", "speakers", "keys", "jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueKind:
    """The kind of value of an option or argument. words: all values, where kind is WORDS."""

    kind: str
    label: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option with all its names; a flag has no value."""

    names: tuple[str, ...]
    help: str
    value: ValueKind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An argument; `many` is the last one, which may be repeated."""

    value: ValueKind
    many: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command or a group of them. path: its words, none for `multitalk` itself."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: tuple["Command", ...]

    @property
    def words(self) -> str:
        """The words after `multitalk`."""
        return " ".join(self.path)

    def all(self) -> Iterator["Command"]:
        """The command itself and all below it."""
        yield self
        for command in self.commands:
            yield from command.all()


_HELP = Option(names=("--help", "-h"), help="Show this message and exit.", value=None)
_BY_LABEL = {
    "ARGUMENT": FILES,
    "DIR": FOLDERS,
    "FILE": FILES,
    "ID": JOBS,
    "IMAGE": PICTURE,
    "KEY": KEYS,
    "LIST": FILES,
    "PACK": FOLDERS,
    "PATH": FILES,
    PLACED: SPEAKER,
    "VIDEO": FILES,
    "VOICE": SOUND,
}
_Choices = Mapping[tuple[str, str], tuple[str, ...]]
_CHOICES: _Choices = {
    ("", "progress"): PROGRESS_KINDS,
    ("bench", "persons"): tuple(PERSONS),
    ("config set", "name"): tuple(SETTINGS),
    ("config unset", "name"): tuple(SETTINGS),
    ("download", "lora"): LORAS,
    ("download", "precision"): PRECISIONS,
    ("download", "preset"): tuple(PRESETS),
    ("generate", "lora"): LORAS,
    ("redo", "lora"): LORAS,
    ("completion install", "shell"): SHELLS,
    ("completion show", "shell"): SHELLS,
    ("explain", "code"): tuple(CODES),
    ("redo", "seed"): ("new", "same"),
    ("setup-secrets", "only"): tuple(SECRET_SPECS),
}


def read_tree(root: Any) -> Command:
    """The tree below Typer's command for the whole application."""
    return _read(root, (), {**_CHOICES, ("help", "words"): tuple(root.commands)})


def anywhere(root: Command) -> tuple[Option, ...]:
    """The options that every command takes."""
    return tuple(option for option in root.options if "--version" not in option.names)


def _read(command: Any, path: tuple[str, ...], choices: _Choices) -> Command:
    below = getattr(command, "commands", {})
    options = [each for each in command.params if each.param_type_name == "option"]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    return Command(
        path=path,
        help=_first_line(command.help),
        options=(*(_read_option(each, path, choices) for each in options), _HELP),
        arguments=tuple(
            Argument(value=_value(each, path, choices), many=each.nargs == -1) for each in arguments
        ),
        commands=tuple(
            _read(each, (*path, name), choices) for name, each in below.items() if not each.hidden
        ),
    )


def _read_option(option: Any, path: tuple[str, ...], choices: _Choices) -> Option:
    return Option(
        names=(*option.opts, *option.secondary_opts),
        help=_first_line(option.help),
        value=None if option.is_flag else _value(option, path, choices),
    )


def _value(parameter: Any, path: tuple[str, ...], choices: _Choices) -> ValueKind:
    label = label_of(parameter)
    words = choices.get((" ".join(path), parameter.name), ())
    if parameter.param_type_name == "option" and parameter.name in SETTINGS:
        words = SETTINGS[parameter.name].choices
    if words:
        return ValueKind(kind=WORDS, label=label, words=words)
    return ValueKind(kind=_BY_LABEL.get(label, NOTHING), label=label)


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
