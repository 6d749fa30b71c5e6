"""The JSON of every command, frozen: keys and types of `data` as in tests/recordings/json.

RECORD_JSON=1 python -m pytest tests/cli/test_json_shapes.py writes them anew: a program that reads
the JSON must be able to read the new shape too, so that keys are only ever added.
"""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import typer.main

from multitalk_cli import contract
from multitalk_cli.cli.app import app
from multitalk_cli.cli.completion.tree import read_tree
from multitalk_cli.cli.views import (
    bench,
    cost,
    doctor,
    download,
    generate,
    jobs,
    logs,
    outcomes,
    secrets,
    status,
)
from multitalk_cli.cloud.bench import BenchResult, Comparison
from multitalk_cli.cloud.client import PoolStats
from multitalk_cli.cloud.containers import AppStatus
from multitalk_cli.cloud.logs import LogLine
from multitalk_cli.cloud.pack import UploadedPack
from multitalk_cli.cloud.secrets.setup import SavedSecret, SecretsResult
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.doctor.model import Proof
from multitalk_cli.doctor.report import make_report
from multitalk_cli.errors import RemoteError
from multitalk_cli.generation.rerun import RerunOutcome
from multitalk_cli.generation.result import DetachedJob, Video
from multitalk_cli.jobs.control import CancelledJob, FetchedVideo, FetchOutcome
from multitalk_cli.jobs.costs import ComparedDay
from multitalk_cli.jobs.ledger import Job, KnownInput, ledger_path
from multitalk_cli.jobs.listing import JobList
from multitalk_cli.jobs.refresh import ListedJob
from multitalk_cli.jobs.search import Total
from multitalk_cli.weights.download import (
    AddedLora,
    DownloadedWeights,
    ListedFile,
    ListedWeights,
    PrunedWeights,
)
from tests.recordings import HERE

pytestmark = pytest.mark.slow

FOLDER = HERE / "json"
NAMED_BY_DATA = {"codes", "images", "packs", "revisions", "settings", "sources"}
"""Objects whose keys are names of things, not fields."""


def shape(value, name=""):
    """Keys and types of a value; a list has the shape that its elements have in common."""
    if isinstance(value, dict):
        shapes = {key: shape(each, key) for key, each in value.items()}
        return {"*": common(list(shapes.values()))} if name in NAMED_BY_DATA else shapes
    if isinstance(value, list | tuple):
        return [common([shape(each) for each in value])] if value else []
    kinds = {bool: "true or false", str: "text", int: "number", float: "number"}
    return kinds.get(type(value), "null")


def common(shapes):
    """One shape for several: types joined by `or`, keys that some lack with a question mark."""
    if all(isinstance(each, dict) for each in shapes):
        keys = sorted({key for each in shapes for key in each})
        return {
            key if all(key in each for each in shapes) else f"{key}?": common(
                [each[key] for each in shapes if key in each]
            )
            for key in keys
        }
    texts = sorted({each if isinstance(each, str) else json.dumps(each) for each in shapes})
    return shapes[0] if len(texts) == 1 else " or ".join(texts)


def frozen(name, data):
    """Compares the shape with the recorded one."""
    path = FOLDER / f"{name}.json"
    found = json.dumps(shape(data), indent=1, sort_keys=True) + "\n"
    if os.environ.get("RECORD_JSON"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


# Commands that run here

RUNS = {
    "version": ["--version"],
    "help": ["help", "generate"],
    "explain": ["explain"],
    "explain-code": ["explain", "E_COST"],
    "config-show": ["config", "show"],
    "config-path": ["config", "path"],
    "config-set": ["config", "set", "fps", "25"],
    "config-unset": ["config", "unset", "fps"],
    "completion-show": ["completion", "show", "bash"],
    "completion-install": ["completion", "install", "bash"],
    "generate-preview": ["generate", "host.png", "voice.wav", "--backend", "preview"],
    "generate-plan": ["generate", "host.png", "voice.wav", "--plan"],
    "deploy-plan": ["deploy", "--dry-run"],
    "doctor": ["doctor"],
    "jobs-ls": ["jobs", "ls"],
    "jobs-cost": ["jobs", "cost", "--since", "2026-01-01"],
    "jobs-prune": ["jobs", "prune", "--older-than", "0m", "--yes"],
    "inspect": ["inspect", str(HERE / "paid/videos/prompted.mp4")],
    "verify": ["verify", str(HERE / "paid/videos/prompted.mp4")],
}
STORE_RUNS = {
    "s3-ls": ["s3", "ls", "--recursive"],
    "s3-get": ["s3", "get", "outputs/a.mp4"],
    "s3-put": ["s3", "put", "voice.wav"],
    "s3-url": ["s3", "url", "outputs/a.mp4"],
}


@pytest.fixture
def ledger():
    """The ledger of jobs that an earlier version paid for."""
    ledger_path().parent.mkdir(parents=True)
    shutil.copy(HERE / "paid" / "jobs.sqlite3", ledger_path())
    with sqlite3.connect(ledger_path()) as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone()[0] > 10


@pytest.mark.usefixtures("portrait", "voice", "ledger")
@pytest.mark.parametrize("name", RUNS)
def test_the_json_of_a_command_keeps_its_shape(cli, name):
    ran = cli(*RUNS[name], "--json")

    frozen(name, ran.json["data"])
    words = [word for word in RUNS[name] if word != "help" and not word.startswith("-")]
    assert ran.json["command"] == [*words, "multitalk"][0]


@pytest.mark.usefixtures("portrait", "voice")
def test_the_json_of_a_video_that_exists_keeps_its_shape(cli):
    first, again = (cli(*RUNS["generate-preview"], "--json") for _ in range(2))

    assert not first.json["data"]["already_made"]
    frozen("generate-existing", again.json["data"])


BATCH = {"batch", "batch-line", "batch-plan"}


@pytest.mark.usefixtures("portrait", "voice")
def test_the_json_of_a_batch_keeps_its_shape(cli):
    Path("list.csv").write_text("id,image,voice\na,host.png,voice.wav\n", encoding="utf-8")
    words = ("batch", "list.csv", "--backend", "preview", "--size", "192x96")

    frozen("batch-plan", cli(*words, "--plan", "--json").json["data"])
    frozen("batch-line", json.loads(cli(*words).stdout))
    frozen("batch", cli(*words, "--report", "report", "--json").json["data"])


def test_the_json_of_the_demo_is_that_of_a_preview(cli):
    ran = cli("demo", "--json")

    frozen("generate-preview", ran.json["data"])
    assert ran.json["command"] == "demo"


@pytest.mark.usefixtures("voice")
def test_the_json_of_ffmpeg_keeps_its_shape(cli):
    frozen("ffmpeg", cli("--json", "ffmpeg", "-i", "voice.wav", "copy.wav").json["data"])


@pytest.mark.usefixtures("portrait", "voice")
def test_the_json_of_a_video_made_again_is_that_of_a_preview(cli):
    assert cli(*RUNS["generate-preview"]).code == 0
    ran = cli("redo", "voice.preview.mp4", "--backend", "preview", "--json")
    frozen("generate-preview", ran.json["data"])


@pytest.mark.usefixtures("portrait")
def test_the_json_of_a_comparison_keeps_its_shape(cli, speech):
    words = ("generate", "host.png", speech("a.wav", 1.0), "--backend", "preview")
    for name, size in (("a", "256x128"), ("b", "320x160")):
        assert cli(*words, "--size", size, "--seed", "1", "-o", f"{name}.preview.mp4").code == 0
    frozen("compare", cli("compare", "a.preview.mp4", "b.preview.mp4", "--json").json["data"])


@pytest.mark.usefixtures("voice")
@pytest.mark.parametrize("name", STORE_RUNS)
def test_the_json_of_the_store_keeps_its_shape(cli, s3_client, s3_bucket, name):
    s3_client.put_object(Bucket=s3_bucket, Key="outputs/a.mp4", Body=b"video")
    cli("config", "set", "bucket", s3_bucket)

    frozen(name, cli(*STORE_RUNS[name], "--json").json["data"])


def test_the_json_of_a_failure_keeps_its_shape(cli):
    ran = cli("generate", "nowhere.png", "nowhere.wav", "--backend", "preview", "--json")

    frozen("failure", ran.json)


# Commands that need an account: their views

JOB = Job(
    id="7f3a", fingerprint="f", app="multitalk", environment="main", stack="current", gpu="h100",
    seed=1, target="/home/me/a.mp4", label="a", call_id="fc-1", price_usd=0.8, prompt="A host",
    recipe='{"size": [896, 448], "frames": 298, "fps": 24, "sample_steps": 20}', error="E_X",
    error_text="it failed", gpu_seconds=2.5, started_s=1.0, ended_s=2.0,
)  # fmt: skip
LISTED = ListedJob(
    job=JOB, event=contract.Step(window=2, windows=5, step=8, steps=20), windows=1,
    inputs=(KnownInput(sha256="0", location="/home/me/host.png"),), calls=("fc-1",),
)  # fmt: skip
CANCELLED = CancelledJob(job_id="7f3a", state="cancelled", is_confirmed=True)
QUALITY = contract.Quality(
    av_offset_frames=0.0,
    mouth_correlation=(0.9, None),
    color_drift=(0.4, 0.5),
    correlation_floor=(0.4, None),
    color_spread=(1.0, None),
    sharpness=(0.1, -0.1),
    face_stretch=(0.01, None),
)
RESULT = contract.Result(
    job_id="7f3a", backend="modal", model_output=True, frames=298, fps=24, width_px=896,
    height_px=448, size_bytes=6_100_000, seed=1, recipe="{}", adjusted=("cropped",), gpu="h100",
    gpu_seconds=702.1, price_usd=0.78, quality=QUALITY, stored="s3://bucket/a.mp4",
)  # fmt: skip
VIDEO = Video(
    path=Path("/home/me/a.mp4"), stored="s3://bucket/a.mp4", backend="modal", model_output=True,
    frames=298, fps=24, duration_s=12.42, seed=1, price_usd=0.78, adjusted=("cropped",),
    warnings=(), made=RESULT,
)  # fmt: skip
FILE = ListedFile(name="a", size_bytes=2, held_bytes=1, is_complete=False)
SECRET = SavedSecret(
    name="aws-secret", action="create", sources={"AWS_ACCESS_KEY_ID": "profile"}, is_verified=True
)
COMPARISON = Comparison(
    gpu="h100", persons=1, forward_s=1.0, expected_s=1.1, ratio=0.9, seconds_per_video_s=50.0,
    usd_per_video_s=0.05,
)  # fmt: skip
RECORD = {"client": "0.1.0", "contract": 1, "stacks": ["current"], "gpus": ["H100"]}

PROOF = Proof(
    rows=(
        ProofRow(part="umT5", limit=1e-3, ours=0.2, reference=0.2, difference=1e-6, is_within=True),
        ProofRow(part="attention fa3", limit=0.02, note="not installed"),
    ),
    facts={"encoders": {"transformers": "5.24.0"}, "step": {"gpu": "cpu"}},
)
VIEWS = {
    "doctor-model": lambda: doctor.data(make_report([], None, PROOF))["model"],
    "generate": lambda: generate.data(VIDEO),
    "generate-detached": lambda: generate.data(DetachedJob(job_id="7f3a")),
    "jobs-ls-running": lambda: jobs.list_data(
        JobList(jobs=(LISTED,)), Total(jobs=1, gpu_seconds=2.5, price_usd=0.8, unknown=0)
    ),
    "jobs-show": lambda: jobs.show_data(LISTED),
    "jobs-attach": lambda: jobs.video_data(
        FetchedVideo(job=JOB, result=RESULT, path=Path("/home/me/a.mp4"))
    ),
    "jobs-attach-detached": lambda: jobs.detached_data("7f3a"),
    "jobs-cancel": lambda: outcomes.all_cancelled_data([CANCELLED]),
    "jobs-cancel-several": lambda: outcomes.all_cancelled_data([CANCELLED, CANCELLED]),
    "jobs-fetch-several": lambda: outcomes.fetched_data(
        [
            FetchOutcome(
                job=JOB, video=FetchedVideo(job=JOB, result=RESULT, path=Path("/home/me/a.mp4"))
            ),
            FetchOutcome(job=JOB, error=RemoteError("gone", code="E_EXPIRED")),
        ]
    ),
    "jobs-rerun": lambda: outcomes.rerun_data(
        [
            RerunOutcome(job=JOB, job_id="8a1b", place="/home/me/a.mp4"),
            RerunOutcome(job=JOB, job_id="7f3a", error=RemoteError("gone", code="E_EXPIRED")),
        ]
    ),
    "jobs-logs": lambda: logs.log_data(JOB, [LogLine(time_s=1.0, source="stdout", text="done")]),
    "jobs-logs-followed": lambda: logs.followed_data(ListedJob(job=JOB)),
    "jobs-cost-check": lambda: cost.compared_data(
        [ComparedDay(day="2026-11-20", ledger_usd=1.0, billed_usd=1.1, others_usd=0.5)]
    ),
    "status": lambda: status.status_data(
        AppStatus(
            record=RECORD,
            pool=PoolStats(containers=1, running=0, backlog=0),
            idle_usd_per_minute=0.07,
        )
    ),
    "bench": lambda: bench.data(
        BenchResult(report={}, table=("h100",), comparisons=(COMPARISON,))
    ),
    "download": lambda: download.downloaded_data(
        DownloadedWeights(
            pack="bf16", fetched_bytes=1, size_bytes=2,
            revisions={"owner/name": "abc"}, price_usd=0.1, target={},
        )
    ),
    "download-preset": lambda: download.downloaded_data(
        DownloadedWeights(
            pack="bf16", fetched_bytes=1, size_bytes=2,
            revisions={"owner/name": "abc"}, price_usd=0.1, target={}, preset="fast", eight_bit="a",
        )
    ),
    "download-list": lambda: download.listed_data(
        ListedWeights(files=(FILE,), packs={"bf16": FILE}, revisions={"owner/name": "abc"})
    ),
    "download-prune": lambda: download.pruned_data(PrunedWeights(removed=("a",), size_bytes=2)),
    "download-lora": lambda: download.lora_data(
        AddedLora(
            name="fusionx", file="a", fetched_bytes=1, pack="p", target={}, sha256="0",
            licence="apache-2.0",
        )
    ),
    "upload-weights": lambda: download.uploaded_data(UploadedPack(files=5, size_bytes=2)),
    "setup-secrets": lambda: secrets.data(
        SecretsResult(environment="main", saved=(SECRET,), obstacle=None), ()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_the_json_of_a_view_keeps_its_shape(name):
    frozen(name, VIEWS[name]())


# The recordings


SIMPLE = {"login", "warm", "cool"}
"""Commands whose `data` is written where they end: {file}, {seconds, load_seconds}, {seconds}."""


def test_every_command_has_a_recorded_shape():
    root = read_tree(typer.main.get_command(app))
    names = {"-".join(each.path) for each in root.all() if each.path and not each.commands}
    recorded = {path.stem for path in FOLDER.glob("*.json")}
    same = {
        "demo": "generate-preview",
        "redo": "generate-preview",
        "finish": "jobs-attach",
        "jobs-fetch": "jobs-attach",
        "deploy": "deploy-plan",
        "jobs-wait": "jobs-ls",
    }

    assert {same.get(name, name) for name in names - SIMPLE} <= recorded
    assert recorded == {
        *RUNS,
        *STORE_RUNS,
        *VIEWS,
        "compare",
        *BATCH,
        "failure",
        "ffmpeg",
        "generate-existing",
    }


def test_a_shape_tells_keys_types_and_what_may_be_absent():
    data = {"a": [{"b": 1, "c": None}, {"b": "x"}], "d": [], "codes": {"E_X": 1}}

    assert shape(data) == {
        "a": [{"b": "number or text", "c?": "null"}],
        "d": [],
        "codes": {"*": "number"},
    }
