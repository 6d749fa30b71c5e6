"""The script for bash: tables in `case`, no process started but for jobs and keys.

Works in bash 3.2 (macOS) and later, without the package bash-completion.
"""

from multitalk_cli.cli.completion import tree
from multitalk_cli.cli.completion.tree import Command, ValueKind
from multitalk_cli.media import file_endings

HEADER = "# Completion of multitalk for bash, made by: multitalk completion show bash"


def script(root: Command) -> str:
    """The whole script."""
    return "\n".join([HEADER, *_place_table(root), *_value_table(root), _REST])


def _place_table(root: Command) -> list[str]:
    """The function that sets commands, options and arguments of a command."""
    shared = " ".join(name for option in tree.anywhere(root) for name in option.names)
    lines = [
        "# shellcheck shell=bash",
        "",
        "__multitalk_place() {",
        f"    local shared='{shared}'",
        "    commands='' options=$shared arguments=()",
        "    case $1 in",
    ]
    for command in root.all():
        taken = tree.anywhere(root) if not command.path else ()
        names = " ".join(
            name for option in command.options if option not in taken for name in option.names
        )
        below = " ".join(child.path[-1] for child in command.commands)
        kinds = " ".join(f"'{_kind(each.value)}'" for each in command.arguments)
        lines.append(f"        '{command.words}')")
        lines.append(f'            options="{names} $shared"')
        if below:
            lines.append(f"            commands='{below}'")
        if kinds:
            lines.append(f"            arguments=({kinds})")
            many = command.arguments[-1].many
            lines.append("            repeated=1" if many else "            repeated=0")
        lines.append("            ;;")
    return [*lines, "        *) return 1 ;;", "    esac", "}", ""]


def _value_table(root: Command) -> list[str]:
    """The function that sets the kind of an option's value, and fails for a flag."""
    lines = ["__multitalk_value() {", '    case "$1 $2" in']
    by_value: dict[str, list[str]] = {}
    for command in root.all():
        for option in command.options:
            if option.value is not None:
                start = "*" if not command.path else f"'{command.words} '"
                by_value.setdefault(_kind(option.value), []).extend(
                    f"{start}{name}" for name in option.names
                )
    for kind, patterns in by_value.items():
        joined = " | \\\n            ".join(patterns)
        lines += [f"        {joined})", f"            value='{kind}'", "            ;;"]
    return [*lines, "        *) return 1 ;;", "    esac", "}", ""]


def _kind(value: ValueKind) -> str:
    return " ".join(value.words) if value.kind == tree.WORDS else f":{value.kind}"


def _pattern(endings: tuple[str, ...]) -> str:
    return " | ".join(f"*.{ending} | *.{ending.upper()}" for ending in endings)


_REST = (
    r"""__multitalk_fits() {
    case $1 in
        :pictures) case $2 in *PLAN) ;; PICTURES) return 0 ;; esac ;;
        :sounds) case $2 in SOUNDS) return 0 ;; esac ;;
        :files) return 0 ;;
    esac
    return 1
}

# Files of a kind, and folders on the way to them, each after what stands before the file.
__multitalk_files() {
    local kind=$1 before=$2 start=$3 file
    compopt -o filenames 2> /dev/null
    while IFS= read -r file; do
        if [[ -d ${file/#\~/$HOME} ]] || __multitalk_fits "$kind" "$file"; then
            COMPREPLY+=("$before$file")
        fi
    done < <(compgen -f -- "$start")
}

# What only multitalk knows: jobs and keys, read from files, never over the network.
__multitalk_ask() {
    local line
    while IFS= read -r line; do
        COMPREPLY+=("$2${line%%$'\t'*}")
    done < <("${COMP_WORDS[0]}" _complete "$1" "$3" 2> /dev/null)
}

__multitalk_words() {
    local word
    for word in $1; do
        if [[ $word == "$3"* ]]; then
            COMPREPLY+=("$2$word")
        fi
    done
}

__multitalk_offer() {
    local value=$1 before=$2 start=$3
    case $value in
        :pictures | :sounds)
            case $start in
                [sS]3:*) __multitalk_ask keys "$before" "$start" ;;
                *) __multitalk_files "$value" "$before" "$start" ;;
            esac
            ;;
        :files) __multitalk_files "$value" "$before" "$start" ;;
        :folders) __multitalk_files "$value" "$before" "$start" ;;
        :speakers)
            if [[ $start == *=* ]]; then
                __multitalk_files :sounds "$before${start%%=*}=" "${start#*=}"
            else
                compopt -o nospace 2> /dev/null
                __multitalk_words 'PLACES' "$before" "$start"
            fi
            ;;
        :keys | :jobs) __multitalk_ask "${value#:}" "$before" "$start" ;;
        :nothing) ;;
        *) __multitalk_words "$value" "$before" "$start" ;;
    esac
}

# The words up to the cursor, where bash has broken them at = and : put together again.
__multitalk_split() {
    local left=${COMP_LINE:0:COMP_POINT} rest word i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${left#"${left%%[![:space:]]*}"}
        if ((i == COMP_CWORD)); then
            word=$rest
        fi
        if ((i > 0)) && [[ $rest == "$left" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        left=${rest#"$word"}
    done
}

_multitalk() {
    local command='' option='' only_arguments=0 count=0 repeated=0 value='' before='' broken='' i
    local commands options cur word
    local -a words arguments
    COMPREPLY=()
    __multitalk_split
    __multitalk_place ''
    cur=${words[${#words[@]} - 1]}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -n $option ]]; then
            option=''
        elif ((only_arguments)); then
            count=$((count + 1))
        elif [[ $word == -- ]]; then
            only_arguments=1
        elif [[ $word == -?* ]]; then
            if __multitalk_value "$command" "$word"; then
                option=$word
            fi
        elif [[ " $commands " == *" $word "* ]]; then
            command=${command:+$command }$word
            __multitalk_place "$command"
        else
            count=$((count + 1))
        fi
    done

    case $cur in
        [\"\']*) cur=${cur:1} ;;
        *)
            cur=${cur//\\/}
            if [[ $cur == *[=:]* ]]; then
                broken=${cur%"${cur##*["$COMP_WORDBREAKS"]}"}
            fi
            ;;
    esac
    if [[ -z $option ]] && ((!only_arguments)) && [[ $cur == --*=* ]]; then
        option=${cur%%=*}
        before=$option=
        cur=${cur#*=}
    fi

    if [[ -n $option ]]; then
        if __multitalk_value "$command" "$option"; then
            __multitalk_offer "$value" "$before" "$cur"
        fi
    elif ((!only_arguments)) && [[ $cur == -* ]]; then
        __multitalk_words "$options" '' "$cur"
    elif [[ -n $commands ]]; then
        __multitalk_words "$commands" '' "$cur"
    elif ((${#arguments[@]} > 0)); then
        if ((count >= ${#arguments[@]} && repeated)); then
            count=$((${#arguments[@]} - 1))
        fi
        if ((count < ${#arguments[@]})); then
            __multitalk_offer "${arguments[count]}" '' "$cur"
        fi
    fi
    # bash replaces only what stands after the last break.
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        COMPREPLY[i]=${COMPREPLY[i]#"$broken"}
    done
}

complete -F _multitalk multitalk
""".replace("PICTURES", _pattern(file_endings.PICTURES))
    .replace("PLAN", file_endings.PLAN_PICTURE)
    .replace("SOUNDS", _pattern(file_endings.SOUNDS))
    .replace("PLACES", " ".join(tree.PLACES))
)
