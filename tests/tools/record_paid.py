"""Records finished and unfinished jobs as a version of the product leaves them behind.

    python -m pytest tests/tools/record_paid.py

writes tests/recordings/paid, which tests/end_to_end/test_paid.py reads; the README there says what
it holds. It is a module of tests because it needs their fixtures: a deployed app, tiny weights.
"""

import base64
import hashlib
import json
import shutil
import sqlite3
import wave
from pathlib import Path

import boto3
import modal
import pytest
from modal_proto import api_pb2 as pb
from PIL import Image

from multitalk_cli import contract
from multitalk_cli.media.video.recipe import read_recipe
from tests.end_to_end import paid
from tests.end_to_end.product import User, state_of, upload_pack
from tests.storage.stores import KEY_ID, SECRET

pytest_plugins = ("tests.modal_plane.fixtures",)

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "tests" / "recordings" / "paid"
HOME = Path("/tmp/multitalk-paid")
BUCKET, REGION = "paid-videos", "eu-west-3"
VOICES = {"first.wav": (0.30, 0.45), "second.wav": (1.20, 0.4), "long.wav": (0.30, 1.5)}
"""Where in the example's voice each begins, and how long it is, in seconds."""
SMALL = ("--backend", "modal", "--size", "64x64", "--steps", "10")
WIDE = ("--backend", "modal", "--size", "128x64", "--fit", "stretch", "--steps", "10")
LEFT, RIGHT = "box:5%,20%,45%,80%", "box:55%,20%,95%,80%"
FINISHED = {
    "drawn": ("host.png", "first.wav", *SMALL),
    "given": (f"s3://{BUCKET}/in/host.png", "first.wav", *SMALL, "--seed", "5", "-o", "given.mp4"),
    "sequence": ("host.png", "first.wav", "second.wav", *SMALL),
    "together": (
        "host.png", "--speaker", f"{RIGHT}=first.wav", "--speaker", f"{LEFT}=second.wav",
        "--order", "together", *WIDE, "--seed", "6", "-o", "together.mp4",
    ),
    "prompted": (
        "host.png", "second.wav", *SMALL, "--prompt", "A café, a host talks",
        "--negative-prompt", "blurred", "--embed-prompt", "--fps", "25", "--seed", "7",
        "-o", "prompted.mp4",
    ),
    "tuned": (
        "host.png", "first.wav", *SMALL, "--no-loudness", "--shift", "5", "--audio-guidance", "3",
        "--text-guidance", "1", "-o", "tuned.mp4",
    ),
    "contained": (
        "host.png", "second.wav", "--backend", "modal", "--size", "48x48", "--fit", "contain",
        "--background", "black", "--sample-steps", "12", "-o", "contained.mp4",
    ),
    "silent": (
        "host.png", "--speaker", f"{RIGHT}=second.wav", *WIDE, "--seed", "8", "-o", "silent.mp4",
    ),
    "stored": (
        "host.png", "first.wav", *SMALL, "--seed", "9", "-o",
        f"s3://{BUCKET}/out/{{image}}-{{seed}}.mp4",
    ),
    "uploaded": ("host.png", "second.wav", *SMALL, "--upload"),
}  # fmt: skip
"""Commands without their first word, `generate`, by the name of the recording."""
RUNNING = (
    "host.png", "long.wav", "--backend", "modal", "--size", "32x32", "--steps", "50", "--fps", "60",
    "--seed", "10", "-o", "running.mp4",
)  # fmt: skip
KEPT_IN_CLOUD = ("drawn", "stored")
"""Those of which the cloud's files are recorded; of the others these are gone, as after a week."""


@pytest.fixture(scope="module")
def inputs():
    """Small inputs that no decoder changes: a picture of the video's size, 16 kHz and mono."""
    for old in [path for path in TARGET.iterdir() if path.name != "README.md"]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    folder = TARGET / "inputs"
    folder.mkdir()
    examples = ROOT / "multitalk_cli" / "examples"
    with Image.open(examples / "portrait.png") as portrait:
        portrait.convert("RGB").resize((64, 64)).save(folder / "host.png", optimize=True)
    with wave.open(str(examples / "voice.wav"), "rb") as source:
        parameters = source.getparams()
        samples = source.readframes(parameters.nframes)
    for name, (start_s, duration_s) in VOICES.items():
        first, count = (2 * int(value * parameters.framerate) for value in (start_s, duration_s))
        with wave.open(str(folder / name), "wb") as target:
            target.setparams(parameters)
            target.writeframes(samples[first : first + count])
    return folder


@pytest.fixture(scope="module")
def s3(moto_url):
    """The store, with a bucket."""
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    client = boto3.client("s3", endpoint_url=moto_url, region_name=REGION, **keys)
    place = {"LocationConstraint": REGION}
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
    yield client
    client.close()


@pytest.fixture(scope="module")
def user(cloud, site, tiny_pack, inputs, s3, moto_url):
    """A user with the inputs, whose app is deployed with the secret of the store."""
    shutil.rmtree(HOME, ignore_errors=True)
    user = User(cloud, site, HOME)
    shutil.copytree(inputs, user.folder, dirs_exist_ok=True)
    s3.upload_file(str(inputs / "host.png"), BUCKET, "in/host.png")
    values = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_BUCKET_NAME": BUCKET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": moto_url,
    }
    modal.Secret.objects.create(contract.AWS_SECRET, values, allow_existing=True)
    assert user.run("deploy").code == 0
    upload_pack(tiny_pack)
    yield user
    shutil.rmtree(HOME)


def test_record(cloud, user, s3, rpcs):
    """Everything, in the order in which a user would meet it."""
    made = {name: _finish(user, words, s3, name) for name, words in FINISHED.items()}
    _fail(cloud, user)
    _cancel(cloud, user)
    _lose(cloud, user)
    shared = {name: cloud.entries(name) for name in (contract.STATES_DICT, contract.INDEX_DICT)}
    for name in KEPT_IN_CLOUD:
        _keep_files(made[name]["job"], cloud.volume(contract.JOBS_VOLUME).files())
    running = _interrupt(cloud, user, rpcs)
    for name, entries in running.pop("shared").items():
        shared[name] |= entries
    _write("jobs.json", {**made, "running": running})
    _write("shared.json", shared)
    shutil.copy(HOME / ".local/state/multitalk/jobs.sqlite3", TARGET / "jobs.sqlite3")
    _check()


def _write(name, value):
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    (TARGET / name).write_text(text, encoding="utf-8")


def _finish(user, words, s3, name):
    """Makes a video, keeps it and what it was asked for with, and gives what is known of it."""
    ran = user.run("generate", *words, "--keep-inputs", "--json")
    assert ran.code == 0, ran.stderr
    data, video = ran.data, TARGET / "videos" / f"{name}.mp4"
    video.parent.mkdir(exist_ok=True)
    key = "" if data["stored"] is None else data["stored"].removeprefix(f"s3://{BUCKET}/")
    if data["output"] == data["stored"]:
        s3.download_file(BUCKET, key, str(video))
    else:
        shutil.copy(data["output"], video)
    return {
        "words": words,
        "output": data["output"].removeprefix(f"{user.folder}/"),
        "key": key,
        "metadata": s3.head_object(Bucket=BUCKET, Key=key)["Metadata"] if key else {},
        "job": data["job"],
        "request": _keep_request(user.cloud, data["job"]),
    }


def _keep_request(cloud, job):
    """A job's inputs.json with the names of files in place of bytes."""
    text = cloud.volume(contract.JOBS_VOLUME).files()[f"{job}/inputs.json"]
    wire = json.loads(text, object_hook=_to_file)
    assert paid.inputs_json(wire).encode() == text
    return wire


def _to_file(value):
    if value.keys() != {"base64"}:
        return value
    data = base64.b64decode(value["base64"])
    name = hashlib.sha256(data).hexdigest()[:12]
    folder = TARGET / "encoded"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return {"file": name}


def _fail(cloud, user):
    running = user.start("generate", "host.png", "long.wav", *SMALL, "-o", "failed.mp4")
    cloud.out_of_memory(cloud.busy_container())
    ended = running.finish()
    assert "E_OUT_OF_MEMORY" in ended.stderr, ended.stderr


def _cancel(cloud, user):
    cloud.no_capacity()
    words = ("host.png", "long.wav", *SMALL, "--gpu", "h200", "-o", "cancelled.mp4", "--detach")
    job = user.run("generate", *words).stdout.strip()
    assert user.run("jobs", "cancel", job).code == 0
    cloud.calm()


def _lose(cloud, user):
    cloud.faults.boot_failure = 3
    words = ("host.png", "long.wav", *SMALL, "--seed", "11", "--gpu", "b200", "-o", "lost.mp4")
    ended = user.run("generate", *words)
    cloud.calm()
    assert "E_START" in ended.stderr, ended.stderr


def _keep_files(job, files):
    """Keeps a job's folder, without the inputs that are kept apart."""
    for path, data in files.items():
        if path.startswith(f"{job}/") and not path.endswith("/inputs.json"):
            target = TARGET / "volume" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _interrupt(cloud, user, rpcs):
    """Leaves a job that has made the first of its two windows, as it is at that moment."""
    rpcs.clear()
    job = user.run("generate", *RUNNING, "--detach").stdout.strip()
    cloud.wait_until(lambda: state_of(cloud, job).get("windows") == 1, "the second window")
    files = cloud.volume(contract.JOBS_VOLUME).files()
    shared = {
        name: {key: text for key, text in cloud.entries(name).items() if key.startswith(job)}
        for name in (contract.STATES_DICT, contract.INDEX_DICT)
    }
    call = json.loads(shared[contract.STATES_DICT][f"{job}/call/0"])
    assert f"{job}/result.json" not in files
    _keep_files(job, files)
    (request,) = rpcs.requests("FunctionMap")
    (TARGET / "call.bin").write_bytes(_input(cloud, request).SerializeToString())
    return {
        "words": RUNNING,
        "output": "running.mp4",
        "key": "",
        "metadata": {},
        "job": job,
        "call": call,
        "shared": shared,
        "request": _keep_request(cloud, job),
    }


def _input(cloud, request) -> pb.FunctionInput:
    """A call's arguments as they reached the queue, those of a blob in their place."""
    (item,) = request.pipelined_inputs
    message = pb.FunctionInput()
    message.CopyFrom(item.input)
    if message.args_blob_id:
        message.args = (cloud.root / "blobs" / message.args_blob_id).read_bytes()
    return message


def _check():
    """What was recorded is what the tests are for."""
    with sqlite3.connect(TARGET / "jobs.sqlite3") as db:
        states = sorted(state for (state,) in db.execute("SELECT state FROM jobs"))
    expected = ["cancelled", "failed", "lost", "running"]
    assert states == sorted([*expected, *["done"] * len(FINISHED)])
    for name in FINISHED:
        assert read_recipe(TARGET / "videos" / f"{name}.mp4")
