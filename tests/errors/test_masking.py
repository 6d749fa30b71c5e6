"""The mask: every form of every secret, wherever it comes from, and nothing else."""

import base64
import html
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.errors import StorageError, masking

VALUE = "qLmNo/PqRsT+uVwXyZaBcDeF=HiJk%2B"
FORMS = {
    "plain": str,
    "repr": repr,
    "ascii": ascii,
    "bytes": lambda value: repr(value.encode()),
    "json": json.dumps,
    "json twice": lambda value: json.dumps(json.dumps(value)),
    "html": html.escape,
    "quoted": lambda value: urllib.parse.quote(value, safe=""),
    "quoted path": urllib.parse.quote,
    "quoted form": urllib.parse.quote_plus,
    "small escapes": lambda value: urllib.parse.quote(value, safe="").replace("%2F", "%2f"),
    "unquoted": urllib.parse.unquote,
    "header": lambda value: f"Authorization: Bearer {value}",
    "stripped": str.strip,
    "lines": lambda value: " ".join(value.split()),
}
MARKS = {
    "none": "",
    "newline": "\n",
    "return": "\r\n",
    "no-break space": "\u00a0",
    "zero-width space": "\u200b",
    "quotes": "\"'",
    "backslash": "\\",
    "percent": "%41%",
    "null": "\0",
}
PIECES = (VALUE[:14], VALUE[14:], urllib.parse.unquote(VALUE)[:14])


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch):
    masking.forget()
    for name in (*masking.SECRET_VARIABLES, *masking.ADDRESS_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    yield
    masking.forget()


def leaks(text):
    return [piece for piece in PIECES if piece in text]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mark", MARKS)
def test_every_form_is_masked(form, mark):
    for value in (f"{VALUE}{MARKS[mark]}", f"{MARKS[mark]}{VALUE}"):
        masking.hide([value])
        assert not leaks(masking.mask(f"Invalid header value b'{FORMS[form](value)}' (400)"))


@given(before=st.text(max_size=7), after=st.text(max_size=7))
def test_base64_is_masked_at_every_place(before, after):
    masking.hide([VALUE])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        coded = encode(f"{before}{VALUE}{after}".encode()).decode()
        assert coded not in masking.mask(f"Proxy-Authorization: Basic {coded}")
        hidden = masking.mask(coded)
        assert masking.MASK in hidden
        assert len(hidden.replace(masking.MASK, "")) <= len(coded) - len(VALUE)


@pytest.mark.parametrize("name", masking.SECRET_VARIABLES)
def test_the_environment_is_masked_without_being_asked(monkeypatch, name):
    monkeypatch.setenv(name, f"{VALUE}\r\n")

    assert not leaks(masking.mask(f"bad value {VALUE!r}, {VALUE}"))
    assert not leaks(str(StorageError(f"failed with {VALUE}", code="E_STORAGE")))


@pytest.mark.parametrize("name", masking.ADDRESS_VARIABLES)
@pytest.mark.parametrize("password", ["hunter22", "pa/s#w1", "p@ss@w1", "p:ss:wd", "p%40ssw%2F"])
@pytest.mark.parametrize("scheme", ["http://", "//", ""])
def test_a_password_in_an_address_is_masked(monkeypatch, name, password, scheme):
    monkeypatch.setenv(name, f"{scheme}somebody:{password}@127.0.0.1:3128/path")

    shown = masking.mask(f"cannot parse {password!r}, {urllib.parse.unquote(password)}")

    assert password not in shown
    assert urllib.parse.unquote(password) not in shown
    assert masking.mask("somebody multitalk") == "somebody multitalk"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy http://me:secret@host:1/x", "proxy http://***@host:1/x"),
        ("at http://token@host", "at http://***@host"),
        ("url?X-Amz-Signature=0abc&x=1", "url?X-Amz-Signature=***&x=1"),
        ("X-Amz-Credential=AK%2F2026&a", "X-Amz-Credential=***&a"),
        ("x-amz-security-token=IQoJ/+= b", "x-amz-security-token=*** b"),
        ("Credential=AKIAABCDEFGHIJKLMNOP/2026", "Credential=***/2026"),
        ("SignedHeaders=host, Signature=82fc13", "SignedHeaders=host, Signature=***"),
        ("?AWSAccessKeyId=abc&Signature=d%2F&E=1", "?AWSAccessKeyId=***&Signature=***&E=1"),
        ("Bearer abcdefghijklmnop", "Bearer ***"),
        ("'Authorization': 'Basic bWU6c2VjcmV0'", "'Authorization': 'Basic ***'"),
        ("token hf_abcdefghijklmnopqrstuvwxyz!", "token ***!"),
        ("the key AKIAABCDEFGHIJKLMNOP is", "the key *** is"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(text, shown):
    assert masking.mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://user.example/@name/path, s3://bucket/a@b.mp4",
        "Basic authentication, bearer of news, authorization failed",
        "as-is ak-47 hf_transfer ASIA AKIA signature= of X-Amz-Date=2026",
        "prompt: a person talks // softly @ home",
        "/home/me/video.mp4",
    ],
)
def test_other_words_are_left(text):
    assert masking.mask(text) == text


def test_only_what_was_asked_for_is_revealed():
    url = f"https://host/k?X-Amz-Credential={VALUE}&X-Amz-Signature=abc"
    masking.hide([VALUE])
    masking.reveal(url)

    assert masking.mask(f'{{"url": "{url}", "b": "{VALUE}"}}') == f'{{"url": "{url}", "b": "***"}}'
    assert masking.mask_all({"a": [url, VALUE], "n": 1}) == {"a": [url, "***"], "n": 1}


def test_short_values_are_words():
    masking.hide(["video", ""])

    assert masking.mask("my video") == "my video"
