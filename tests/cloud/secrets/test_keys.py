"""Values as people paste them: cleaned or refused, and never shown; and what sources have."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.cloud.secrets.keys import check_together, clean, missing
from multitalk_cli.cloud.secrets.sources import MAX_BYTES, Sources, collect, hub_token_file
from multitalk_cli.contract.secrets import KEYS, SECRET_SPECS
from multitalk_cli.errors import MultitalkError, SetupError

VALUE = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY="


def failure(call):
    with pytest.raises(MultitalkError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("raw", "removed"),
    [
        (VALUE, ()),
        (f"{VALUE}\n", ()),
        (f"  {VALUE}\r\n", ("spaces and line ends around it",)),
        (f"'{VALUE}'", ("quotes",)),
        (f"\u201c{VALUE}\u201d\n", ("quotes",)),
        (f'" {VALUE} "', ("quotes",)),
        (f"export AWS_SECRET_ACCESS_KEY='{VALUE}'", ("its name", "quotes")),
        (f"AWS_SECRET_ACCESS_KEY = {VALUE}", ("its name",)),
        (f"\x1b[200~{VALUE}\x1b[201~", ("marks of a terminal",)),
        (f"\ufeff{VALUE[:9]}\r\n{VALUE[9:]}", ("marks of a terminal", "line ends inside it")),
        (f"\u00a0{VALUE}", ("spaces and line ends around it",)),
    ],
)
def test_what_came_along_with_a_value_is_removed_and_said(raw, removed):
    cleaned = clean("AWS_SECRET_ACCESS_KEY", raw)

    assert (cleaned.value, cleaned.removed) == (VALUE, removed)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("", "is empty"),
        (" \t\n", "is empty"),
        ("''", "is empty"),
        ("HF_TOKEN=", "is empty"),
        ("hf_abc def", "has a space at position 7 of 10"),
        ("hf_\u00e4bcdef", "has an invalid character at position 4 of 9"),
        ("hf_ab\x07cdef", "at position 6 of 10"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_without_being_shown(raw, why):
    error = failure(lambda: clean("HF_TOKEN", raw))

    assert (error.code, why in error.message) == ("E_SECRET_VALUE", True)
    assert "hf_" not in error.message


@given(st.text(max_size=40))
def test_a_cleaned_value_is_printable_and_stays_when_cleaned_again(raw):
    try:
        value = clean("HF_TOKEN", raw).value
    except SetupError:
        return
    assert value
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("AWS_BUCKET_NAME", "s3://studio-videos/", "studio-videos"),
        ("AWS_BUCKET_NAME", "arn:aws:s3:::studio-videos", "studio-videos"),
        ("AWS_REGION", "eu-west-3", "eu-west-3"),
        ("AWS_ENDPOINT_URL", "https://s3.example.com", "https://s3.example.com"),
    ],
)
def test_what_is_no_secret_has_a_form(key, raw, value):
    assert clean(key, raw).value == value


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("AWS_BUCKET_NAME", "a/b"),
        ("AWS_BUCKET_NAME", "x"),
        ("AWS_REGION", "EU West"),
        ("AWS_ENDPOINT_URL", "s3.example.com"),
        ("AWS_ENDPOINT_URL", "https://user:hunter22@s3.example.com"),
    ],
)
def test_what_has_another_form_is_refused(key, raw):
    error = failure(lambda: clean(key, raw))

    assert error.code == "E_SECRET_VALUE"
    assert "hunter22" not in error.message


def test_keys_that_were_taken_for_each_other_are_seen():
    values = {"AWS_ACCESS_KEY_ID": VALUE, "AWS_SECRET_ACCESS_KEY": "AKIATESTTESTTESTTEST"}

    error = failure(lambda: check_together(values))

    assert "was it swapped with AWS_ACCESS_KEY_ID?" in error.message


def test_temporary_keys_need_their_session():
    values = {"AWS_ACCESS_KEY_ID": "ASIATEST", "AWS_BUCKET_NAME": "b"}

    assert missing(SECRET_SPECS["aws"], values) == ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    assert missing(SECRET_SPECS["hf"], values) == ["HF_TOKEN"]


# Sources


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text, mode=0o600, name="secrets.env"):
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return Sources(from_file=name)


def raw_values(sources):
    return {key: given.raw for key, given in collect(sources).items()}


def test_a_file_has_pairs_comments_and_other_keys():
    sources = write(
        "# mine\r\n\r\nexport HF_TOKEN=hf_a\r\naws_region = eu-west-3 \nOTHER=1\nOTHER=2\n"
    )

    assert raw_values(sources) == {"HF_TOKEN": "hf_a", "AWS_REGION": " eu-west-3"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hf_only_a_value\n", "line 1 of secrets.env is not KEY=VALUE"),
        ("HF_TOKEN=hf_a\nHF_TOKEN=hf_b\n", "has HF_TOKEN twice"),
        (b"HF_TOKEN=\xff\n", "is not text in UTF-8"),
        ("X=1\n" * MAX_BYTES, "has more than"),
    ],
)
def test_a_file_that_is_none_of_pairs_is_refused_without_being_shown(text, why):
    error = failure(lambda: collect(write(text)))

    assert (error.code, why in error.message) == ("E_SECRET_FILE", True)
    assert "hf_" not in error.message


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_or_write_is_refused(mode):
    error = failure(lambda: collect(write("HF_TOKEN=hf_a\n", mode)))

    assert f"(mode {mode:04o})" in error.message
    assert error.facts == {"open_file": "secrets.env"}
    Path("secrets.env").chmod(0o400)
    assert raw_values(Sources(from_file="secrets.env")) == {"HF_TOKEN": "hf_a"}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root's right to give a file away")
def test_a_file_of_another_user_is_refused():
    sources = write("HF_TOKEN=hf_a\n")
    os.chown("secrets.env", 12345, 12345)

    assert "belongs to another user" in failure(lambda: collect(sources)).message


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, None], ids=["folder", "pipe", "absent"])
def test_what_is_no_file_is_refused_at_once(make):
    if make is not None:
        make(Path("secrets.env"))

    assert failure(lambda: collect(Sources(from_file="secrets.env"))).code == "E_SECRET_FILE"


def test_an_earlier_source_goes_first_and_pairs_are_never_mixed(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("HF_TOKEN", "")
    file = write("AWS_SECRET_ACCESS_KEY=of-the-file\nAWS_BUCKET_NAME=b\nHF_TOKEN=hf_file\n")

    found = collect(Sources(from_env=True, from_file=file.from_file))

    assert found["AWS_ACCESS_KEY_ID"].source == "the environment"
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert {found[key].source for key in ("AWS_BUCKET_NAME", "HF_TOKEN")} == {"secrets.env"}


def test_names_that_boto3_reads_are_taken_as_ours(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.com")

    found = collect(Sources(from_env=True))

    assert (found["AWS_REGION"].raw, found["AWS_REGION"].name) == (
        "eu-west-3",
        "AWS_DEFAULT_REGION",
    )
    assert found["AWS_ENDPOINT_URL"].raw == "https://s3.example.com"
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert collect(Sources(from_env=True))["AWS_REGION"].raw == "us-east-1"


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"HF_TOKEN_PATH": "/t/token"}, "/t/token"),
        ({"HF_HOME": "/h"}, "/h/token"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/token"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/me"}, "/home/me/.cache/huggingface/token"),
    ],
)
def test_the_hub_s_own_login_is_where_its_tools_keep_it(monkeypatch, variables, path):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert hub_token_file() == Path(path)


def test_nobody_has_logged_in_to_the_hub(monkeypatch):
    monkeypatch.setenv("HF_HOME", "/nowhere")

    error = failure(lambda: collect(Sources(from_hub=True)))

    assert (error.code, "/nowhere/token" in error.message) == ("E_SECRET_FILE", True)


def test_every_key_is_of_one_secret():
    assert len(set(KEYS)) == len(KEYS)
    assert all(set(kind.required) <= set(kind.keys) for kind in SECRET_SPECS.values())
