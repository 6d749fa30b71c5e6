"""`multitalk s3`: listings, fetching, storing, and keys with foreign names."""

import gzip
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from multitalk_cli.cli.views import s3
from multitalk_cli.storage import recent_keys
from multitalk_cli.storage.ranges import PART_BYTES
from tests.storage.stores import KEY_ID, use_credentials

pytestmark = pytest.mark.slow

VIDEO = os.urandom(2000)


@pytest.fixture
def filled(s3_client, s3_bucket, cli):
    """A bucket that is set, with five objects in outputs/; the newest is second.mp4.

    S3 dates objects in whole seconds; of equally old ones the last by name counts as the newest.
    """
    for key in ("earlier/a.mp4", "earlier/b.mp4", "first.mp4", "notes.txt", "second.mp4"):
        s3_client.put_object(Bucket=s3_bucket, Key=f"outputs/{key}", Body=VIDEO)
    assert cli("config", "set", "bucket", s3_bucket).code == 0
    return s3_bucket


# ls


@pytest.mark.usefixtures("filled")
def test_ls_shows_the_newest_last(cli):
    ran = cli("s3", "ls")

    assert (ran.code, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].split() == ["outputs/earlier/"]
    assert lines[-1].startswith("2 kB  ")
    assert lines[-1].endswith(" ago  outputs/second.mp4")
    assert len(lines) == 4


def test_ls_as_json(cli, filled):
    data = cli("s3", "ls", f"s3://{filled}/outputs/", "--recursive", "--json").json["data"]

    assert (data["bucket"], data["count"], data["folders"]) == (filled, 5, [])
    assert data["objects"][-1]["key"] == "outputs/second.mp4"
    assert data["objects"][-1]["size_bytes"] == 2000
    assert data["objects"][-1]["etag"] == hashlib.md5(VIDEO).hexdigest()
    assert data["objects"][-1]["modified"].endswith("+00:00")


@pytest.mark.usefixtures("filled")
def test_ls_shows_as_many_as_asked(cli):
    ran = cli("s3", "ls", "-r", "--limit", "1")

    assert [line.split()[-1] for line in ran.stdout.splitlines()] == ["outputs/second.mp4"]
    assert ran.stderr.startswith("4 older objects not shown: --limit N")


def test_ls_of_nothing(cli, filled):
    ran = cli("s3", "ls", "inputs/")

    assert (ran.code, ran.stdout) == (0, "")
    assert ran.stderr == f"s3://{filled}/inputs/ is empty\n"


@pytest.mark.parametrize("flags", [[], ["--recursive"]])
def test_ls_of_a_folder_needs_no_slash(cli, s3_client, filled, flags):
    s3_client.put_object(Bucket=filled, Key="outputs2/other.mp4", Body=VIDEO)

    bare, with_slash = (
        cli("s3", "ls", place, *flags, "--json").json["data"] for place in ("outputs", "outputs/")
    )

    assert bare == with_slash
    assert bare["objects"][-1]["key"] == "outputs/second.mp4"


@pytest.mark.usefixtures("filled")
def test_ls_of_the_beginning_of_a_key_shows_what_begins_so(cli):
    ran = cli("s3", "ls", "outputs/sec")

    assert [line.split()[-1] for line in ran.stdout.splitlines()] == ["outputs/second.mp4"]


@pytest.mark.parametrize("control", ["&#27;", "&#x1B;", "&#x1b;", "\x1b"])
def test_control_characters_of_a_key_are_read_although_xml_has_none(cli, scripted_s3, control):
    rows = (
        f"<Contents><Key>outputs/a{control}[2J&#9;&#xD800;.mp4</Key><Size>9</Size></Contents>"
        f"<CommonPrefixes><Prefix>outputs/b{control}/</Prefix></CommonPrefixes>"
    )
    scripted_s3(page=f"<ListBucketResult>{rows}</ListBucketResult>".encode())

    ran = cli("s3", "ls", "s3://bucket/outputs/", "--json")

    assert ran.code == 0
    assert ran.json["data"]["folders"] == ["outputs/b\x1b/"]
    (found,) = ran.json["data"]["objects"]
    assert found["key"] == "outputs/a\x1b[2J\t\ufffd.mp4"


def test_ls_escapes_what_could_move_the_cursor(cli, scripted_s3):
    scripted_s3(keys=("outputs/\x1b[2J.mp4",))

    ran = cli("s3", "ls", "s3://bucket/outputs/")

    assert "\x1b" not in ran.stdout
    assert "\\x1b[2J" in ran.stdout


# Wrong command lines


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["ls", "s3://"], "E_S3_ADDRESS"),
        (["get", "s3://"], "E_S3_ADDRESS"),
        (["get", "s3:///key"], "E_S3_ADDRESS"),
        (["get", "s3://bucket"], "E_S3_ADDRESS"),
        (["get", "s3://bucket/"], "E_S3_ADDRESS"),
        (["get", ""], "E_S3_ADDRESS"),
        (["url", "s3://bucket/"], "E_S3_ADDRESS"),
        (["put", "a.wav", "s3://"], "E_S3_ADDRESS"),
        (["get", "\udcff"], "E_S3_ADDRESS"),
        (["get"], "E_USAGE"),
        (["get", "--latest", "a/", "b/"], "E_CONFLICT"),
        (["ls", "--limit", "0"], "E_RANGE"),
        (["ls", "--limit", "ten"], "E_RANGE"),
        (["url", "k", "--expires", "8d"], "E_RANGE"),
        (["url", "k", "--expires", "0"], "E_RANGE"),
        (["url", "k", "--expires", "soon"], "E_RANGE"),
        (["ls", "--endpoint-url", "nowhere"], "E_S3_ADDRESS"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_a_wrong_command_line_is_refused(cli, words, code):
    ran = cli("s3", *words, "--json")

    assert (ran.code, ran.error["code"]) == (2, code)


@pytest.mark.parametrize(("expires", "right"), [("8d", "7d"), ("0", "1h"), ("soon", "1h")])
def test_a_wrong_expiry_is_answered_with_the_key_that_was_typed(cli, expires, right):
    ran = cli("s3", "url", "my key", "--expires", expires, "--json")

    assert ran.error["hint"] == f"multitalk s3 url 'my key' --expires {right}"


def test_a_key_alone_needs_a_bucket(cli):
    for words in (["ls"], ["get", "k"], ["get", "--latest"], ["put", "f"], ["url", "k"]):
        ran = cli("s3", *words, "--json")

        assert (ran.code, ran.error["code"]) == (4, "E_S3_UNSET")
        assert ran.error["hint"].startswith("multitalk config set bucket")


# get


@pytest.mark.usefixtures("filled")
def test_get_prints_the_path_alone(cli, folder):
    ran = cli("s3", "get", "outputs/second.mp4")

    assert (ran.code, ran.stdout) == (0, f"{folder / 'second.mp4'}\n")
    assert "sha256 OK" in ran.stderr or "etag OK" in ran.stderr
    assert (folder / "second.mp4").read_bytes() == VIDEO


def test_get_as_json(cli, filled, folder):
    (file,) = cli("s3", "get", "--latest", "-o", "v.mp4", "--json").json["data"]["files"]

    assert file == {
        "address": f"s3://{filled}/outputs/second.mp4",
        "output": str(folder / "v.mp4"),
        "size_bytes": 2000,
        "checked": "etag",
        "resumed_bytes": 0,
        "already_there": False,
    }


def test_latest_of_a_folder_needs_no_slash(cli, s3_client, filled, folder):
    s3_client.put_object(Bucket=filled, Key="outputs/earlier-than/z.mp4", Body=VIDEO)

    assert cli("s3", "get", "--latest", "outputs/earlier").code == 0
    assert [path.name for path in folder.iterdir()] == ["b.mp4"]


@pytest.mark.parametrize("encoding", ["gzip", "aws-chunked,gzip"])
def test_a_packed_object_is_fetched_as_it_is_and_that_is_said(
    cli, s3_client, filled, folder, encoding
):
    packed = gzip.compress(VIDEO)
    s3_client.put_object(
        Bucket=filled, Key="outputs/a b.txt", Body=packed, ContentEncoding=encoding
    )

    ran = cli("s3", "get", "outputs/a b.txt")

    assert (folder / "a b.txt").read_bytes() == packed
    (command,) = (line.strip() for line in ran.stderr.splitlines() if "gunzip" in line)
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert (folder / "unpacked-a b.txt").read_bytes() == VIDEO


def test_an_encoding_that_is_none_is_not_mentioned(cli, s3_client, filled):
    s3_client.put_object(
        Bucket=filled, Key="outputs/a.txt", Body=VIDEO, ContentEncoding="aws-chunked"
    )

    assert "encoding" not in cli("s3", "get", "outputs/a.txt").stderr


def test_latest_of_another_place(cli, filled, folder):
    assert cli("s3", "get", "--latest", f"s3://{filled}/outputs/earlier/").code == 0
    assert (folder / "b.mp4").exists()

    ran = cli("s3", "get", "--latest", "nowhere/", "--json")
    assert (ran.code, ran.error["code"]) == (6, "E_S3_KEY")


@pytest.mark.usefixtures("filled")
def test_patterns_and_several_keys(cli, folder):
    (folder / "videos").mkdir()

    ran = cli(
        "s3", "get", "outputs/*.mp4", "outputs/notes.txt", "outputs/first.mp4", "-o", "videos"
    )

    assert ran.code == 0
    assert ran.stdout.splitlines() == [
        str(folder / "videos" / name) for name in ("first.mp4", "second.mp4", "notes.txt")
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("outputs/**.mp4", ["a.mp4", "b.mp4", "first.mp4", "second.mp4"]),
        ("outputs/*/[ab].mp4", ["a.mp4", "b.mp4"]),
        ("*/first?mp4", ["first.mp4"]),
    ],
)
@pytest.mark.usefixtures("filled")
def test_stars_match_as_in_a_shell(cli, folder, pattern, names):
    assert cli("s3", "get", pattern).code == 0
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_key_with_brackets_can_be_named(cli, s3_client, filled, folder):
    s3_client.put_object(Bucket=filled, Key="outputs/take [1].mp4", Body=VIDEO)

    assert cli("s3", "get", "outputs/take [1].mp4").code == 0
    assert [path.name for path in folder.iterdir()] == ["take [1].mp4"]


def test_a_pattern_that_matches_nothing(cli, filled):
    ran = cli("s3", "get", "outputs/*.mov", "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_S3_KEY")
    assert ran.error["hint"] == f"multitalk s3 ls s3://{filled}/outputs/ --recursive"


@pytest.mark.usefixtures("filled")
def test_get_overwrites_only_with_force(cli, folder):
    (folder / "second.mp4").write_bytes(b"mine")

    ran = cli("s3", "get", "outputs/second.mp4", "--json")
    assert (ran.code, ran.error["code"]) == (3, "E_OUTPUT_EXISTS")
    assert (folder / "second.mp4").read_bytes() == b"mine"

    assert cli("s3", "get", "outputs/second.mp4", "--force").code == 0
    assert (folder / "second.mp4").read_bytes() == VIDEO


@pytest.mark.usefixtures("filled")
def test_get_again_is_done_already(cli):
    cli("s3", "get", "outputs/second.mp4")

    ran = cli("s3", "get", "outputs/second.mp4")

    assert ran.code == 0
    (line,) = ran.stderr.splitlines()
    assert line.startswith("present     s3://")
    assert line.endswith("2 kB, etag OK: not fetched again")
    assert cli("s3", "get", "outputs/second.mp4", "--json").json["data"]["files"][0][
        "already_there"
    ]


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["outputs/first.mp4", "outputs/second.mp4", "-o", "one.mp4"], "E_OUTPUT_NAME", 2),
        (["outputs/first.mp4", "-o", ""], "E_OUTPUT_NAME", 2),
        (["outputs/first.mp4", "-o", "no/where.mp4"], "E_OUTPUT_PATH", 3),
        (["outputs/first.mp4", "-o", "folder/"], "E_OUTPUT_PATH", 3),
        (["outputs/nothing.mp4"], "E_S3_KEY", 6),
        (["s3://no-such-bucket/k"], "E_S3_BUCKET", 6),
    ],
)
@pytest.mark.usefixtures("filled")
def test_get_refuses(cli, folder, words, code, exit_code):
    ran = cli("s3", "get", *words, "--json")

    assert (ran.code, ran.error["code"]) == (exit_code, code)
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("filled")
def test_two_objects_never_become_one_file(cli, s3_client, filled, folder):
    s3_client.put_object(Bucket=filled, Key="inputs/first.mp4", Body=b"x")

    ran = cli("s3", "get", "outputs/first.mp4", "inputs/first.mp4", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_OUTPUT_NAME")
    assert not list(folder.iterdir())


HOSTILE = [
    "outputs/..",
    "outputs/.",
    "outputs/.bashrc",
    "outputs/a\nb",
    "outputs/a\x1b[2Jb",
    "../..",
    "outputs/\u202emp4",
    "outputs/a\x7f",
]


@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
def test_a_hostile_key_is_not_a_name(cli, scripted_s3, folder, key):
    scripted_s3(body=VIDEO, keys=(key,))
    before = sorted(folder.parent.rglob("*"))

    ran = cli("s3", "get", f"s3://bucket/{key}")

    assert (ran.code, ran.stdout) == (2, "")
    assert " -o FILE\n" in ran.stderr
    assert "\x1b" not in ran.stderr
    assert sorted(folder.parent.rglob("*")) == before


def test_a_hostile_key_among_others_is_left_out(cli, scripted_s3, folder):
    etag = f'"{hashlib.md5(VIDEO).hexdigest()}"'
    scripted_s3(body=VIDEO, etag=etag, keys=("outputs/a.mp4", "outputs/folder/", *HOSTILE))

    ran = cli("s3", "get", "s3://bucket/*/*")

    assert ran.code == 0
    assert ran.stderr.count("is skipped") == len(HOSTILE)
    assert [path.name for path in folder.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("key", ["../../escape.mp4", "/etc/escape.mp4", "a/../../escape.mp4"])
def test_a_key_cannot_leave_the_folder(cli, s3_client, filled, folder, key):
    s3_client.put_object(Bucket=filled, Key=key, Body=b"evil")

    ran = cli("s3", "get", f"s3://{filled}/{key}")

    assert (ran.code, ran.stdout) == (0, f"{folder / 'escape.mp4'}\n")
    assert not (folder.parent / "escape.mp4").exists()


# get, interrupted


def wait_for_part(folder, least):
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size >= least for path in folder.glob(".*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -15)],
)
def test_a_killed_get_fetches_only_the_rest(cli, started, scripted_s3, folder, number, code):
    body = os.urandom(1 << 20) * 100
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    server = scripted_s3(body=body, etag=etag, delay_s=0.5)
    words = ("s3", "get", "s3://bucket/k.mp4")
    store = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("AWS_")]
    child = started("env", *store, "multitalk", *words)
    wait_for_part(folder, PART_BYTES)

    child.send_signal(number)
    error = child.communicate()[1].decode()

    assert child.returncode == code
    assert not (folder / "k.mp4").exists()
    if number != signal.SIGKILL:
        assert error.splitlines()[-1] == "interrupted; the same command resumes"
    (part,) = folder.glob(".*.part")
    kept = part.stat().st_size
    time.sleep(2 * server.delay_s)  # what was asked for before the end is still being sent
    server.delay_s = 0.0
    server.ranges.clear()

    ran = cli(*words)

    assert (ran.code, (folder / "k.mp4").read_bytes() == body) == (0, True)
    assert server.sent_bytes == len(body) - kept
    assert kept >= PART_BYTES


def test_progress_as_json(cli, scripted_s3):
    body = b"x" * (3 * PART_BYTES)
    scripted_s3(body=body, etag=f'"{hashlib.md5(body).hexdigest()}"')

    ran = cli("s3", "get", "s3://bucket/k.mp4", "--progress", "json")

    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    events = [line for line in lines if line["event"] == "stage"]
    assert events[-1]["done"] == events[-1]["total"] == len(body)
    assert {event["name"] for event in events} == {"downloading"}


# put


def test_put_and_get(cli, filled, folder, voice):
    ran = cli("s3", "put", "voice.wav")
    assert (ran.code, ran.stdout) == (0, f"s3://{filled}/outputs/voice.wav\n")

    assert cli("s3", "get", "outputs/voice.wav", "-o", "back.wav").code == 0
    assert (folder / "back.wav").read_bytes() == voice.read_bytes()


@pytest.mark.usefixtures("voice")
@pytest.mark.parametrize(
    ("key", "becomes"),
    [
        ("inputs/", "inputs/voice.wav"),
        ("inputs/b.wav", "inputs/b.wav"),
        ("s3://{}", "voice.wav"),
        ("s3://{}/in/", "in/voice.wav"),
    ],
)
def test_put_names_the_object(cli, filled, key, becomes):
    ran = cli("s3", "put", "voice.wav", key.format(filled), "--json")

    assert ran.json["data"]["address"] == f"s3://{filled}/{becomes}"


@pytest.mark.usefixtures("filled")
def test_progress_of_put(cli, folder):
    (folder / "big.mp4").write_bytes(b"x" * (2 * PART_BYTES + 1))

    ran = cli("s3", "put", "big.mp4", "--progress", "json")

    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    events = [line for line in lines if line["event"] == "stage"]
    assert {event["name"] for event in events} == {"uploading"}
    assert events[-1]["done"] == events[-1]["total"] == 2 * PART_BYTES + 1


@pytest.mark.usefixtures("filled")
def test_put_overwrites_only_with_force(cli, folder):
    (folder / "second.mp4").write_bytes(b"other")

    ran = cli("s3", "put", "second.mp4", "--json")
    assert (ran.code, ran.error["code"]) == (3, "E_S3_EXISTS")

    assert cli("s3", "put", "second.mp4", "--force").code == 0


@pytest.mark.usefixtures("filled")
def test_put_refuses_what_is_no_file(cli, folder):
    (folder / "empty").touch()
    for name, code in [("no.wav", "E_FILE_MISSING"), ("empty", "E_FILE_UNREADABLE"),
                       (".", "E_FILE_UNREADABLE")]:  # fmt: skip
        ran = cli("s3", "put", name, "--json")
        assert (ran.code, ran.error["code"]) == (3, code)


@pytest.fixture
def recordings(folder):
    """Three sounds with contents of their own."""
    (folder / "inputs").mkdir()
    for name in ("a.wav", "b.wav", "inputs/c.wav"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["a.wav", "b.wav", "in/"], ["in/a.wav", "in/b.wav"]),
        (["a.wav", "b.wav", "inputs/c.wav", "s3://{}/in/"], ["in/a.wav", "in/b.wav", "in/c.wav"]),
        (["a.wav", "b.wav", "s3://{}"], ["a.wav", "b.wav"]),
        (["a.wav", "inputs/"], ["inputs/a.wav"]),
        (["a.wav", "a.wav"], ["a.wav"]),
        (["a.wav", "other.wav"], ["other.wav"]),
        (["a.wav", "s3://{}/inputs/c.wav"], ["inputs/c.wav"]),
    ],
)
def test_put_stores_every_file_under_its_own_name(cli, filled, s3_client, folder, words, keys):
    ran = cli("s3", "put", *(word.format(filled) for word in words), "--json")

    assert ran.code == 0, ran.stdout
    data = ran.json["data"]
    assert [file["address"] for file in data["files"]] == [f"s3://{filled}/{key}" for key in keys]
    assert ("address" in data) == (len(keys) == 1)
    for key, source in zip(keys, words, strict=False):
        stored = s3_client.get_object(Bucket=filled, Key=key)["Body"].read()
        assert stored == (folder / source).read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["a.wav", "b.wav"], "E_CONFLICT",
         "multitalk s3 put a.wav b.wav outputs/\nor multitalk s3 put a.wav s3://BUCKET/b.wav"),
        (["a.wav", "b.wav", "inputs/c.wav"], "E_CONFLICT",
         "multitalk s3 put a.wav b.wav inputs/c.wav outputs/"),
        (["a.wav", "inputs"], "E_CONFLICT", "multitalk s3 put a.wav inputs outputs/"),
        (["a.wav", "b.wav", "in"], "E_CONFLICT", "multitalk s3 put a.wav b.wav in/"),
        (["a.wav", "a.wav", "in/"], "E_CONFLICT", "store them one by one, each with a KEY"),
        (["a.wav", "b.wav", "s3://bucket/k"], "E_CONFLICT",
         "multitalk s3 put a.wav b.wav s3://bucket/k/"),
        (["a.wav", "gone.wav", "in/"], "E_FILE_MISSING", ""),
        (["a.wav", "inputs", "in/"], "E_FILE_UNREADABLE", ""),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("recordings")
def test_put_stores_nothing_under_a_wrong_name(cli, filled, s3_client, words, code, hint):
    before = s3_client.list_objects_v2(Bucket=filled)["KeyCount"]

    ran = cli("s3", "put", *words, "--json")

    assert (ran.code, ran.error["code"]) == (3 if "FILE" in code else 2, code)
    assert ran.error["hint"].startswith(hint)
    assert s3_client.list_objects_v2(Bucket=filled)["KeyCount"] == before


@pytest.mark.usefixtures("filled", "recordings")
def test_a_pattern_of_a_shell_is_safe(cli, folder):
    """Two files of a pattern are refused, three as well: none becomes a KEY."""
    for words in (sorted(folder.glob("*.wav")), sorted(folder.glob("**/*.wav"))):
        assert cli("s3", "put", *words, "--json").error["code"] == "E_CONFLICT"
        ran = cli("s3", "put", *words, "outputs/")
        assert (ran.code, len(ran.stdout.splitlines())) == (0, len(words))


# Folders as consoles mark them


@pytest.fixture
def marked(s3_client, filled):
    """The bucket with the empty objects of a console; the newest is one of them."""
    for key in ("outputs/", "outputs/earlier/", "empty/", "outputs/zz/"):
        s3_client.put_object(Bucket=filled, Key=key, Body=b"")
    return filled


@pytest.mark.usefixtures("marked")
def test_marks_of_folders_are_no_objects(cli, folder):
    data = cli("s3", "ls", "--recursive", "--json").json["data"]
    assert (data["count"], data["size_bytes"]) == (5, 5 * len(VIDEO))
    assert not [found["key"] for found in data["objects"] if found["key"].endswith("/")]
    assert "is empty" in cli("s3", "ls", "empty/").stderr

    assert cli("s3", "get", "--latest").code == 0
    assert (folder / "second.mp4").read_bytes() == VIDEO
    assert cli("s3", "get", "--latest", "empty/", "--json").error["code"] == "E_S3_KEY"


@pytest.mark.parametrize("command", ["get", "url"])
@pytest.mark.parametrize("key", ["outputs/", "outputs/earlier/", "nowhere/"])
def test_a_folder_is_not_fetched(cli, marked, folder, command, key):
    ran = cli("s3", command, key, "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_S3_ADDRESS")
    assert ran.error["message"] == f"{key!r} is a folder: its objects are {key + '*'!r}"
    assert ran.error["hint"] == f"multitalk s3 get 's3://{marked}/{key}*'"
    assert not list(folder.iterdir())


# Outputs that are no files


@pytest.fixture(params=["pipe", "socket", "device", "link to a device"])
def special(request, folder):
    """A path that a file must not replace."""
    path = folder / "special"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("special")
    else:
        path.symlink_to("/dev/null")
    return Path("/dev/null") if request.param == "device" else path


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
@pytest.mark.usefixtures("filled")
def test_only_files_are_replaced(cli, special, force):
    before = special.lstat()

    ran = cli("s3", "get", "outputs/first.mp4", "-o", special, *force, "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_OUTPUT_PATH")
    assert "which a file cannot replace" in ran.error["message"]
    assert (special.lstat().st_mode, special.lstat().st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize(
    "text", ["https://bucket.s3.amazonaws.com/k.mp4", "http://127.0.0.1:9000/bucket/k"]
)
@pytest.mark.usefixtures("filled")
def test_a_web_address_is_no_key(cli, text):
    ran = cli("s3", "get", text, "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_S3_ADDRESS")
    assert "is a web address" in ran.error["message"]


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://b/k", "names have 3 to 255 characters"),
        ("s3://ab/", "names have 3 to 255 characters"),
        ("s3://my bucket/k", "letters, digits, dots and dashes only"),
        ("s3://-bucket/k", "letters, digits, dots and dashes only"),
        ("s3:///k", "names no bucket"),
    ],
)
def test_a_bucket_that_cannot_be_is_explained(cli, uri, why):
    for words in (["s3", "ls", uri], ["s3", "put", "x", uri]):
        ran = cli(*words, "--json")
        assert (ran.code, ran.error["code"]) == (2, "E_S3_ADDRESS")
        assert why in ran.error["message"]


# url


@pytest.mark.usefixtures("filled")
def test_a_url_can_be_read_by_anybody(cli):
    ran = cli("s3", "url", "outputs/second.mp4", "--expires", "45m")

    (url,) = ran.stdout.splitlines()
    assert "X-Amz-Expires=2700" in url
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == VIDEO


@pytest.mark.usefixtures("filled")
def test_a_url_of_nothing_is_refused(cli):
    assert cli("s3", "url", "outputs/nothing.mp4", "--json").error["code"] == "E_S3_KEY"


@pytest.mark.usefixtures("filled")
def test_a_url_of_a_session_ends_with_it(cli, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session")

    assert "expires with the session" in cli("s3", "url", "outputs/second.mp4").stderr


# Credentials


@pytest.mark.usefixtures("filled")
def test_a_profile_of_the_users_configuration(cli, moto_url, tmp_path, monkeypatch):
    config = tmp_path / "aws"
    config.write_text(
        f"[profile work]\naws_access_key_id={KEY_ID}\naws_secret_access_key=s\n"
        f"region=us-east-1\nendpoint_url={moto_url}\n"
    )
    use_credentials(monkeypatch, moto_url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    assert cli("s3", "ls", "--profile", "work").code == 0
    assert cli("s3", "ls", "--json").error["code"] == "E_S3_CREDENTIALS"


@pytest.mark.usefixtures("filled")
def test_no_credentials_name_the_next_command(cli, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    ran = cli("s3", "ls")

    assert (ran.code, ran.stdout) == (4, "")
    assert "multitalk s3 ls --profile NAME" in ran.stderr


# What completion knows


def test_keys_that_were_seen_are_remembered(cli, filled):
    cli("s3", "ls", "--recursive")

    known = list(recent_keys.known())

    assert known[0] == f"s3://{filled}/outputs/second.mp4"
    assert len(known) == 5
    assert stat.S_IMODE(recent_keys.keys_path().stat().st_mode) == 0o600


def test_only_so_many_keys_are_kept():
    recent_keys.remember(f"s3://b/{number}" for number in range(1500))
    recent_keys.remember(["s3://b/new", "s3://b/with\nline"])

    known = list(recent_keys.known())

    assert (len(known), known[:2]) == (1000, ["s3://b/new", "s3://b/0"])


def test_a_place_that_cannot_be_written_disturbs_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recent_keys.keys_path().mkdir(parents=True)

    recent_keys.remember(["s3://b/k"])

    assert list(recent_keys.known()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s ago"), (42, "42 s ago"), (7200, "2 h ago"), (3 * 86400, "3 days ago")],
)
def test_ages(seconds, text):
    assert s3.age(seconds) == text
