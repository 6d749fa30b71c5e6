"""Commands that help are for the app that was used, also those that a container names."""

import pytest
import typer.main

from multitalk_cli import contract
from multitalk_cli.cli.app import app
from multitalk_cli.cli.app_options import COMMANDS, for_app
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cloud.call_result import to_error

OTHER = {"app": "other", "environment": ""}
FOR_JOBS = {"show", "attach", "wait", "fetch", "cancel", "rerun", "logs"}
"""Commands for a job, in whose record the app is."""


def commands_for_apps(command, path=()):
    """The commands that take --app, by their words."""
    below = getattr(command, "commands", {})
    for name, each in below.items():
        yield from commands_for_apps(each, (*path, name))
    if not below and any("--app" in option.opts for option in command.params):
        yield " ".join(path)


def test_every_command_for_an_app_is_known():
    found = set(commands_for_apps(typer.main.get_command(app)))

    assert found - {f"jobs {name}" for name in FOR_JOBS} == set(COMMANDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("multitalk download --repair", "multitalk download --repair --app other"),
        ("multitalk download --app third", "multitalk download --app third"),
        ("multitalk download --app=third", "multitalk download --app=third"),
        ("multitalk download --to weights", "multitalk download --to weights"),
        ("multitalk generate IMAGE VOICE", "multitalk generate IMAGE VOICE --app other"),
        ("multitalk jobs attach 7f3a", "multitalk jobs attach 7f3a"),
        ("multitalk jobs ls --remote", "multitalk jobs ls --remote --app other"),
        ("multitalk s3 ls s3://b/", "multitalk s3 ls s3://b/"),
        (
            "if it is of the secret: multitalk setup-secrets --only aws",
            "if it is of the secret: multitalk setup-secrets --only aws --app other",
        ),
        ("multitalk deploy\npass --gpu", "multitalk deploy --app other\npass --gpu"),
        ("multitalk doctor --gpu lists the kernels, with reasons", None),
        ("multitalk login stores a token.", None),
        ("pass a smaller --size", None),
    ],
)  # fmt: skip
def test_a_command_gets_the_options_that_it_lacks(text, expected):
    assert for_app(text, OTHER) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("facts", "typed", "expected"),
    [
        ({}, [], ""),
        ({"app": contract.APP_NAME, "environment": ""}, [], ""),
        ({}, ["generate", "--app", "typed"], " --app typed"),
        (OTHER, ["jobs", "attach", "--app", "typed"], " --app other"),
        ({"app": "my app", "environment": "dev"}, [], " --app 'my app' --environment dev"),
        ({}, ["doctor", "--environment=dev"], " --environment dev"),
    ],
)
def test_the_app_is_that_of_the_error_or_the_one_typed(facts, typed, expected):
    assert for_app("multitalk warm", facts, typed) == f"multitalk warm{expected}"


def test_what_a_container_advises_is_for_its_app():
    failed = contract.Failed(
        code="E_WEIGHTS", message="damaged", hint="multitalk download --repair"
    )

    command = next_command(to_error(failed, OTHER), ["jobs", "attach", "7f3a"])

    assert command == "multitalk download --repair --app other"
