"""The command that helps with an error, made from its code, its facts and the words typed."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import settings
from multitalk_cli.cli.app_options import app_options, for_app
from multitalk_cli.cli.next_input import FILES, other_input, show_faces
from multitalk_cli.cli.typed_words import option_values, typed_again, typed_line, typed_without
from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.contract.secrets import BUCKET, HUB_SPEC
from multitalk_cli.errors import CODES, FileError
from multitalk_cli.planning.gpus import DEFAULT_STACK
from multitalk_cli.reporting.formatting import shell_line, shell_word

if TYPE_CHECKING:
    from multitalk_cli.errors import MultitalkError
    from multitalk_cli.errors.exceptions import Fact

Rule = Callable[[Mapping[str, "Fact"], list[str]], str]
"""(facts of the error, words typed after `multitalk`) -> a command, or "" where none fits."""


def _list_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    folder = facts.get("folder")
    return f"multitalk s3 ls {shell_word(str(folder))} --recursive" if folder else ""


def _name_endpoint(facts: Mapping[str, Fact], words: list[str]) -> str:
    if "folder" in facts:
        return f"multitalk s3 get {shell_word(str(facts['folder']) + '*')}"
    if facts.get("option") != "--endpoint-url":
        return "multitalk s3 ls s3://BUCKET/"
    if "example" in facts:
        return typed_again(words, "--endpoint-url", str(facts["example"]))
    return "multitalk s3 ls --endpoint-url https://HOST"


def _correct_endpoint(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The command with the endpoint that the answer names, or the variable with a complete one."""
    if "endpoint" in facts and words[:1] == ["s3"]:
        return typed_again(words, "--endpoint-url", str(facts["endpoint"]))
    if "needs_certificate" in facts:
        return "export AWS_CA_BUNDLE=FILE, with the certificates of the store's authority"
    if "variable" not in facts:
        return ""
    proposed = shell_word(str(facts.get("proposed", "https://HOST")))
    return f"export {facts['variable']}={proposed}"


def _wait_for_archive(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return (
        "run the same command again when it has been restored" if "is_on_its_way" in facts else ""
    )


def _set_bucket(_facts: Mapping[str, Fact], _words: list[str]) -> str:
    return "multitalk config set bucket NAME"


def _use_region(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "region" not in facts:
        return ""
    return f"AWS_DEFAULT_REGION={facts['region']} multitalk s3 ls s3://{facts['bucket']}/"


_OUTPUT_PROBLEMS = {"empty": "FOLDER/", "unsafe key": "FILE", "stdout": "FILE.mp4"}
"""What is wrong with an output's name -> a name that would do."""
_FIELD = re.compile(r"\{(\w*)[^{}]*\}?")


def _name_output(facts: Mapping[str, Fact], words: list[str]) -> str:
    path = facts.get("folder", facts.get("proposed"))
    if path is None and "problem" in facts:
        path = _OUTPUT_PROBLEMS.get(str(facts["problem"]))
    addresses = _texts(facts.get("addresses", ()))
    if path is None and addresses:
        path = addresses[0]
    if path is not None:
        return typed_again(words, "-o", str(path))
    if facts.get("problem") == "terminal":
        return f"{typed_line(words)} > FILE.mp4"
    if "problem" in facts:
        return "fetch them one by one, each with -o FILE"
    return _correct_template(_texts(facts.get("fields", ())), words)


def _correct_template(fields: tuple[str, ...], words: list[str]) -> str:
    """The words typed with a field that exists for each that does not."""
    typed = [*option_values(words, "-o"), *option_values(words, "--output")]
    if not fields or not typed:
        return f"use {', '.join(f'{{{field}}}' for field in fields)}" if fields else ""
    known = "voice" if "voice" in fields else fields[0]
    right = _FIELD.sub(lambda match: f"{{{match[1] if match[1] in fields else known}}}", typed[0])
    return typed_again(words, "-o", right.replace("}}", "}"))


_OVERWRITING = (
    ["generate"],
    ["finish"],
    ["redo"],
    ["demo"],
    ["jobs", "attach"],
    ["jobs", "fetch"],
    ["s3", "get"],
    ["completion", "install"],
    ["doctor"],
)
"""Commands that overwrite a file with --force."""


def _overwrite(_facts: Mapping[str, Fact], words: list[str]) -> str:
    command = next((each for each in _OVERWRITING if words[: len(each)] == each), None)
    if command is None:
        return ""
    has_output = command not in (["demo"], ["completion", "install"], ["doctor"])
    other = "\nor -o with another name" if has_output else ""
    return typed_again(words, "--force") + other


def _leave_output(facts: Mapping[str, Fact], words: list[str]) -> str:
    other = typed_again(words, "-o", "OTHER.mp4")
    return f"{other}\nor multitalk jobs attach {facts['holder']}" if "holder" in facts else ""


def _make_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "is_busy" in facts:
        return "wait for the other process, or pass -o with another path"
    folder = facts.get("missing_folder")
    return f"mkdir -p {shell_word(str(folder))}" if folder else ""


def _allow_cost(facts: Mapping[str, Fact], words: list[str]) -> str:
    if "enough_usd" not in facts:
        return ""
    option = str(facts.get("option", "--max-cost"))
    lines = [typed_again(words, option, f"{facts['enough_usd']:g}")]
    is_rerun = words[:2] == ["jobs", "rerun"]  # Of these options it has --gpu alone.
    cheaper = [
        each for each in _texts(facts["cheaper"]) if each.startswith("--gpu ") or not is_rerun
    ]
    if cheaper:
        lines.append("cheaper: " + ", ".join(cheaper))
    return "\n".join(lines)


def _picture_first(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed, the picture moved to where the sound is."""
    picture, sound = facts.get("picture"), facts.get("sound")
    if picture not in words or sound not in words:
        return ""
    rest = [word for word in words if word != picture]
    at = rest.index(sound)
    return shell_line(["multitalk", *rest[:at], picture, *rest[at:]])


def _convert_sound(facts: Mapping[str, Fact], words: list[str]) -> str:
    """Text becomes bytes; samples get a header, of the rate that speech services send them at."""
    path = str(facts.get("raw_file", ""))
    source, target = shell_word(path), shell_word(f"{path}.wav")
    from_samples = f"multitalk ffmpeg -f s16le -ar 24000 -ac 1 -i {source} {target}" if path else ""
    return from_samples or _from_base64("wav")(facts, words)


def _from_base64(ending: str) -> Rule:
    """Text becomes bytes."""

    def rule(facts: Mapping[str, Fact], _words: list[str]) -> str:
        path = facts.get("data_uri_file", facts.get("base64_file"))
        if path is None:
            return ""
        source, target = shell_word(str(path)), shell_word(f"{path}.{ending}")
        if "data_uri_file" in facts:
            return f"cut -d, -f2 {source} | base64 -d > {target}"
        return f"base64 -d {source} > {target}"

    return rule


def _shrink_picture(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A smaller copy, still larger than any video, by a reader that takes less memory."""
    if "large_file" not in facts:
        return ""
    path = str(facts["large_file"])
    source, target = shell_word(path), shell_word(f"{path}.png")
    return f"multitalk ffmpeg -i {source} -vf scale=4096:-2 {target}"


def _option(name: str) -> Rule:
    """The command with the value that the facts have for an option."""

    def rule(facts: Mapping[str, Fact], words: list[str]) -> str:
        return typed_again(words, f"--{name}", str(facts[name])) if name in facts else ""

    return rule


def _add_lora(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "lora" not in facts:
        return ""
    return download_command(facts, "--lora", str(facts["lora"]))


def _replace_lora(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The download of a known LoRA to the folder of this machine where it is unusable."""
    is_known = "weights_folder" in facts and facts.get("lora") in KNOWN_LORAS
    return _add_lora(facts, []) if is_known else ""


def _choose_stack(facts: Mapping[str, Fact], words: list[str]) -> str:
    if "unsupported_stack" in facts:
        return f"leave --stack {facts['unsupported_stack']} out"
    return _option("stack")(facts, words)


def deploy_command(facts: Mapping[str, Fact]) -> str:
    """The command for a deploy with these facts: app, environment, stacks, gpu."""
    words, stacks = ["multitalk", "deploy", *app_options(facts)], facts.get("stacks", ())
    for stack in stacks if isinstance(stacks, tuple) else ():
        words += ["--stack", stack] if stack != DEFAULT_STACK else []
    words += ["--gpu", str(facts["gpu"])] if "gpu" in facts else []
    return shell_line(words)


def _deploy(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return deploy_command(facts) if "app" in facts else ""


_INSTALL_NEWER = "install the newer version: pipx install --force . in its checkout"


def _match_versions(facts: Mapping[str, Fact], words: list[str]) -> str:
    """A deploy by the newer client, or the newer client for a job of a newer app."""
    if "is_client_older" in facts:
        after = [f"multitalk jobs attach {facts['job']}"] if "job" in facts else []
        return "\n".join([_INSTALL_NEWER, *after])
    if "app" in facts:
        return deploy_command(facts)
    chosen = settings.load_settings()
    typed = {name: option_values(words, f"--{name}") for name in ("app", "environment")}
    return deploy_command({name: (values or [chosen[name]])[-1] for name, values in typed.items()})


def _use_ledger(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The newer client for a newer list; a damaged one aside, and the jobs that Modal knows."""
    if "is_newer" in facts:
        return f"{_INSTALL_NEWER}\n{typed_line(words)}"
    if "damaged" not in facts:
        return ""
    path = str(facts["damaged"])
    return f"{shell_line(['mv', path, f'{path}.damaged'])}\nmultitalk jobs ls --remote"


def _show_build(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return f"{deploy_command(facts)} --debug" if "app" in facts else ""


def _set_up_store(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "is_set_up" not in facts:
        return ""
    first = [] if facts["is_set_up"] else ["multitalk setup-secrets --only aws"]
    return "\n".join([*first, deploy_command(facts)])


def _unset(facts: Mapping[str, Fact], _words: list[str]) -> str:
    names = _texts(facts.get("unset", ()))
    return f"unset {' '.join(names)}" if names else ""


def _correct_setting(facts: Mapping[str, Fact], words: list[str]) -> str:
    """A variable removed, or the words typed with a name or a value that is right."""
    if "unset" in facts:
        return _unset(facts, words)
    typed, right = facts.get("typed"), facts.get("name", facts.get("example"))
    if typed in words and right is not None:
        at = len(words) - 1 - words[::-1].index(str(typed))
        return shell_line(["multitalk", *words[:at], str(right), *words[at + 1 :]])
    return "multitalk config show"


def _correct_file(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The line of a settings file replaced or removed, or a file that cannot be read put aside."""
    if "name" in facts:
        name = shell_word(str(facts["name"]))
        end = " --project" if facts["is_project"] else ""
        if "example" in facts:
            example = shell_word(str(facts["example"]))
            return f"multitalk config set {name} {example}{end}"
        return f"multitalk config unset {name}{end}"
    if "broken_file" in facts:
        file = str(facts["broken_file"])
        return shell_line(["mv", file, f"{file}.old"])
    if "unreadable_file" in facts:
        return shell_line(["chmod", "u+r", str(facts["unreadable_file"])])
    return ""


def _upgrade_modal(_facts: Mapping[str, Fact], _words: list[str]) -> str:
    # pipx keeps packages apart from the Python that `pip` means.
    package = "modal[api-proxy-support]>=1.6.3,<2"
    return shell_line([sys.executable, "-m", "pip", "install", "--upgrade", package])


def _log_in(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A token that variables spoil is mended there."""
    unset, clean = facts.get("unset"), facts.get("clean")
    if isinstance(unset, tuple) and unset:
        again = "\nmultitalk login" if facts.get("needs_login") else ""
        return f"unset {' '.join(unset)}{again}"
    if clean:
        return f'export {clean}="$(printf %s "${clean}" | LC_ALL=C tr -cd \'!#-&(-~\')"'
    return "multitalk login"


def _correct_modal_config(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """Modal's file put aside, or a variable that goes before it."""
    if "broken_file" in facts:
        file = str(facts["broken_file"])
        return f"{shell_line(['mv', file, f'{file}.old'])}\nmultitalk login"
    if "variable" in facts:
        return f"export {facts['variable']}={shell_word(str(facts['value']))}"
    if _texts(facts.get("unset", ())):
        return f"unset {' '.join(_texts(facts['unset']))}"
    return "multitalk login" if "needs_login" in facts else ""


def _choose_environment(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The nearest environment that exists, or none, wherever the wrong one was given."""
    if "environment" not in facts:
        return ""
    if "is_modals" in facts:
        return "unset MODAL_ENVIRONMENT"
    is_typed = any(word.partition("=")[0] == "--environment" for word in words)
    if not is_typed:
        return reset_command("environment")
    known = _texts(facts.get("known", ()))
    close = difflib.get_close_matches(str(facts["environment"]), known, n=1)
    return typed_again(words, "--environment", [*close, *known][0]) if known else ""


def reset_command(name: str) -> str:
    """The command that removes a setting from where it was set."""
    setting = settings.SETTINGS[name]
    origin = settings.load_settings().origin(name)
    if origin == setting.variable:
        return f"unset {origin}"
    is_project = origin == settings.PROJECT_FILE
    return f"multitalk config unset {name}{' --project' if is_project else ''}"


_CONFLICTS: dict[tuple[str, ...], tuple[str, bool]] = {
    ("VOICE", "--speaker"): ("--speaker", True),
    ("-o s3://", "--upload"): ("--upload", False),
    ("-o -", "--json"): ("--json", False),
    ("-o -", "--sidecar"): ("--sidecar", False),
    ("-o -", "--detach"): ("--detach", False),
    ("-o s3://", "--sidecar"): ("--sidecar", False),
    ("--upload", "--backend"): ("--upload", False),
    ("--detach", "--backend"): ("--detach", False),
    ("--seeds", "--detach"): ("--detach", False),
    ("--seeds", "-o -"): ("--seeds", True),
    ("--first", "-o s3://"): ("-o", True),
    ("several videos", "-o"): ("-o", True),
    ("--quality", "--steps"): ("--steps", True),
}
"""Options that contradict each other -> the one to leave out, and whether it has a value."""


def _store_files(words: tuple[str, ...], *, is_file: bool) -> str:
    """The uploads that the words of `s3 put` may mean."""
    *files, last = words
    if not files:
        return "store them one by one, each with a KEY"
    if not is_file:
        return shell_line(["multitalk", "s3", "put", *files, f"{last}/"])
    every = shell_line(["multitalk", "s3", "put", *words, "outputs/"])
    one = f"\nor {shell_line(['multitalk', 's3', 'put', *files])} s3://BUCKET/{shell_word(last)}"
    return every + (one if len(files) == 1 else "")


def _end_conflict(facts: Mapping[str, Fact], words: list[str]) -> str:
    if "addresses" in facts:
        return f"multitalk s3 get {shell_line(_texts(facts['addresses']))}"
    if "sources" in facts:
        return _store_files(_texts(facts["sources"]), is_file=bool(facts.get("is_file")))
    if "example" in facts:
        return _example(facts, words)
    if "superfluous" in facts:
        has_value = bool(facts["has_value"])
        return typed_line(typed_without(words, str(facts["superfluous"]), has_value=has_value))
    option, has_value = _CONFLICTS.get(_texts(facts.get("options", ())), ("", False))
    rest = typed_without(words, option, has_value=has_value)
    if option == "--upload":
        rest = typed_without(rest, "--upload-to")
    # Options that work anywhere are not among the words.
    return typed_line(rest) if option and (rest != words or option == "--json") else ""


def _nearest_word(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with a word that exists in place of one that does not."""
    if "nearest" not in facts or facts.get("typed") not in words:
        return ""
    return typed_line([str(facts["nearest"]) if w == facts["typed"] else w for w in words])


def _complete_words(facts: Mapping[str, Fact], words: list[str]) -> str:
    if "image" in facts:
        return f"multitalk generate {shell_word(str(facts['image']))} VOICE.wav"
    if facts.get("option") == "--yes":
        return typed_again(words, "--yes")
    return f"multitalk {words[0]} --help" if "option" in facts and words else ""


def _loop_over_voices(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "image" not in facts:
        return ""
    image = shell_word(str(facts["image"]))
    return f'for f in *.wav; do multitalk generate {image} "$f"; done'


def _choose_backend(_facts: Mapping[str, Fact], words: list[str]) -> str:
    """An account, or a preview, which reads no buckets."""
    if any(word.rpartition("=")[2].startswith("s3://") for word in words):
        return "multitalk login"
    return f"multitalk login\n{typed_again(words, '--backend', 'preview')}"


def _fetch_address(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The address fetched by curl, then the words typed with its file."""
    address = facts.get("address")
    if address not in words:
        return ""
    name = str(address).partition("?")[0].rstrip("/").rpartition("/")[2] or "FILE"
    rest = [name if word == address else word for word in words]
    return f"{shell_line(['curl', '-fLo', name, str(address)])}\n{typed_line(rest)}"


def _drop_voice(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with the voice once."""
    voice = facts.get("voice")
    if voice not in words:
        return ""
    last = len(words) - 1 - words[::-1].index(str(voice))
    return typed_line([*words[:last], *words[last + 1 :]])


def _correct_speaker(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with a box that is right or a larger frame, or the numbered faces."""
    if "size" in facts and words[:1] in (["generate"], ["redo"]):
        return typed_again(words, "--size", str(facts["size"]))
    if "example" not in facts:
        return show_faces(words)
    typed, example = f"{facts['typed']}=", f"{facts['example']}="
    corrected = [word.replace(typed, example, 1) for word in words]
    return show_faces(words) if corrected == words else typed_line(corrected)


def _find_code(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return f"multitalk explain {facts['nearest']}" if "nearest" in facts else "multitalk explain"


def _get_object(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "target" not in facts:
        return ""
    address, target = shell_word(str(facts["address"])), shell_word(str(facts["target"]))
    return f"multitalk s3 get {address} -o {target}"


def _texts(fact: Fact) -> tuple[str, ...]:
    """A fact that is a list of texts."""
    return fact if isinstance(fact, tuple) else ()


def _find_jobs(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The list of jobs; of a file, what it was made from and by which job."""
    if "job_prefix" not in facts:
        return ""
    if Path(file := str(facts["job_prefix"])).is_file():
        return shell_line(["multitalk", "inspect", file])
    return "multitalk jobs ls" if "is_local" in facts else "multitalk jobs ls --remote"


def _return_to_job(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The command for a job that could not be followed, fetched or cancelled to the end."""
    if "job" not in facts:
        return ""
    return f"multitalk jobs {facts.get('step', 'attach')} {facts['job']}"


def download_command(facts: Mapping[str, Fact], *options: str) -> str:
    """`multitalk download` for the folder of weights that the facts name."""
    words = ["multitalk", "download"]
    if "weights_folder" in facts:
        words += ["--to", str(facts["weights_folder"])]
    return shell_line([*words, *app_options(facts), *options])


def _download(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The download again, which resumes or repairs."""
    if not facts.keys() & {"volume", "weights_folder"}:
        return ""
    if "option" in facts and words[:1] == ["download"]:
        return typed_again(words, str(facts["option"]))
    options = ["--repair", "--yes"] if "damaged" in facts else []
    options += [str(facts["option"])] if "option" in facts else []
    return download_command(facts, *options)


def _download_again(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The download that was typed, which resumes, or else that of the published weights."""
    if words[:1] == ["download"] and facts.keys() & {"volume", "weights_folder"}:
        return typed_line(words)
    return _download(facts, words)


def _choose_weights(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The pack below the folder that was named, or a download of one."""
    if "pack" not in facts:
        return "multitalk download --to weights"
    pack = str(facts["pack"])
    if words[:1] == ["generate"]:
        return typed_again(words, "--weights", pack)
    return shell_line(["multitalk", "config", "set", "weights", pack])


def _pack_again(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "pack_folder" not in facts:
        return ""
    if "pack" in facts:
        return shell_line(["multitalk", "upload-weights", str(facts["pack"])])
    repair = ["--repair"] if "damaged" in facts else []
    return shell_line(["multitalk", "download", "--to", "weights", *repair])


def _open_hub(facts: Mapping[str, Fact], words: list[str]) -> str:
    """A token for containers, where it is missing there."""
    if "volume" not in facts:
        return ""
    where = shell_line(["multitalk", "setup-secrets", "--only", "hf"])
    return "\n".join([where, "multitalk deploy", _download(facts, words)])


def _either(*rules: Rule) -> Rule:
    """The first rule that knows a command."""

    def choose(facts: Mapping[str, Fact], words: list[str]) -> str:
        return next((found for rule in rules if (found := rule(facts, words))), "")

    return choose


def _example(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The command typed with a value that the option accepts, or else its help."""
    if "option" not in facts or not words:
        return ""
    if "replaced" in facts:
        words = typed_without(words, str(facts["replaced"]), has_value=True)
    if "example" in facts:
        return typed_again(words, str(facts["option"]), str(facts["example"]))
    return f"multitalk {words[0]} --help"


def _protect_file(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return f"chmod 600 {shell_word(str(facts['open_file']))}" if "open_file" in facts else ""


def _inspect(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The command that tells what is known of a video without a recipe."""
    is_useful = "video" in facts and words[:1] != ["inspect"]
    return f"multitalk inspect {shell_word(str(facts['video']))}" if is_useful else ""


def _name_input(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed, and the option for an input of the recipe that was not found."""
    option = facts.get("option")
    return typed_line([*words, str(option), str(facts["example"])]) if option else ""


# setup-secrets

_WITH_VALUE = (
    "--only", "--environment", "--app", "--bucket", "--region", "--endpoint-url", "--profile",
    "--from-file",
)  # fmt: skip
_OF_BUCKET = ("--bucket", "--region", "--endpoint-url")
_OF_SOURCES = ("--from-env", "--profile", "--from-hub", "--from-file", *_OF_BUCKET)


def _secrets_again(
    words: list[str], *added: str, only: str = "", without: tuple[str, ...] = ()
) -> str:
    """The command typed, with `added`, for the secret `only`, and without some options.

    A pipe is empty after its first reading, so that --stdin is always left out.
    """
    dropped = {"--stdin", *without}
    dropped |= {"--only"} if only else set()
    dropped |= {*_OF_BUCKET} if only == HUB_SPEC.option else set()
    kept: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        name, has_value, _ = word.partition("=")
        option = [word, next(rest, "")] if name in _WITH_VALUE and not has_value else [word]
        kept += [] if name in dropped else option
    chosen = ["--only", only] if only else []
    return shell_line(["multitalk", "setup-secrets", *chosen, *kept, *added])


def _set_up_secrets(facts: Mapping[str, Fact], words: list[str]) -> str:
    existing, absent, only = facts.get("existing"), facts.get("absent"), facts.get("secret")
    if "needs_source" in facts:
        return _secrets_again(words, "--from-env")
    if isinstance(existing, tuple) and isinstance(absent, tuple):
        lines = [_secrets_again(words, only=option) for option in absent]
        update_only = existing[0] if len(existing) == 1 else ""
        return "\n".join([*lines, _secrets_again(words, "--update", only=update_only)])
    if "empty_sources" in facts:
        return _secrets_again(words, "--from-file", "FILE", without=_OF_SOURCES)
    if not isinstance(only, str):
        return ""
    if facts.get("lacks") == (BUCKET,):
        return _secrets_again(words, "--bucket", "NAME", only=only)
    if "lacks" in facts or "asks" in facts:
        return _secrets_again(words, only=only, without=_OF_SOURCES)
    if "stale" in facts:
        return _secrets_again(words, "--force", only=only, without=("--update",))
    return _secrets_again(words, only=only)


COMMAND_RULES: dict[str, Rule] = {"setup-secrets": _set_up_secrets}
"""Command typed -> its rule, which goes before those of the codes."""


def _show_columns(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The columns, or the command with an output of which each row has its own."""
    if "output" in facts:
        return typed_again(words, "-o", str(facts["output"]))
    return "multitalk batch --help"


_FORCE_SOME = "or move these files: --force makes every video of the list again"


def _check_rows(facts: Mapping[str, Fact], words: list[str]) -> str:
    """Makes the folder that all rows lack, or checks their corrected rows and starts nothing.

    Where all that is wrong are files in the way, overwrites them.
    """
    if "missing_folder" in facts:
        return _make_folder(facts, words)
    if "exists" in facts:
        return f"{typed_again(words, '--force')}\n{_FORCE_SOME}"
    return "" if "--plan" in words else typed_again(words, "--plan")


RULES: dict[str, Rule] = {
    "E_ATTENTION_STACK": _either(_option("stack"), _option("attention")),
    "E_LEDGER": _use_ledger,
    "E_LORA": _replace_lora,
    "E_LORA_MISSING": _add_lora,
    "E_TIER": _either(_option("stack"), _option("gpu")),
    "E_AUDIO_FORMAT": _convert_sound,
    "E_CANCELLED": _download_again,
    "E_CERTIFICATE": _unset,
    "E_CONTRACT": _match_versions,
    "E_CONFIG": _correct_file,
    "E_CONFLICT": _end_conflict,
    "E_COST": _allow_cost,
    "E_DEPLOY": _show_build,
    "E_DOWNLOAD_RUNS": _download,
    "E_EXPIRED": _download_again,
    "E_FILE_UNREADABLE": _pack_again,
    "E_GPU_STACK": _choose_stack,
    "E_GPU_TOO_SMALL": _option("gpu"),
    "E_HUB_THROTTLED": _open_hub,
    "E_HUB_TOKEN": _open_hub,
    "E_ENVIRONMENT": _choose_environment,
    "E_IMAGE_FORMAT": _from_base64("png"),
    "E_IMAGE_SIZE": _shrink_picture,
    "E_MODAL_CONFIG": _correct_modal_config,
    "E_MODAL_VERSION": _upgrade_modal,
    "E_NETWORK": _either(_return_to_job, _download_again),
    "E_NOT_DEPLOYED": _either(_download, _deploy),
    "E_NO_BACKEND": _choose_backend,
    "E_NO_FFMPEG": _unset,
    "E_NO_JOB": _find_jobs,
    "E_NO_SECRET": _set_up_store,
    "E_NO_TOKEN": _log_in,
    "E_OUTPUT_EXISTS": _overwrite,
    "E_OUTPUT_NAME": _name_output,
    "E_OUTPUT_PATH": _make_folder,
    "E_OUTPUT_TAKEN": _leave_output,
    "E_RANGE": _either(_nearest_word, _example),
    "E_RECIPE": _inspect,
    "E_RECIPE_INPUT": _name_input,
    "E_REMOTE": _download_again,
    "E_SAME_VOICE": _drop_voice,
    "E_SPEAKER": _correct_speaker,
    "E_S3_ADDRESS": _name_endpoint,
    "E_S3_ARCHIVED": _wait_for_archive,
    "E_S3_CREDENTIALS": _correct_endpoint,
    "E_S3_ENDPOINT": _correct_endpoint,
    "E_S3_EXISTS": _get_object,
    "E_S3_KEY": _list_folder,
    "E_S3_REGION": _use_region,
    "E_S3_UNSET": _set_bucket,
    "E_SECRET_FILE": _protect_file,
    "E_SETTING": _correct_setting,
    "E_SWAPPED": _picture_first,
    "E_TIMEOUT": _download_again,
    "E_TOKEN": _log_in,
    "E_TOO_MANY_VOICES": _loop_over_voices,
    "E_UNFINISHED": _return_to_job,
    "E_UNKNOWN_CODE": _find_code,
    "E_URL": _fetch_address,
    "E_MANIFEST": _show_columns,
    "E_ROWS": _allow_cost,
    "E_ROW_COST": _either(_option("stack"), _option("gpu"), _option("attention"), _allow_cost),
    "E_ROW_FILES": _check_rows,
    "E_USAGE": _either(_download, _nearest_word, _complete_words),
    "E_WEIGHTS": _either(_download, _choose_weights),
    "E_WEIGHTS_MISSING": _download,
}
"""Error code -> its rule."""


def next_command(error: MultitalkError, words: list[str]) -> str:
    """The command to run next, for the app that was used; the error's own hint as a last resort."""
    return for_app(_find_command(error, words), error.facts, words)


def _find_command(error: MultitalkError, words: list[str]) -> str:
    """The command of a rule; the error's own hint where none knows better."""
    if "unstored_job" in error.facts:
        return f"multitalk jobs fetch {error.facts['unstored_job']}"
    if "job" in error.facts and isinstance(error, FileError):
        # The video is paid for: the command that was typed could make another.
        return f"multitalk jobs fetch {error.facts['job']} -o OTHER.mp4"
    if error.code == "E_WEIGHTS" and error.hint != CODES[error.code].remedy:
        # Known where it arose, unless a folder of this machine is to be named.
        return _download(error.facts, words) if "damaged" in error.facts else error.hint
    rules = (COMMAND_RULES.get(words[0]) if words else None, RULES.get(error.code))
    found = [rule(error.facts, words) for rule in rules if rule is not None]
    if error.code in FILES and error.hint == CODES[error.code].remedy:
        found.append(other_input(error, words))
    return next((command for command in found if command), error.hint)
