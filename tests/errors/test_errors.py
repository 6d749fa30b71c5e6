"""The table of errors: whole, in one form, and in step with the exception classes."""

import ast
import copy
import pickle
import re
import shlex
from pathlib import Path

import pytest

from multitalk_cli import contract, errors
from multitalk_cli.errors import CODES, ExitCode, MultitalkError, RemoteError, error_from_code
from multitalk_cli.media.video.ffmpeg import FfmpegError
from tests.tools.commands import problems

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 130}
CHILDREN = MultitalkError.__subclasses__()


def test_exit_codes_are_the_documented_ones():
    assert {int(code) for code in ExitCode} == DOCUMENTED


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_well_formed_for_the_wire_too(code):
    assert contract.ERROR_CODE.fullmatch(code)


@pytest.mark.parametrize(("code", "row"), CODES.items())
def test_a_row_says_what_why_and_what_helps(code, row):
    assert row.exit_code is not ExitCode.OK
    assert re.fullmatch(r"[a-z][^\n]*[^.\s]", row.summary), "a phrase that follows a colon"
    for sentence in (row.cause, row.remedy):
        assert re.fullmatch(r"\S[^\n]*\S", sentence)
    assert code not in row.summary


@pytest.mark.parametrize(("code", "row"), CODES.items())
def test_commands_in_remedies_exist(code, row):
    assert not problems(row.remedy), f"{code} names a command that there is not"


def _texts():
    """Every text in the client's code that names a command as one is typed."""
    for path in sorted((ROOT / "multitalk_cli").rglob("*.py")):
        if path.parent.name != "errors":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path.name, node.value


def test_commands_that_the_code_prints_exist():
    said = [(name, text) for name, text in _texts() if text.startswith("multitalk ")]
    said += [(name, text) for name, text in _texts() if "`multitalk " in text]

    assert len(said) > 50
    assert not [(name, found) for name, text in said for found in problems(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("multitalk logout", ["multitalk has no logout"]),
        ("multitalk s3 copy KEY", ["s3 has no copy"]),
        ("multitalk login --now", ["login has no --now"]),
        ("multitalk jobs ls shows it, and multitalk jobs attach follows it.", []),
        ("multitalk jobs ls shows it, and multitalk jobs follow does too.", ["jobs has no follow"]),
        ("multitalk --help", []),
    ],
)
def test_a_command_that_there_is_not_is_seen(text, found):
    assert problems(text) == found


@pytest.mark.parametrize("child", CHILDREN)
def test_each_child_has_an_exit_code_of_its_own_and_a_row(child):
    assert [other for other in CHILDREN if other.exit_code is child.exit_code] == [child]
    assert any(row.exit_code is child.exit_code for row in CODES.values())


@pytest.mark.parametrize("code", [code for code in CODES if code != "E_BUG"])
def test_every_code_can_be_raised(code):
    error = error_from_code(code, "what happened")

    assert (error.code, error.exit_code) == (code, CODES[code].exit_code)
    assert str(error) == error.message == "what happened"


@pytest.mark.parametrize("code", [code for code in CODES if code != "E_BUG"])
def test_an_error_without_a_hint_takes_the_remedy(code):
    assert error_from_code(code, "x").hint == CODES[code].remedy
    assert error_from_code(code, "x", "multitalk demo").hint == "multitalk demo"


@pytest.mark.parametrize("code", ["E_NEVER_HEARD", "E_BUG"])
def test_a_code_that_cannot_be_raised_here_is_a_failed_run_that_names_it(code):
    error = error_from_code(code, "out of luck", "try again")

    assert isinstance(error, RemoteError)
    assert (error.code, error.message) == ("E_REMOTE", f"out of luck ({code})")
    assert error.hint == "try again"


def test_a_code_of_another_exit_code_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="E_USAGE"):
        errors.FileError("x", code="E_USAGE")


def test_an_unknown_code_is_a_mistake_of_ours():
    with pytest.raises(KeyError, match="E_NONE"):
        errors.UsageError("x", code="E_NONE")


def test_the_loop_in_the_hint_is_a_shell_command():
    loop = CODES["E_TOO_MANY_VOICES"].remedy.partition(": ")[2]

    assert shlex.split(loop)[:3] == ["for", "f", "in"]


def _all_kinds(kind):
    return {kind, *(each for child in kind.__subclasses__() for each in _all_kinds(child))}


def _example(kind):
    code = next(code for code, row in CODES.items() if row.exit_code is kind.exit_code)
    if kind is FfmpegError:
        return kind("a message", code=code, log="its log")
    return kind("a message", code=code, hint="a hint", facts={"name": "value", "both": ("a", "b")})


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
@pytest.mark.parametrize(
    "kind", sorted(_all_kinds(MultitalkError) - {MultitalkError}, key=lambda kind: kind.__name__)
)
def test_an_error_survives_pickle_and_copy_whole(kind, again):
    error = _example(kind)

    found = again(error)

    assert type(found) is kind
    assert str(found) == "a message"
    assert vars(found) == vars(error)
