"""Modal's texts name commands that the user of `multitalk` has not on the PATH."""

import ast
import re
from pathlib import Path

import modal
import modal.exception as theirs
import pytest
from modal.cli.entry_point import entrypoint_cli

from multitalk_cli.cloud.deploy_output import DeployOutput
from multitalk_cli.cloud.errors import AppRef, modal_errors
from multitalk_cli.cloud.modal_words import in_our_words
from multitalk_cli.errors import MultitalkError, SetupError
from multitalk_cli.reporting.reporter import QuietReporter

PLACE = AppRef(app="multitalk", environment="main")
COMMAND = re.compile(rf"(`|^ +)modal ({'|'.join(entrypoint_cli.commands)})\b", re.MULTILINE)
INTERACTIVE = ("runner.py", "serving.py")
"""Of an app that runs while a Python program does, which ours never is."""


def _texts(path: Path) -> list[str]:
    """The texts that a module can print, raise or warn with."""
    tree = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    seen = documents | {id(part) for node in joined for part in node.values}
    texts = ["".join(map(_text_of, node.values)) for node in joined if id(node) not in documents]
    return texts + [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in seen
    ]


def _text_of(part: ast.expr) -> str:
    """Part of an f-string, with an id in place of a value."""
    return str(part.value) if isinstance(part, ast.Constant) else "x-1"


def _client_texts() -> list[str]:
    """The texts of Modal's client that name a command of Modal's."""
    folder = Path(modal.__file__).parent
    modules = [path for path in folder.rglob("*.py") if "cli" not in path.parts]
    likely = [path for path in modules if path.name not in INTERACTIVE]
    likely = [path for path in likely if COMMAND.search(path.read_text())]
    return [text for path in likely for text in _texts(path) if COMMAND.search(text)]


def test_no_text_of_the_installed_client_keeps_a_command_of_modals():
    texts = _client_texts()

    assert len(texts) >= 5
    assert [text for text in texts if COMMAND.search(in_our_words(text))] == []


@pytest.mark.parametrize("name", sorted(entrypoint_cli.commands))
def test_every_command_of_modals_is_replaced(name):
    said = in_our_words(f"Not so. Run `modal {name} list --env main ap-123` to see.")

    assert "`modal " not in said
    assert re.search(r"Run (`multitalk |https://modal\.com/)", said)


@pytest.mark.parametrize(
    ("theirs_text", "ours"),
    [
        ("then run `modal token new`.", "then run `multitalk login`."),
        ("run modal setup first", "run multitalk login first"),
        (
            "Run `modal profile list` to see available profiles, or "
            "`modal token new --profile x` to configure it.",
            "Run `multitalk login` to configure it.",
        ),
        ("fix with `modal profile activate` or by hand", "fix with `multitalk login` or by hand"),
        ("use `modal secret create NAME`", "use `multitalk setup-secrets`"),
        ("see modal app logs ap-1x9 -f", "see https://modal.com/apps"),
        ("`python -m modal deploy app.py`", "`multitalk deploy`"),
        ("raise it: modal workspace settings list", "raise it: https://modal.com/settings"),
        ("Build failed.\nView the build logs:\n  modal image logs im-1", "Build failed."),
        ("This version of the modal client", "This version of the modal client"),
        ("modal.App and a modal app is", "modal.App and a modal app is"),
    ],
)
def test_what_takes_its_place(theirs_text, ours):
    assert in_our_words(theirs_text) == ours


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (theirs.AuthError, "E_TOKEN"),
        (theirs.PermissionDeniedError, "E_PERMISSION"),
        (theirs.ResourceExhaustedError, "E_CAPACITY"),
        (theirs.VersionError, "E_MODAL_VERSION"),
        (theirs.ConnectionError, "E_NETWORK"),
        (theirs.InvalidError, "E_REMOTE"),
    ],
)
def test_errors_of_every_kind_name_our_command(kind, code):
    with pytest.raises(MultitalkError) as raised, modal_errors(PLACE):
        raise kind("Run `modal token new` first.")

    assert raised.value.code == code
    assert "Run `multitalk login` first." in raised.value.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Please add a payment method to use H100 GPU functions.", "E_PAYMENT_METHOD"),
        ("Workspace billing cycle spend limit reached", "E_SPENDING_LIMIT"),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [
        theirs.PermissionDeniedError,
        theirs.InvalidError,
        theirs.ResourceExhaustedError,
        theirs.Error,
    ],
)
def test_what_only_billing_mends_is_named_whatever_its_kind(kind, text, code):
    page = "https://modal.com/settings/usage"
    with pytest.raises(SetupError, match=page) as raised, modal_errors(PLACE):
        raise kind(text)

    assert raised.value.code == code
    assert text in raised.value.message


class _Notes(QuietReporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


async def _log(output: DeployOutput, text: str) -> None:
    class _Piece:
        data = text

    await output.put_streaming_log(_Piece())


def test_the_log_and_the_warnings_of_a_deploy_name_our_commands():
    reporter = _Notes()
    output = DeployOutput(None, reporter, shows_log=True)

    _drive(_log(output, "no space: run `modal volume rm x`\nthen `modal deploy`"))
    output.flush_lines()
    output.show_warning(DeprecationWarning("use `modal secret list`"))

    assert reporter.lines == [
        "no space: run https://modal.com/storage",
        "then `multitalk deploy`",
        "use `multitalk setup-secrets`",
    ]


def _drive(coroutine) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)
