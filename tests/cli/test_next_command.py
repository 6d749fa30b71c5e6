"""The command that helps, made from an error's code, its facts and the words typed."""

import pytest

from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import FileError, RefusedError, UsageError
from multitalk_cli.errors.codes import CODES


def test_an_error_without_a_rule_keeps_its_own_hint():
    error = FileError("x", code="E_FILE_MISSING", hint="ls")
    assert next_command(error, ["generate", "x"]) == "ls"


@pytest.mark.parametrize("code", ["E_COST", "E_GPU_STACK", "E_GPU_TOO_SMALL"])
def test_an_error_without_facts_has_the_remedy_of_its_code(code):
    assert next_command(RefusedError("x", code=code), ["generate"]) == CODES[code].remedy


@pytest.mark.parametrize(
    ("code", "facts", "expected"),
    [
        ("E_GPU_STACK", {"stack": "current"}, "--stack current"),
        ("E_GPU_TOO_SMALL", {"gpu": "l4"}, "--gpu l4"),
        ("E_COST", {"enough_usd": 1.5, "cheaper": ()}, "add --max-cost 1.5 to allow it"),
        (
            "E_COST",
            {"enough_usd": 2.0, "cheaper": ("--gpu b200 (about $1)", "--sample-steps 10")},
            "add --max-cost 2 to allow it\ncheaper: --gpu b200 (about $1), --sample-steps 10",
        ),
    ],
)
def test_a_guard_names_the_options_that_pass_it(code, facts, expected):
    assert next_command(RefusedError("x", code=code, facts=facts), ["generate"]) == expected


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
