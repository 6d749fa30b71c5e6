"""The commands that help with jobs and weights, made of an error's facts."""

import pytest

from multitalk_cli.cli.hints.weights import download_command
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import error_from_code

VOLUME = {"volume": "multitalk-weights", "app": "multitalk", "environment": ""}
ELSEWHERE = {"volume": "multitalk-weights", "app": "mine", "environment": "dev"}


@pytest.mark.parametrize(
    ("code", "facts", "words", "command"),
    [
        ("E_NETWORK", {"job": "7f3a"}, ["generate"], "multitalk jobs attach 7f3a"),
        ("E_NETWORK", {"job": "7f3a", "step": "fetch"}, ["jobs"], "multitalk jobs fetch 7f3a"),
        ("E_OUTPUT_EXISTS", {"job": "7f3a"}, ["generate"],
         "multitalk jobs fetch 7f3a -o OTHER.mp4"),
        ("E_OUTPUT_EXISTS", {"existing": "my a.mp4"}, ["jobs", "rerun", "7f"],
         "move 'my a.mp4' away, then run the same command again"),
        ("E_OUTPUT_TAKEN", {"holder": "7f3a"}, ["generate", "a.png", "v.wav"],
         "multitalk generate a.png v.wav -o OTHER.mp4\nor multitalk jobs attach 7f3a"),
        ("E_UNFINISHED", {"job": "7f3a"}, ["jobs"], "multitalk jobs attach 7f3a"),
        ("E_S3_DENIED", {"unstored_job": "7f3a"}, ["jobs"], "multitalk jobs fetch 7f3a"),
        ("E_NO_JOB", {"job_prefix": "7"}, ["jobs"], "multitalk jobs ls --remote"),
        ("E_NETWORK", VOLUME, ["download"], "multitalk download"),
        ("E_CANCELLED", ELSEWHERE, [], "multitalk download --app mine --environment dev"),
        ("E_WEIGHTS", {**VOLUME, "damaged": 2}, [], "multitalk download --repair --yes"),
        ("E_USAGE", {**VOLUME, "option": "--yes"}, ["download"], "multitalk download --yes"),
        ("E_WEIGHTS", {"weights_folder": "my w"}, [], "multitalk download --to 'my w'"),
        ("E_NOT_DEPLOYED", VOLUME, ["download"], "multitalk download"),
        ("E_FILE_UNREADABLE", {"pack_folder": "p"}, [], "multitalk download --to weights"),
        ("E_RANGE", {"option": "--lora", "example": "fusionx"}, ["download"],
         "multitalk download --lora fusionx"),
        ("E_RANGE", {"option": "--steps"}, ["bench"], "multitalk bench --help"),
    ],
)  # fmt: skip
def test_facts_become_a_command(code, facts, words, command):
    assert next_command(error_from_code(code, "it failed", facts=facts), words) == command


def test_a_file_in_place_of_a_job_is_inspected(folder):
    (folder / "my talk.mp4").touch()

    error = error_from_code("E_NO_JOB", "there is no job", facts={"job_prefix": "my talk.mp4"})

    assert next_command(error, ["jobs", "show"]) == "multitalk inspect 'my talk.mp4'"


@pytest.mark.parametrize("code", ["E_NETWORK", "E_NO_JOB", "E_CANCELLED", "E_REMOTE", "E_RANGE"])
def test_without_facts_the_code_s_own_advice_stays(code):
    error = error_from_code(code, "it failed")

    assert next_command(error, ["generate"]) == error.hint != ""


@pytest.mark.parametrize("code", ["E_HUB_TOKEN", "E_HUB_THROTTLED"])
def test_a_token_for_the_hub_is_set_up_deployed_and_used(code):
    error = error_from_code(code, "gated", facts=VOLUME)

    assert next_command(error, ["download"]).splitlines() == [
        "multitalk setup-secrets --only hf",
        "multitalk deploy",
        "multitalk download",
    ]


def test_a_download_of_a_folder_names_no_app():
    assert download_command({"weights_folder": "w"}, "--list") == "multitalk download --to w --list"
