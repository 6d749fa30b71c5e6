"""The script for fish: one function that walks the words as multitalk does."""

from multitalk_cli.cli.completion import tree
from multitalk_cli.cli.completion.tree import Command, Option, ValueKind
from multitalk_cli.media import file_endings

HEADER = "# Completion of multitalk for fish, made by: multitalk completion show fish"


def script(root: Command) -> str:
    """The whole script."""
    return "\n".join([HEADER, "", *_place_table(root), *_value_table(root), _REST])


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _rows(options: tuple[Option, ...]) -> str:
    return " ".join(_quote(f"{name}\t{option.help}") for option in options for name in option.names)


def _place_table(root: Command) -> list[str]:
    """The function that sets commands, options and arguments of a command."""
    shared = tree.anywhere(root)
    lines = [
        "function __multitalk_place --no-scope-shadowing",
        f"    set -l shared {_rows(shared)}",
        "    set commands",
        "    set arguments",
        "    set repeated 0",
        "    switch $argv[1]",
    ]
    for command in root.all():
        own = tuple(option for option in command.options if option not in shared)
        lines.append(f"        case {_quote(command.words)}")
        lines.append(f"            set options {_rows(own)} $shared")
        if command.commands:
            rows = " ".join(_quote(f"{each.path[-1]}\t{each.help}") for each in command.commands)
            lines.append(f"            set commands {rows}")
        if command.arguments:
            kinds = " ".join(_quote(_kind(each.value)) for each in command.arguments)
            lines.append(f"            set arguments {kinds}")
            if command.arguments[-1].many:
                lines.append("            set repeated 1")
    return [*lines, "    end", "end", ""]


def _value_table(root: Command) -> list[str]:
    """The function that sets the kind of an option's value, and fails for a flag."""
    lines = [
        "function __multitalk_value --no-scope-shadowing",
        '    switch "$argv[1] $argv[2]"',
    ]
    by_value: dict[str, list[str]] = {}
    for command in root.all():
        for option in command.options:
            if option.value is not None:
                start = "* " if not command.path else f"{command.words} "
                by_value.setdefault(_kind(option.value), []).extend(
                    _quote(start + name) for name in option.names
                )
    for kind, patterns in by_value.items():
        lines += [f"        case {' '.join(patterns)}", f"            set value {_quote(kind)}"]
    return [*lines, "        case '*'", "            return 1", "    end", "end", ""]


def _kind(value: ValueKind) -> str:
    return " ".join(value.words) if value.kind == tree.WORDS else f":{value.kind}"


def _pattern(endings: tuple[str, ...]) -> str:
    return "|".join(endings)


_REST = (
    r"""# Files of a kind, and folders on the way to them, each after what stands before the file.
function __multitalk_files
    set -l before $argv[2]
    for file in (complete -C"'' $argv[3]" | string replace -r '\t.*' '')
        if string match -q -- '*/' $file
            or string match -qir -- $argv[1] $file
            printf '%s\n' $before$file
        end
    end
end

# What only multitalk knows: jobs and keys, read from files, never over the network.
function __multitalk_ask
    set -l before $argv[2]
    set -l program (commandline -opc)[1]
    for line in ($program _complete $argv[1] $argv[3] 2>/dev/null)
        printf '%s\n' $before$line
    end
end

function __multitalk_offer
    set -l before $argv[2]
    set -l start $argv[3]
    switch $argv[1]
        case :pictures :sounds
            set -l endings '(?<!\PLAN)\.(PICTURES)$'
            test $argv[1] = :sounds; and set endings '\.(SOUNDS)$'
            if string match -qi -- 's3:*' $start
                __multitalk_ask keys "$before" "$start"
            else
                __multitalk_files $endings "$before" "$start"
            end
        case :files
            __multitalk_files '' "$before" "$start"
        case :folders
            __multitalk_files '^$' "$before" "$start"
        case :speakers
            if string match -q -- '*=*' $start
                set -l parts (string split -m 1 -- = $start)
                __multitalk_files '\.(SOUNDS)$' "$before$parts[1]=" "$parts[2]"
            else
                printf '%s\n' "$before"{PLACES}
            end
        case :keys :jobs
            __multitalk_ask (string sub -s 2 -- $argv[1]) "$before" "$start"
        case :nothing
        case '*'
            printf '%s\n' "$before"(string split ' ' -- $argv[1])
    end
end

function __multitalk_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l command ''
    set -l option ''
    set -l value ''
    set -l only_arguments 0
    set -l count 1
    set -l repeated 0
    set -l commands
    set -l options
    set -l arguments
    __multitalk_place ''
    for word in $words[2..-1]
        if test -n "$option"
            set option ''
        else if test $only_arguments = 1
            set count (math $count + 1)
        else if test "$word" = --
            set only_arguments 1
        else if string match -q -- '-?*' $word
            if __multitalk_value "$command" $word
                set option $word
            end
        else if contains -- $word (string replace -r '\t.*' '' -- $commands)
            set command (string trim -- "$command $word")
            __multitalk_place $command
        else
            set count (math $count + 1)
        end
    end

    if test -n "$option"
        __multitalk_value "$command" $option
        and __multitalk_offer $value '' "$cur"
    else if test $only_arguments = 0; and string match -q -- '--*=*' $cur
        set -l parts (string split -m 1 -- = $cur)
        __multitalk_value "$command" $parts[1]
        and __multitalk_offer $value "$parts[1]=" "$parts[2]"
    else if test $only_arguments = 0; and string match -q -- '-*' $cur
        printf '%s\n' $options
    else if set -q commands[1]
        printf '%s\n' $commands
    else if set -q arguments[1]
        if test $count -gt (count $arguments) -a $repeated = 1
            set count (count $arguments)
        end
        if set -q arguments[$count]
            __multitalk_offer $arguments[$count] '' "$cur"
        end
    end
end

complete -c multitalk -f -a '(__multitalk_complete)'
""".replace("PICTURES", _pattern(file_endings.PICTURES))
    .replace("PLAN", file_endings.PLAN_PICTURE.removesuffix(".png"))
    .replace("SOUNDS", _pattern(file_endings.SOUNDS))
    .replace("PLACES", ",".join(tree.PLACES))
)
