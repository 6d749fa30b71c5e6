"""The command that helps, made from an error's code, its facts and the words typed."""

import shlex

import pytest
import typer.main

from multitalk_cli.cli.app import app
from multitalk_cli.cli.console import split_output_options
from multitalk_cli.cli.next_command import RULES, next_command
from multitalk_cli.cli.typed_words import typed_again
from multitalk_cli.contract.weights_task import recorded_digests
from multitalk_cli.errors import (
    CODES,
    FileError,
    RefusedError,
    SetupError,
    UsageError,
    error_from_code,
)
from multitalk_cli.media.faces.speaker_spec import parse_speaker
from multitalk_cli.reporting.formatting import shell_line

GENERATE = ["generate", "my face.png", "b.wav", "--gpu", "t4", "-o", "a.mp4", "--prompt", "it's"]

EXAMPLES = {
    "E_ATTENTION_STACK": [
        ({"stack": "cuda12.1"}, [*GENERATE, "--attention", "fa2"]),
        ({"attention": "auto"}, [*GENERATE, "--attention", "fa2"]),
    ],
    "E_LEDGER": [({"is_newer": True}, ["jobs", "ls"]), ({"damaged": "a b"}, ["jobs", "ls"])],
    "E_LORA": [({"lora": "lightx2v", "weights_folder": "my weights"}, ["download", "--to", "w"])],
    "E_LORA_MISSING": [
        ({"lora": "lightx2v"}, [*GENERATE, "--preset", "fast"]),
        ({"lora": "lightx2v", "weights_folder": "my weights"}, [*GENERATE, "--preset", "fast"]),
        ({"lora": "lightx2v", "app": "studio", "environment": "main"}, [*GENERATE, "--app=studio"]),
    ],
    "E_TIER": [
        ({"stack": "current"}, [*GENERATE, "--preset", "fast", "--stack", "cuda12.1"]),
        ({"gpu": "h100"}, [*GENERATE, "--preset", "fast", "--gpu", "t4"]),
    ],
    "E_CANCELLED": [({"weights_folder": "my weights"}, ["download", "--to", "my weights"])],
    "E_CONFIG": [({"name": "fps", "is_project": True, "example": "60"}, ["config", "show"])],
    "E_CONFLICT": [
        ({"addresses": ("s3://b/k",)}, ["s3", "get"]),
        ({"sources": ("a b.wav", "c.wav"), "is_file": True}, ["s3", "put", "a b.wav", "c.wav"]),
    ],
    "E_CONTRACT": [
        ({"app": "studio", "stacks": ("cuda12.1",), "gpu": "l4"}, ["status"]),
        ({}, [*GENERATE, "--app", "studio", "--environment=staging"]),
    ],
    "E_COST": [({"enough_usd": 1.5, "cheaper": ()}, GENERATE)],
    "E_DEPLOY": [({"app": "studio", "environment": "staging"}, ["deploy", "--app", "studio"])],
    "E_DOWNLOAD_RUNS": [({"volume": "w", "app": "studio"}, ["download", "--app", "studio"])],
    "E_ENVIRONMENT": [
        (
            {"environment": "stagin", "known": ("main", "staging")},
            ["status", "--environment=stagin"],
        )
    ],
    "E_EXPIRED": [({"volume": "w", "environment": "e"}, ["download", "--environment", "e"])],
    "E_FILE_UNREADABLE": [({"pack_folder": "w", "damaged": True}, ["upload-weights", "w"])],
    "E_GPU_STACK": [({"stack": "current"}, [*GENERATE, "--stack=cuda12.1"])],
    "E_GPU_TOO_SMALL": [({"gpu": "l40s"}, GENERATE), ({"gpu": "l4"}, ["doctor", "--gpu", "t4"])],
    "E_HUB_THROTTLED": [({"volume": "w"}, ["download"])],
    "E_HUB_TOKEN": [({"volume": "w"}, ["download"])],
    "E_IMAGE_SIZE": [({"large_file": "my face.webp"}, ["generate", "my face.webp", "b.wav"])],
    "E_MANIFEST": [
        ({}, ["batch", "my videos.csv"]),
        ({"output": "a b/{id}.mp4"}, ["batch", "my videos.csv", "-o", "a b/"]),
    ],
    "E_ROW_COST": [
        ({"gpu": "h100"}, ["batch", "list.csv", "--gpu", "l4", "--preset", "fastest"]),
        ({"enough_usd": 0.4, "cheaper": ()}, ["batch", "list.csv", "--max-cost", "0.1"]),
    ],
    "E_ROWS": [
        (
            {"enough_usd": 1.5, "cheaper": (), "option": "--budget"},
            ["batch", "my videos.csv", "--budget", "0.1"],
        )
    ],
    "E_ROW_FILES": [
        ({}, ["batch", "my videos.csv", "--budget", "9"]),
        ({"exists": True}, ["batch", "my videos.csv", "--plan"]),
    ],
    "E_MODAL_CONFIG": [({"broken_file": "/home/me/.modal.toml"}, ["status"])],
    "E_NETWORK": [({"job": "7f3a"}, GENERATE), ({"volume": "w"}, ["download"])],
    "E_NOT_DEPLOYED": [({"volume": "w"}, ["download"])],
    "E_NO_BACKEND": [({}, GENERATE)],
    "E_NO_JOB": [({"job_prefix": "7f"}, ["jobs", "show", "7f"])],
    "E_NO_SECRET": [({"app": "studio", "is_set_up": False}, GENERATE)],
    "E_NO_TOKEN": [({}, GENERATE)],
    "E_RECIPE_INPUT": [({"option": "--voice", "example": "VOICE.wav"}, ["redo", "talk.mp4"])],
    "E_RECIPE": [({"video": "my talk.mp4"}, ["verify", "my talk.mp4"])],
    "E_OUTPUT_EXISTS": [({}, GENERATE), ({}, ["demo"]), ({}, ["s3", "get", "outputs/a.mp4"])],
    "E_OUTPUT_NAME": [({"proposed": "my talk.mp4"}, GENERATE), ({"folder": "out/"}, GENERATE)],
    "E_OUTPUT_TAKEN": [({"holder": "7f3a"}, GENERATE)],
    "E_RANGE": [
        ({"option": "--steps", "example": "10"}, [*GENERATE, "--steps", "5"]),
        ({"option": "--lora"}, [*GENERATE, "--lora", "a:b"]),
    ],
    "E_REMOTE": [({"volume": "w"}, ["download"])],
    "E_S3_ADDRESS": [
        ({"option": "--endpoint-url"}, ["s3", "ls"]),
        ({"option": "--endpoint-url", "example": "https://host"}, ["s3", "ls", "--endpoint-url=h"]),
        ({"folder": "s3://b/my f/"}, ["s3", "get", "my f/"]),
    ],
    "E_S3_ENDPOINT": [({"endpoint": "https://host"}, ["s3", "ls", "--endpoint-url", "http://h"])],
    "E_S3_EXISTS": [({"address": "s3://b/my k", "target": "k"}, ["s3", "put", "k"])],
    "E_S3_KEY": [({"folder": "s3://b/my f/"}, ["s3", "get", "k"])],
    "E_S3_REGION": [({"region": "eu-west-1", "bucket": "b"}, ["s3", "ls"])],
    "E_S3_UNSET": [({}, ["s3", "get", "k"])],
    "E_SAME_VOICE": [({"voice": "b.wav"}, ["generate", "my face.png", "b.wav", "b.wav"])],
    "E_SETTING": [({}, ["config", "set", "fsp", "25"])],
    "E_SPEAKER": [
        ({}, ["generate", "my face.png", "--speaker", "top=b.wav"]),
        ({"size": "192x96"}, ["generate", "my face.png", "--size", "64x32", "b.wav"]),
        (
            {"typed": "box:1%,1%,2%,2%", "example": "box:1%,1%,9%,9%"},
            ["generate", "my face.png", "--speaker=box:1%,1%,2%,2%=b.wav"],
        ),
    ],
    "E_SWAPPED": [
        ({"picture": "my face.png", "sound": "b.wav"}, ["generate", "b.wav", "my face.png"])
    ],
    "E_TIMEOUT": [({"volume": "w"}, ["download"])],
    "E_TOKEN": [({}, ["status"])],
    "E_TOO_MANY_VOICES": [({"image": "my face.png"}, ["generate", "my face.png", "a", "b", "c"])],
    "E_UNFINISHED": [({"job": "7f3a", "step": "cancel"}, ["jobs", "attach", "7f3a"])],
    "E_UNKNOWN_CODE": [({"nearest": "E_NO_JOB"}, ["explain", "E_NO_JOBS"])],
    "E_URL": [({"address": "http://a/b.png"}, ["generate", "http://a/b.png", "b.wav"])],
    "E_USAGE": [
        ({"image": "my face.png"}, ["generate", "my face.png"]),
        ({"option": "--yes", "volume": "w"}, ["download", "--preset", "fast"]),
    ],
    "E_WEIGHTS": [({"volume": "w", "damaged": True}, ["download"])],
    "E_WEIGHTS_MISSING": [({"volume": "w", "app": "studio"}, GENERATE)],
}
"""Code -> (facts, words typed) of errors whose rule prints a command."""

ADVICE = {
    "E_AUDIO_FORMAT", "E_CERTIFICATE", "E_IMAGE_FORMAT", "E_MODAL_VERSION", "E_NO_FFMPEG",
    "E_OUTPUT_PATH", "E_S3_ARCHIVED", "E_S3_CREDENTIALS", "E_SECRET_FILE",
}  # fmt: skip
"""Codes whose rule advises words, or a command that is not multitalk's."""


def parse(words):
    """Parses a command line as the application does, without running it. Raises its refusal."""
    program, *words = words
    words = [program, *split_output_options(words)[0]]
    if words[-1] in ("--help", "--help-all"):
        # Help would be printed: the words before it must be those of a command.
        groups = typer.main.get_command(app)
        for word in words[1:-1]:
            groups = groups.commands[word]
        return
    command, context = typer.main.get_command(app), None
    while True:
        context = command.make_context(words[0], words[1:], parent=context)
        words = [*context._protected_args, *context.args]
        below = getattr(command, "commands", {})
        if not below:
            return
        command = below[words[0]]


SECRETS = ["setup-secrets", "--stdin", "--from-file", "my keys", "--bucket=b", "--update"]


@pytest.mark.parametrize(
    ("facts", "words", "expected"),
    [
        ({"needs_source": True}, ["--only", "aws"], "--only aws --from-env"),
        ({"existing": ("aws",), "absent": ("hf",)}, ["--from-env"],
         "--only hf --from-env\nmultitalk setup-secrets --only aws --from-env --update"),
        ({"existing": ("aws", "hf"), "absent": ()}, ["--from-env"], "--from-env --update"),
        ({"secret": "aws", "lacks": ("AWS_BUCKET_NAME",)}, ["--from-env"],
         "--only aws --from-env --bucket NAME"),
        ({"secret": "hf", "lacks": ("HF_TOKEN",)}, SECRETS[1:], "--only hf --update"),
        ({"secret": "hf"}, SECRETS[1:], "--only hf --from-file 'my keys' --update"),
        ({"secret": "aws"}, SECRETS[1:], "--only aws --from-file 'my keys' --bucket=b --update"),
        ({"secret": "aws", "stale": "AWS_SESSION_TOKEN"}, SECRETS[1:],
         "--only aws --from-file 'my keys' --bucket=b --force"),
    ],
)  # fmt: skip
def test_setup_secrets_is_continued_with_what_was_typed(facts, words, expected):
    error = error_from_code("E_SECRET_VALUE", "x")
    error.facts = facts

    printed = next_command(error, ["setup-secrets", *words])

    assert printed == f"multitalk setup-secrets {expected}"
    for line in printed.splitlines():
        parse(shlex.split(line))


@pytest.mark.parametrize("code", ["E_CANCELLED", "E_REMOTE", "E_TIMEOUT", "E_NETWORK"])
def test_a_download_that_ended_early_is_typed_again_with_its_preset(code):
    error = error_from_code(code, "x", facts={"volume": "w"})

    assert next_command(error, ["download", "--preset", "fast"]) == (
        "multitalk download --preset fast"
    )
    assert next_command(error, ["status"]) in ("multitalk download", error.hint)


def test_advice_about_weights_from_where_they_are_goes_before_a_download():
    advice = "remove w/loras/manifest.json, then run the same command again"
    folder = {"damaged": 1, "weights_folder": "my weights"}
    error = SetupError("x", code="E_WEIGHTS", hint="multitalk download --repair", facts=folder)

    assert next_command(SetupError("x", code="E_WEIGHTS", hint=advice), ["download"]) == advice
    assert next_command(error, GENERATE) == "multitalk download --to 'my weights' --repair --yes"
    with pytest.raises(SetupError, match="the record of LoRAs of w is damaged") as caught:
        recorded_digests(b'{"loras": [1]}', "w")
    assert next_command(caught.value, GENERATE).startswith("remove loras/manifest.json there")


def test_every_rule_has_an_example():
    assert RULES.keys() == EXAMPLES.keys() | ADVICE


@pytest.mark.parametrize("code", EXAMPLES)
def test_every_command_that_a_rule_prints_is_one_of_the_application(code):
    for facts, words in EXAMPLES[code]:
        error = error_from_code(code, "x")
        error.facts = facts
        printed = next_command(error, words)

        commands = [line for line in printed.splitlines() if "multitalk " in line]
        assert commands, printed
        for line in commands:
            command = line[line.index("multitalk ") :].partition(";")[0]
            parse(shlex.split(command))


def test_a_command_that_there_is_not_does_not_parse():
    for words in (["multitalk", "generat"], ["multitalk", "generate", "a", "b", "--fsp", "3"]):
        with pytest.raises((KeyError, typer.TyperException)):
            parse(words)


def test_an_error_without_a_rule_keeps_its_own_hint():
    error = FileError("x", code="E_FILE_MISSING", hint="ls")
    assert next_command(error, ["generate", "x"]) == "ls"


@pytest.mark.parametrize("code", ["E_COST", "E_GPU_STACK", "E_GPU_TOO_SMALL"])
def test_an_error_without_facts_has_the_remedy_of_its_code(code):
    assert next_command(RefusedError("x", code=code), ["generate"]) == CODES[code].remedy


# The words typed, with one option changed


@pytest.mark.parametrize(
    ("words", "option", "value", "command"),
    [
        (["generate", "a.png"], "--gpu", "l4", "multitalk generate a.png --gpu l4"),
        (["demo", "--gpu", "t4", "a b"], "--gpu", "l4", "multitalk demo 'a b' --gpu l4"),
        (["generate", "--gpu=t4", "a.png"], "--gpu", "l4", "multitalk generate a.png --gpu l4"),
        (["generate", "-o", "x"], "-o", "y", "multitalk generate -o y"),
        (["demo", "--sample-steps", "5"], "--steps", "10", "multitalk demo --steps 10"),
        (["demo", "-f"], "--force", None, "multitalk demo --force"),
        (["generate", "--", "-a.png"], "--gpu", "l4", "multitalk generate --gpu l4 -- -a.png"),
        (["generate", "--gpu"], "--gpu", "l4", "multitalk generate --gpu l4"),
        ([], "--gpu", "l4", "multitalk --gpu l4"),
    ],
)  # fmt: skip
def test_one_option_of_the_words_typed_is_changed(words, option, value, command):
    assert typed_again(words, option, value) == command


@pytest.mark.parametrize(
    ("code", "facts", "expected"),
    [
        ("E_GPU_STACK", {"stack": "current"}, "multitalk generate a.png --stack current"),
        ("E_GPU_TOO_SMALL", {"gpu": "l4"}, "multitalk generate a.png --gpu l4"),
        ("E_COST", {"enough_usd": 1.5, "cheaper": ()}, "multitalk generate a.png --max-cost 1.5"),
        (
            "E_COST",
            {"enough_usd": 2.0, "cheaper": ("--gpu b200 (about $1)", "--steps 10")},
            "multitalk generate a.png --max-cost 2\ncheaper: --gpu b200 (about $1), --steps 10",
        ),
    ],
)
def test_a_guard_names_the_options_that_pass_it(code, facts, expected):
    assert (
        next_command(RefusedError("x", code=code, facts=facts), ["generate", "a.png"]) == expected
    )


def test_a_job_run_again_is_offered_no_option_that_the_command_lacks():
    facts = {"enough_usd": 2.0, "cheaper": ("--steps 10 (about $1)", "--gpu l4 (about $1)")}

    command = next_command(RefusedError("x", code="E_COST", facts=facts), ["jobs", "rerun", "7f"])

    assert command == "multitalk jobs rerun 7f --max-cost 2\ncheaper: --gpu l4 (about $1)"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("talk.mp4", "multitalk jobs ls --state first-window"),
        ("tolk.first.mp4", "multitalk finish {}"),
    ],
)
def test_only_a_first_window_is_offered_in_place_of_one_that_is_missing(tmp_path, there, expected):
    (tmp_path / there).touch()
    missing = str(tmp_path / "talk.first.mp4")
    error = FileError(f"{missing} does not exist", code="E_FILE_MISSING")

    command = next_command(error, ["finish", missing])

    assert command == expected.format(tmp_path / there)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["generate", "a.wav", "b.wav", "my face.png", "--steps", "20"],
            "multitalk generate 'my face.png' a.wav b.wav --steps 20",
        ),
        (["generate", "a.wav", "--speaker", "left=my face.png"], CODES["E_SWAPPED"].remedy),
    ],
)
def test_a_picture_among_the_voices_is_put_first(words, expected):
    facts = {"picture": "my face.png", "sound": "a.wav"}
    assert next_command(UsageError("x", code="E_SWAPPED", facts=facts), words) == expected


@pytest.mark.parametrize("plan", ["--plan", "--dry-run"])
def test_faces_are_drawn_by_one_plan(plan):
    words = ["generate", "a.png", plan, "--speaker", "top=b.wav"]

    command = next_command(UsageError("x", code="E_SPEAKER"), words)

    assert command == "multitalk generate a.png b.wav --plan"


@pytest.mark.parametrize("option", [["--speaker", "{}=~/b.wav"], ["--speaker={}=~/b.wav"]])
def test_a_box_of_fractions_is_typed_in_percent(option):
    words = [word.format("box:0.5,0,.75,1") for word in ["generate", "a.png", *option]]
    with pytest.raises(UsageError) as refused:
        parse_speaker("box:0.5,0,.75,1=/home/you/b.wav")

    command = next_command(refused.value, words)

    right = [word.format("box:50%,0%,75%,100%") for word in ["generate", "a.png", *option]]
    assert command == f"multitalk {shell_line(right)}"


@pytest.mark.parametrize(
    "words", [["a.png", "s3://b/a.wav"], ["a.png", "--speaker", "left=s3://b/a.wav"]]
)
def test_a_preview_of_an_object_is_not_proposed(words):
    command = next_command(SetupError("x", code="E_NO_BACKEND"), ["generate", *words])

    assert command == "multitalk login"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--steps", "5"], "multitalk generate a.png b.wav --steps 10"),
        (["--gpu", "v100"], "multitalk generate a.png b.wav --gpu h100"),
        (["--gpu", "h20"], "multitalk generate a.png b.wav --gpu h200"),
        (["--fps", "fast"], "multitalk generate a.png b.wav --fps 24"),
        (["--fps=1000"], "multitalk generate a.png b.wav --fps 60"),
        (["--fit", "covered"], "multitalk generate a.png b.wav --fit cover"),
        (
            ["--size", "1000x1000", "--backend", "preview"],
            "multitalk generate a.png b.wav --backend preview --size 992x992",
        ),
    ],
)
def test_a_value_out_of_range_is_answered_with_the_command_and_one_that_fits(
    cli, portrait, voice, words, command
):
    portrait.rename("a.png")
    voice.rename("b.wav")
    ran = cli("generate", "a.png", "b.wav", *words, "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_RANGE")
    assert ran.error["hint"] == command
    parse(shlex.split(command))


def test_a_name_with_a_line_end_leaves_each_command_on_its_line():
    error = FileError("x", code="E_OUTPUT_EXISTS")

    printed = next_command(error, ["generate", "host.png", "a\nb.wav"])

    assert printed.splitlines()[0] == r"multitalk generate host.png $'a\x0ab.wav' --force"
