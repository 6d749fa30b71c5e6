"""Keys, tokens and passwords in the environment: refused by name if broken, and never printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multitalk_cli.cli.console import Console, OutputOptions
from multitalk_cli.errors import masking
from multitalk_cli.storage import retry
from multitalk_cli.storage.access import Access, connect
from tests.storage.clock import FakeClock

pytestmark = pytest.mark.slow

VALUE = "qLmNoPqRsTuVwXyZaBcDeFgHiJk"
MARKS = {
    "newline": "\n",
    "return": "\r",
    "both": "\r\n",
    "space": " ",
    "tab": "\t",
    "vertical tab": "\v",
    "form feed": "\f",
    "next line": "\x85",
    "no-break space": "\u00a0",
    "zero-width space": "\u200b",
    "line separator": "\u2028",
    "byte order mark": "\ufeff",
    "escape": "\x1b",
}
MODAL = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
FORMS = (f"{VALUE}{{}}", f"{{}}{VALUE}", f"{VALUE[:9]}{{}}{VALUE[9:]}")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch):
    """Whole keys and tokens, and stores and a Modal that refuse connections."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_", "MODAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in (*MODAL, *AWS):
        monkeypatch.setenv(name, f"whole-{name.lower()}")


@pytest.fixture
def no_pauses(monkeypatch):
    """Retries follow each other at once. Gives the pauses that they would have made."""
    clock = FakeClock()
    monkeypatch.setattr(retry, "time", clock)
    return clock.slept_s


def assert_hidden(ran):
    shown = ran.stdout + ran.stderr
    assert VALUE not in shown
    assert VALUE[9:] not in shown
    assert VALUE[:9] not in shown


@pytest.mark.parametrize("form", FORMS, ids=["end", "start", "middle"])
@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("name", MODAL)
def test_a_broken_token_of_modal_is_refused_by_name(cli, monkeypatch, name, mark, form):
    monkeypatch.setenv(name, form.format(mark))

    ran = cli("status", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_TOKEN")
    assert ran.error["message"].startswith(f"{name} has ")
    assert_hidden(ran)


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_the_printed_command_cleans_the_token(cli, monkeypatch, mark):
    monkeypatch.setenv("MODAL_TOKEN_SECRET", f"{VALUE}{mark}")
    command = cli("status", "--json").error["hint"]

    printed = subprocess.run(
        ["sh", "-c", f'{command}; printf %s "$MODAL_TOKEN_SECRET"'],
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed.stdout == VALUE


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("name", [*MODAL, *AWS])
def test_quotes_that_a_file_of_variables_kept_are_named(cli, monkeypatch, name, quote):
    """As `docker run --env-file` passes them on."""
    monkeypatch.setenv(name, f"{quote}{VALUE}{quote}")
    words = ["s3", "ls", "s3://bucket/"] if name in AWS else ["status"]

    ran = cli(*words, "--json")

    assert ran.code == 4
    assert ran.error["message"].startswith(f"{name} has quotes around it")
    assert_hidden(ran)
    if name in MODAL:
        cleaned = f'{ran.error["hint"]}; printf %s "${name}"'
        assert subprocess.check_output(["sh", "-c", cleaned], text=True) == VALUE


@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--json"), ("status", "--debug")])
def test_no_command_prints_a_broken_token(cli, monkeypatch, words):
    monkeypatch.setenv("MODAL_TOKEN_SECRET", f"{VALUE}\n")

    ran = cli(*words)

    assert ran.code == 4
    assert "MODAL_TOKEN_SECRET has a line end at position 28 of 28" in ran.stdout + ran.stderr
    assert_hidden(ran)


@pytest.mark.parametrize("form", FORMS, ids=["end", "start", "middle"])
@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("name", AWS)
def test_a_broken_key_of_s3_is_refused_by_name(cli, monkeypatch, name, mark, form):
    monkeypatch.setenv(name, form.format(mark))

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_S3_CREDENTIALS")
    assert ran.error["message"].startswith(f"{name} has ")
    assert_hidden(ran)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(
    "address",
    [
        f"http://me:{VALUE}@127.0.0.1:9",
        f"http://{VALUE}@127.0.0.1:9",
        f"http://me:{VALUE}@127.0.0.1:9\n",
        f"me:{VALUE}@127.0.0.1:9",
        f"http://me:{VALUE}/@127.0.0.1:9",
    ],
)
@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["plain", "debug"])
def test_a_password_in_an_endpoint_is_refused(cli, monkeypatch, variable, address, debug):
    monkeypatch.setenv(variable, address)

    ran = cli("s3", "ls", "s3://bucket/", *debug)

    assert ran.code == 4
    assert "without a user or password" in ran.stderr
    assert_hidden(ran)


def test_a_password_in_an_endpoint_option_is_not_shown(cli):
    ran = cli(
        "s3", "ls", "s3://bucket/", "--endpoint-url", f"https://me:{VALUE}@127.0.0.1:9", "--json"
    )

    assert (ran.code, ran.error["code"]) == (2, "E_S3_ADDRESS")
    assert ran.error["hint"] == "multitalk s3 ls --endpoint-url https://HOST"
    assert_hidden(ran)


def test_an_endpoint_in_the_configuration_has_no_password_either(cli, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    config = tmp_path / "aws"
    config.write_text(f"[default]\nendpoint_url = https://me:{VALUE}@127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    ran = cli("s3", "ls", "s3://bucket/")

    assert ran.code == 4
    assert_hidden(ran)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_a_broken_token_of_the_hub_is_refused(cli, monkeypatch, folder, mark):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", f"{VALUE[:9]}{mark}{VALUE[9:]}")

    ran = cli("download", "--to", folder / "weights", "--yes", "--json")

    assert ran.code != 1
    assert_hidden(ran)


def test_a_library_s_error_never_shows_a_token(cli, monkeypatch):
    """The last resort: something unexpected that quotes the environment."""
    from multitalk_cli.cloud import network

    def fail():
        raise ValueError(f"Invalid metadata value: {os.environ['MODAL_TOKEN_SECRET']!r}")

    monkeypatch.setenv("MODAL_TOKEN_SECRET", f"{VALUE}")
    monkeypatch.setattr(network, "require_network", fail)

    for words in (["status"], ["status", "--json"], ["status", "--debug"]):
        ran = cli(*words)
        assert ran.code == 1
        assert "***" in ran.stdout + ran.stderr
        assert_hidden(ran)


PLANTED = {
    name: f"{name.replace('_', '').title()}{VALUE}"
    for name in (*masking.SECRET_VARIABLES, *masking.ADDRESS_VARIABLES)
}
COMMANDS = (
    ("status", "--debug"),
    ("status", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("config", "show"),
    ("jobs", "ls", "--remote"),
    ("s3", "ls", "s3://bucket/"),
    ("s3", "put", "voice.wav", "s3://bucket/", "--json"),
    ("download", "--to", "weights", "--yes", "--progress", "json"),
    ("setup-secrets", "--from-env", "--json"),
    ("generate", "host.png", "voice.wav", "--backend", "preview", "--sidecar", "--json"),
    ("generate", "host.png", "voice.wav", "--backend", "modal", "-o", "m.mp4", "--debug"),
    ("deploy",),
)


def plant(monkeypatch, tmp_path, mark):
    """Secrets in every variable and file that is read, each of its own."""
    for name, value in PLANTED.items():
        is_address = name in masking.ADDRESS_VARIABLES
        monkeypatch.setenv(
            name, f"http://me:{value}{mark}@127.0.0.1:9" if is_address else value + mark
        )
    keys = f"aws_access_key_id = FILE{VALUE}A\naws_secret_access_key = FILE{VALUE}B\n"
    (tmp_path / "aws").write_text(f"[default]\n{keys}")
    (tmp_path / "modal.toml").write_text(
        f"[default]\ntoken_id = 'FILE{VALUE}C'\ntoken_secret = 'FILE{VALUE}D'\n"
    )
    (tmp_path / "token").write_text(f"FILE{VALUE}E{mark}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.mark.parametrize("mark", ["", "\r\n", "\u00a0", "'\"%41"], ids=ascii)
@pytest.mark.usefixtures("portrait", "voice")
def test_no_command_shows_or_keeps_a_secret(cli, monkeypatch, folder, tmp_path, mark):
    plant(monkeypatch, tmp_path, mark)

    for words in COMMANDS:
        ran = cli(*words)
        assert ran.code != 1, (words, ran.stderr)
        assert VALUE not in ran.stdout + ran.stderr, words

    kept = [path for root in (folder, Path(os.environ["HOME"])) for path in root.rglob("*")]
    made = [path for path in kept if path.is_file()]
    assert (folder / "voice.preview.mp4") in made
    assert not [path for path in made if VALUE.encode() in path.read_bytes()]


def test_what_libraries_print_is_masked_too():
    """Warnings, logs, threads that fail and errors with causes, on the real streams."""
    program = """
import logging, os, sys, threading, warnings
from multitalk_cli.cli.streams import mask_streams
mask_streams()
secret = os.environ["HF_TOKEN"]
warnings.warn(f"careful: {secret}")
logging.warning("request %s", {"authorization": secret})
print(f"out {secret}"), print(secret, file=sys.__stderr__)
thread = threading.Thread(target=lambda: int(secret)); thread.start(); thread.join()
try:
    int(secret)
except ValueError as error:
    raise RuntimeError(f"wrapped {secret!r}") from error
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_TOKEN": f"{VALUE}\n"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    assert ran.stderr.count("***") >= 6
    assert_hidden(ran)


def test_keys_of_a_session_are_part_of_a_signed_url(cli, monkeypatch, moto_url):
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = connect(Access())[1]
    client.create_bucket(Bucket="signed-urls")
    client.put_object(Bucket="signed-urls", Key="k", Body=b"x")

    ran = cli("s3", "url", "s3://signed-urls/k")

    assert ran.code == 0, ran.stderr
    assert "whole-aws_access_key_id" in ran.stdout
    assert "whole-aws_session_token" in ran.stdout
    assert "***" not in ran.stdout


def test_short_values_are_no_secrets(monkeypatch, capfd):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "video")
    console = Console(OutputOptions())

    console.succeed("x", {}, ["/home/me/video.mp4"])

    assert capfd.readouterr().out == "/home/me/video.mp4\n"
