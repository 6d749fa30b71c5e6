"""Every error that needs no account is provoked; its next command must be one that can be typed.

It parses, or is a plain command of the shell, and is not the command that failed.
"""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from multitalk_cli.contract import PACK_FORMAT
from multitalk_cli.errors import CODES
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.media.video import ffmpeg
from tests.cli.test_next_command import parse
from tests.jobs.test_ledger import job_of
from tests.recordings import HERE

PREVIEW = ("--backend", "preview")
PAID = HERE / "paid" / "videos"
MADE = ("generate", "host.png", "voice.wav", *PREVIEW)
SHELL = {"mkdir", "mv", "chmod", "ls", "curl", "unset", "export", "for", "cd"}
"""Commands of a shell that mend something."""


def _broken_settings(text):
    return lambda: Path("multitalk.toml").write_text(text)


def _modal(text):
    def write():
        file = Path(os.environ["HOME"]) / ".modal.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def _cut_picture():
    Path("cut.png").write_bytes(Path("host.png").read_bytes()[:20_000])


def _cut_voice():
    Path("cut.wav").write_bytes(Path("voice.wav").read_bytes()[:4_000])


def _silence():
    header = Path("voice.wav").read_bytes()[:44]
    Path("silent.wav").write_bytes(header + bytes(Path("voice.wav").stat().st_size - 44))


def _tiny():
    from PIL import Image

    Image.new("RGB", (9, 9)).save("tiny.png")


def _huge():
    import io

    from PIL import Image

    stored = io.BytesIO()
    Image.new("RGB", (90, 90)).save(stored, "WEBP")
    data = bytearray(stored.getvalue())
    at = data.index(b"\x9d\x01\x2a") + 3
    # Width and height, 9000 each.
    data[at : at + 4] = bytes.fromhex("28232823")
    Path("huge.webp").write_bytes(data)


def _pack():
    Path("weights").mkdir()


def _stored():
    for place in ("weights/pack", "weights/8bit/transformer"):
        Path(place).mkdir(parents=True)
        changes = {"changes": {"base": "0" * 16, "loras": []}} if "8bit" in place else {}
        body = {"format_version": PACK_FORMAT, "files": [], "sources": [], **changes}
        Path(place, "manifest.json").write_text(json.dumps(body))


def _files(**content):
    def write():
        for name, text in content.items():
            Path(name.replace("_", ".")).write_text(text)

    return write


def _open_secrets():
    Path("keys").write_text("HF_TOKEN=hf_abcdefghijkl\n")
    Path("keys").chmod(0o644)


def _foreign_video():
    shutil.copy(PAID / "drawn.mp4", "paid.mp4")
    ffmpeg.run(["-i", "paid.mp4", "-c", "copy", "-map_metadata", "-1", "bare.mp4"])


def _old_job():
    """A job that an older version recorded, without its arguments."""
    ledger = Ledger()
    ledger.start(job_of("a" * 16))
    ledger.update("a" * 16, state="failed")


CASES = [
    ("E_USAGE", ["genrate", "host.png", "voice.wav"], None),
    ("E_USAGE", ["config", "set"], None),
    ("E_USAGE", ["jobs", "attach"], None),
    ("E_USAGE", ["jobs", "atach", "7f"], None),
    ("E_USAGE", ["completion", "install", "-o"], None),
    ("E_USAGE", ["help", "genrate"], None),
    ("E_USAGE", ["generate", "host.png"], None),
    ("E_USAGE", ["generate"], None),
    ("E_USAGE", [*MADE, "--stpes", "20"], None),
    ("E_NO_TOKEN", ["bench", "--gpu", "l4"], None),
    ("E_RANGE", [*MADE, "--steps", "5"], None),
    ("E_RANGE", [*MADE, "--gpu", "v100"], None),
    ("E_RANGE", [*MADE, "--size", "1000x1000"], None),
    ("E_RANGE", [*MADE, "--size", "big"], None),
    ("E_RANGE", [*MADE, "--background", "whit"], None),
    ("E_RANGE", [*MADE, "--seed", "-1"], None),
    ("E_RANGE", ["download", "--precision", "int4"], None),
    ("E_RANGE", ["download", "--precision", "fp8"], None),
    ("E_RANGE", ["download", "--lora", "xx"], None),
    ("E_RANGE", ["completion", "install", "bsh"], None),
    ("E_RANGE", ["warm", "99h"], None),
    ("E_RANGE", ["setup-secrets", "--only", "xyz"], None),
    ("E_CONFLICT", [*MADE, "--speaker", "left=voice.wav"], None),
    ("E_CONFLICT", [*MADE, "--detach"], None),
    ("E_CONFLICT", [*MADE, "--lora", "a", "--lora", "b"], None),
    ("E_CONFLICT", [*MADE, "--upload"], None),
    ("E_CONFLICT", ["download", "--preset", "fast", "--verify"], None),
    ("E_CONFLICT", ["download", "--preset", "fast", "--lora", "fusionx"], None),
    ("E_CONFLICT", ["download", "--to", "w", "--app", "studio"], None),
    ("E_UNKNOWN_CODE", ["explain", "E_FOO"], None),
    ("E_UNKNOWN_CODE", ["explain", "E_NO_JOBS"], None),
    ("E_SETTING", ["config", "set", "fsp", "25"], None),
    ("E_SETTING", ["config", "set", "size", "25"], None),
    ("E_SETTING", ["config", "set", "bucket", "s3://my-bucket/"], None),
    ("E_SETTING", ["config", "set", "fps", "900"], None),
    ("E_CONFIG", ["config", "show"], _broken_settings("fps = 900")),
    ("E_CONFIG", ["config", "show"], _broken_settings("fpps = 25")),
    ("E_CONFIG", ["config", "show"], _broken_settings("fps =")),
    ("E_CONFIG", ["config", "show"], lambda: Path("multitalk.toml").mkdir()),
    ("E_URL", ["generate", "https://example.com/a/face.png?x=1", "voice.wav", *PREVIEW], None),
    ("E_SWAPPED", ["generate", "voice.wav", "host.png", *PREVIEW], None),
    ("E_TOO_MANY_VOICES", [*MADE, "voice.wav", "voice.wav"], None),
    ("E_SAME_VOICE", [*MADE, "voice.wav"], None),
    ("E_SPEAKER", ["generate", "host.png", "--speaker", "face:3=voice.wav", *PREVIEW], None),
    ("E_SPEAKER", ["generate", "host.png", "--speaker=box:1,2,3=voice.wav", *PREVIEW], None),
    ("E_OUTPUT_NAME", [*MADE, "-o", "talk.avi"], None),
    ("E_OUTPUT_NAME", [*MADE, "-o", "{nope}.preview.mp4"], None),
    ("E_OUTPUT_EXISTS", MADE, lambda: Path("voice.preview.mp4").write_text("mine")),
    ("E_OUTPUT_PATH", [*MADE, "-o", "gone/"], None),
    ("E_FILE_MISSING", ["generate", "hots.png", "voice.wav", *PREVIEW], None),
    ("E_FILE_MISSING", ["generate", "gone/x.png", "voice.wav", *PREVIEW], None),
    ("E_FILE_UNREADABLE", ["generate", "host.png", "empty.wav", *PREVIEW], _files(empty_wav="")),
    ("E_FILE_UNREADABLE", ["generate", "weights", "voice.wav", *PREVIEW], _pack),
    ("E_FILE_UNREADABLE", ["upload-weights", "weights"], _pack),
    (
        "E_FILE_UNREADABLE", ["download", "--to", "w", "--lora", "a.safetensors"],
        _files(a_safetensors=""),
    ),
    ("E_FILE_UNREADABLE", ["upload-weights", "nothing"], None),
    ("E_IMAGE_FORMAT", ["generate", "a.png", "voice.wav", *PREVIEW], _files(a_png="text")),
    ("E_IMAGE_BROKEN", ["generate", "cut.png", "voice.wav", *PREVIEW], _cut_picture),
    ("E_IMAGE_SIZE", ["generate", "tiny.png", "voice.wav", *PREVIEW], _tiny),
    ("E_IMAGE_SIZE", ["generate", "huge.webp", "voice.wav", *PREVIEW], _huge),
    ("E_AUDIO_FORMAT", ["generate", "host.png", "a.wav", *PREVIEW], _files(a_wav="text")),
    ("E_AUDIO_BROKEN", ["generate", "host.png", "cut.wav", *PREVIEW], _cut_voice),
    ("E_AUDIO_SILENT", ["generate", "host.png", "silent.wav", *PREVIEW], _silence),
    ("E_RECIPE", ["redo", "bare.mp4"], _foreign_video),
    ("E_RECIPE_INPUT", ["redo", "paid.mp4", "--plan"], _foreign_video),
    ("E_RANGE", ["redo", "paid.mp4", "--seed", "old"], _foreign_video),
    ("E_RECIPE", ["verify", "bare.mp4"], _foreign_video),
    ("E_NO_BACKEND", ["generate", "host.png", "voice.wav"], None),
    ("E_MANIFEST", ["batch", "list.csv", *PREVIEW], _files(list_csv="image,voise\n1,2\n")),
    ("E_ROW_FILES", ["batch", "list.csv", *PREVIEW], _files(list_csv="image,voice\n1,2\n")),
    ("E_NO_TOKEN", ["status"], None),
    ("E_NO_TOKEN", [*MADE[:3], "--backend", "modal"], None),
    ("E_TOKEN", ["status"], _modal('[default]\ntoken_id = "ak-1"\n')),
    ("E_MODAL_CONFIG", ["status"], _modal("[default")),
    ("E_MODAL_CONFIG", ["status"], _modal('[work]\ntoken_id = "a"\ntoken_secret = "b"\n')),
    ("E_NO_JOB", ["jobs", "show", "7f"], None),
    ("E_NO_JOB", ["jobs", "fetch", "7f"], None),
    ("E_NO_ARGUMENTS", ["jobs", "rerun", "aaaa"], _old_job),
    ("E_NOT_FIRST", ["finish", "paid.mp4"], _foreign_video),
    ("E_RANGE", ["jobs", "ls", "--state", "runing"], None),
    ("E_RANGE", ["jobs", "cost", "--by", "days"], None),
    ("E_USAGE", ["jobs", "prune", "--older-than", "0m"], _old_job),
    ("E_WEIGHTS", [*MADE[:3], "--backend", "local", "--weights", "weights"], _pack),
    ("E_WEIGHTS", ["config", "set", "weights", "gone"], None),
    ("E_WEIGHTS", ["config", "set", "weights", "weights/8bit/transformer"], _stored),
    ("E_FILE_UNREADABLE", ["upload-weights", "weights/8bit/transformer"], _stored),
    ("E_GPU_TOO_SMALL", [*MADE[:3], "--plan", "--gpu", "t4", "--size", "2048x2048"], None),
    ("E_ATTENTION_STACK", [*MADE[:3], "--plan", "--attention", "fa2"], None),
    ("E_ATTENTION_STACK", [*MADE[:3], "--plan", "--gpu", "t4", "--attention", "fa3"], None),
    ("E_TIER", [*MADE[:3], "--plan", "--gpu", "a10g", "--preset", "fast"], None),
    ("E_TIER", [*MADE[:3], "--plan", "--stack", "cuda12.1", "--tier", "near"], None),
    ("E_RANGE", [*MADE[:3], "--plan", "--lora", "lightx2v"], None),
    ("E_RANGE", [*MADE[:3], "--plan", "--preset", "fast", "--steps", "20"], None),
    ("E_RANGE", [*MADE[:3], "--plan", "--preset", "fast", "--text-guidance", "5"], None),
    ("E_SECRET_SOURCE", ["setup-secrets", "--from-env"], None),
    ("E_SECRET_SOURCE", ["setup-secrets"], None),
    ("E_SECRET_FILE", ["setup-secrets", "--from-file", "keys"], _open_secrets),
    ("E_S3_ADDRESS", ["s3", "get", "s3://b/x"], None),
    ("E_S3_UNSET", ["s3", "get", "key"], None),
]  # fmt: skip
"""(code, words, what makes them fail) of errors that a machine without an account can meet."""

ELSEWHERE = {
    "E_BUG", "E_AUDIO_LENGTH", "E_AUDIO_NONE", "E_VIDEO_BROKEN", "E_DISK_FULL", "E_FFMPEG",
    "E_NO_FFMPEG",
    "E_LOCAL_EXTRA", "E_CONTRACT", "E_COST", "E_NOT_DEPLOYED", "E_WEIGHTS_MISSING",
    "E_ENVIRONMENT", "E_SECRET_EXISTS", "E_NO_SECRET", "E_SECRET_INCOMPLETE", "E_SECRET_VALUE",
    "E_REMOTE_PACKAGE", "E_DEPLOY", "E_LEDGER", "E_MODAL_VERSION", "E_PAYMENT_METHOD",
    "E_PERMISSION", "E_SPENDING_LIMIT",
    "E_EXPIRED", "E_INTERRUPTED", "E_NETWORK", "E_BILLING", "E_OUTPUT_TAKEN", "E_PROXY",
    "E_CERTIFICATE",
    "E_DISK_SPACE", "E_LORA", "E_LORA_MISSING", "E_MODEL_DIFFERS",
}  # fmt: skip
"""Codes that need an account, an hour, a full disk or a broken installation."""


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_", "MODAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("code", "words", "spoil"), CASES, ids=[" ".join(words)[:60] for _, words, _ in CASES]
)
def test_the_next_command_of_an_error_can_be_typed_and_is_another(
    cli, portrait, voice, code, words, spoil
):
    if spoil is not None:
        spoil()

    ran = cli(*words, "--json")

    assert (ran.error["code"], ran.code) == (code, int(CODES[code].exit_code)), ran.stderr
    lines = ran.error["hint"].splitlines()
    assert lines
    assert lines[0] != shlex.join(["multitalk", *map(str, words)])
    first = shlex.split(lines[0])[0]
    assert first in {"multitalk", *SHELL}, lines[0]
    for line in lines:
        if line.startswith("multitalk "):
            parse(shlex.split(line))


@pytest.mark.parametrize(
    ("typed", "others", "hint"),
    [
        ("hots.png", ["host.png"], "multitalk generate host.png voice.wav --backend preview"),
        ("host.jpg", ["host.png"], "multitalk generate host.png voice.wav --backend preview"),
        ("b.png", ["a.png", "b.txt.old"], "ls ."),
        ("voise.png", ["voice.wav"], "ls ."),
        ("gone/x.png", ["host.png"], "ls ."),
    ],
)
def test_a_missing_file_is_answered_with_a_similar_one(cli, voice, typed, others, hint):
    for name in others:
        Path(name).touch()

    assert cli("generate", typed, voice.name, *PREVIEW, "--json").error["hint"] == hint


def test_every_code_of_a_machine_without_an_account_is_provoked():
    of_stores_and_containers = {
        name for name in CODES if name.startswith(("E_S3_", "E_HUB", "E_STORAGE"))
    }
    remote = {name for name, row in CODES.items() if int(row.exit_code) in (5, 7, 8)}
    provoked = {code for code, _, _ in CASES}

    assert provoked | ELSEWHERE | of_stores_and_containers | remote == CODES.keys()


def test_a_hint_that_is_no_command_fails_these_tests():
    with pytest.raises((KeyError, typer.TyperException)):
        parse(shlex.split("multitalk download writes such a folder"))
