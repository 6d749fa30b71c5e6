"""The script for zsh: specifications for `_arguments`, command by command."""

import re

from multitalk_cli.cli.completion import tree
from multitalk_cli.cli.completion.tree import Argument, Command, Option, ValueKind
from multitalk_cli.media import file_endings

HEADER = (
    "#compdef multitalk\n# Completion of multitalk for zsh, made by: multitalk completion show zsh"
)


def script(root: Command) -> str:
    """The whole script."""
    shared = tree.anywhere(root)
    lines = [HEADER, ""]
    for command in root.all():
        if command.path:
            lines += _function(command, shared)
    return "\n".join([*lines, _HELPERS, *_function(root, shared), '_multitalk "$@"', ""])


def _name(command: Command) -> str:
    return "_".join(["_multitalk", *command.path]).replace("-", "_")


def _function(command: Command, shared: tuple[Option, ...]) -> list[str]:
    own = [option for option in command.options if option not in shared]
    specs = [*map(_option, own), *map(_option, shared)]
    if not command.commands:
        specs += [_argument(each, place) for place, each in enumerate(command.arguments, 1)]
        body = " \\\n        ".join(["_arguments -s -S :", *specs])
        return [f"{_name(command)}() {{", f"    {body}", "}", ""]
    specs += ["'1: :->command'", "'*:: :->rest'"]
    body = " \\\n        ".join(["_arguments -C -s -S :", *specs])
    rows = [f"                {_word(each)}" for each in command.commands]
    calls = [f"                {each.path[-1]}) {_name(each)} ;;" for each in command.commands]
    program = ['    local multitalk_program="$words[1]"'] if not command.path else []
    return [
        f"{_name(command)}() {{",
        *program,
        '    local curcontext="$curcontext" state line',
        "    local -A opt_args",
        "    local -a found",
        f"    {body} && return 0",
        "    case $state in",
        "        command)",
        "            found=(",
        *rows,
        "            )",
        "            _describe -t commands command found",
        "            ;;",
        "        rest)",
        "            case $line[1] in",
        *calls,
        "            esac",
        "            ;;",
        "    esac",
        "}",
        "",
    ]


def _escape(text: str) -> str:
    """Text inside a specification in single quotes."""
    return re.sub(r"([\\\[\]:])", r"\\\1", text).replace("'", "'\\''")


def _word(command: Command) -> str:
    text = command.help.replace("\\", "\\\\").replace(":", "\\:").replace("'", "'\\''")
    return f"'{command.path[-1]}:{text}'"


def _option(option: Option) -> str:
    """Specifications of one option; its names exclude each other."""
    others = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    if option.value is not None and option.value.kind == tree.SPEAKER:
        others = "*"
    names = [_takes(name, option.value) for name in option.names]
    text = f"[{_escape(option.help)}]{_action(option.value)}"
    if len(names) == 1:
        return f"'{others}{names[0]}{text}'"
    return f"'{others}'{{{','.join(names)}}}'{text}'"


def _takes(name: str, value: ValueKind | None) -> str:
    if value is None:
        return name
    return f"{name}=" if name.startswith("--") else f"{name}+"


def _argument(argument: Argument, place: int) -> str:
    return f"'{'*' if argument.many else place}{_action(argument.value)}'"


def _action(value: ValueKind | None) -> str:
    if value is None:
        return ""
    label = _escape(value.label)
    # With a blank before it, zsh calls an action with our arguments alone.
    actions = {
        tree.WORDS: f"({' '.join(value.words)})",
        tree.FILES: "_files",
        tree.FOLDERS: "_files -/",
        tree.PICTURE: "_multitalk_pictures",
        tree.SOUND: "_multitalk_sounds",
        tree.SPEAKER: "_multitalk_speaker",
        tree.KEYS: " _multitalk_ask keys",
        tree.JOBS: " _multitalk_ask jobs",
        tree.NOTHING: " ",
    }
    return f":{label}:{actions[value.kind]}"


_HELPERS = (
    r"""# What only multitalk knows: jobs and keys, read from files, never over the network.
_multitalk_ask() {
    local line
    local -a values shown
    for line in ${(f)"$(${(Q)multitalk_program} _complete $1 "${(Q)PREFIX}" 2> /dev/null)"}; do
        values+=("${line%%$'\t'*}")
        shown+=("${line//$'\t'/  -- }")
    done
    compadd -l -d shown -a values
}

_multitalk_files() {
    if [[ ${(L)PREFIX} == s3:* ]]; then
        _multitalk_ask keys
    else
        _files -g "$1"
    fi
}

_multitalk_pictures() {
    _multitalk_files '(#i)*.(PICTURES)~*PLAN(-.)'
}

_multitalk_sounds() {
    _multitalk_files '(#i)*.(SOUNDS)(-.)'
}

_multitalk_speaker() {
    local -a places=(PLACES)
    if compset -P '*='; then
        _multitalk_sounds
    else
        compadd -S '' -a places
    fi
}
""".replace("PICTURES", "|".join(file_endings.PICTURES))
    .replace("PLAN", file_endings.PLAN_PICTURE)
    .replace("SOUNDS", "|".join(file_endings.SOUNDS))
    .replace("PLACES", " ".join(tree.PLACES))
)
