"""Addresses in S3 on the command line: what is refused before anything is asked of anybody."""

import shlex

import pytest

PREVIEW = ("--backend", "preview")
PICTURE, VOICE = "s3://bucket/host.png", "s3://bucket/voice.wav"


@pytest.fixture
def refused(cli):
    """Runs a command that is refused, and gives its error."""

    def run(*words, code):
        ran = cli("generate", *words, "--json")
        (error,) = ran.json["errors"]
        assert (ran.code, error["code"]) == (2, code), ran.stderr
        return error

    return run


@pytest.fixture
def inputs(portrait, voice):
    """A picture and a voice."""
    return str(portrait), str(voice)


@pytest.fixture
def account(monkeypatch):
    """A token, and nobody who would take it."""
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "words",
    [
        (PICTURE, VOICE),
        ("host.png", VOICE),
        ("host.png", "--speaker", f"left={VOICE}"),
        (PICTURE, "voice.wav", "--plan"),
    ],
)
def test_only_the_cloud_reads_objects(refused, words):
    error = refused(*words, *PREVIEW, code="E_CONFLICT")

    stored = [word.removeprefix("left=") for word in words if "s3://" in word]
    assert error["hint"] == f"multitalk s3 get {' '.join(stored)}"


@pytest.mark.parametrize(
    "option",
    [("--upload",), ("--upload-to", "s3://bucket/"), ("-o", "s3://bucket/a.mp4")],
)
def test_only_the_cloud_stores_videos(refused, inputs, option):
    error = refused(*inputs, *option, *PREVIEW, code="E_CONFLICT")

    without_it = shlex.join(["multitalk", "generate", *map(str, inputs), *PREVIEW])
    assert error["hint"] in (without_it, "Remove one of the two that the message names.")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-o", "s3://bucket/a.mp4", "--upload"), "E_CONFLICT"),
        (("-o", "s3://bucket/a.mp4", "--sidecar"), "E_CONFLICT"),
        (("-o", "s3://bucket/a"), "E_OUTPUT_NAME"),
        (("-o", "s3://bucket/.mp4"), "E_OUTPUT_NAME"),
        (("--upload-to", "s3://bucket/{n}.mp4"), "E_OUTPUT_NAME"),
        (("--upload-to", "s3://bucket/{who}.mp4"), "E_OUTPUT_NAME"),
        (("--upload-to", "outputs/a.mp4"), "E_S3_ADDRESS"),
        (("--upload-to", ""), "E_S3_ADDRESS"),
        (("-o", "s3:///a.mp4"), "E_S3_ADDRESS"),
        (("-o", "s3:/bucket/a.mp4"), "E_S3_ADDRESS"),
    ],
)
@pytest.mark.usefixtures("account")
def test_a_place_that_makes_no_sense_is_refused(refused, inputs, words, code):
    refused(*inputs, *words, "--backend", "modal", code=code)


@pytest.mark.parametrize("voice", ["s3://bucket", "s3://bucket/", "s3://b/", "s3://bucket/folder/"])
def test_an_input_is_one_object(refused, voice):
    refused("host.png", voice, *PREVIEW, code="E_S3_ADDRESS")


def test_one_object_is_one_voice(refused):
    refused("host.png", VOICE, VOICE.replace("s3", "S3"), *PREVIEW, code="E_SAME_VOICE")


def test_a_pattern_s_many_voices_are_refused_wherever_they_are(refused):
    voices = [f"s3://bucket/{number}.wav" for number in range(3)]

    refused("host.png", *voices, *PREVIEW, code="E_TOO_MANY_VOICES")
