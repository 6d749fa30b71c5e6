"""Jobs, videos and containers as lines and JSON."""

import json
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.cli.layout import plain
from multitalk_cli.cli.views import jobs as view
from multitalk_cli.cli.views import outcomes
from multitalk_cli.cli.views import status as status_view
from multitalk_cli.cloud.client import PoolStats
from multitalk_cli.cloud.containers import AppStatus
from multitalk_cli.errors import RefusedError
from multitalk_cli.generation.rerun import RerunOutcome
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.control import CancelledJob, FetchedVideo
from multitalk_cli.jobs.ledger import Job, KnownInput
from multitalk_cli.jobs.refresh import ListedJob
from multitalk_cli.jobs.search import Total

RECIPE = {
    "size": [896, 448], "frames": 298, "fps": 24, "windows": [81, 81, 81, 81, 77],
    "sample_steps": 20, "seed_drawn": True,
}  # fmt: skip
RESULT = {"gpu": "h200", "frames": 298, "fps": 24, "size_bytes": 6_100_000, "stored": None}
STEP = contract.Step(window=1, windows=2, step=3, steps=20)
NOW_S = datetime(2026, 11, 20, 14, 30).timestamp()
PICTURE = KnownInput(sha256="1" * 64, location="/pictures/host.jpg")
VOICE = KnownInput(sha256="2" * 64, location="/voices/talk.wav")


def job(**changes):
    values = {
        "id": "abcdabcdabcdabcd", "fingerprint": "f", "app": "multitalk", "environment": "",
        "stack": "current", "gpu": "h100", "seed": 7, "target": "/v/host.mp4", "label": "host",
        "recipe": json.dumps(RECIPE), "state": jobs_ledger.RUNNING, "call_id": "fc-1",
        "attempt": 1, "created_s": NOW_S - 160.0, "started_s": NOW_S - 100.0,
        "prompt": "A host talks",
    }  # fmt: skip
    return Job(**values | changes)


def plain_row(row):
    (line,) = plain(row, str)
    label, _, text = line.partition(" ")
    return label, text.strip()


def cells(listed):
    """The cells of a job's row."""
    (table,) = view.list_blocks([listed], NOW_S)
    return dict(zip(table.titles, table.rows[0], strict=True))


def test_a_row_tells_when_what_and_how_much():
    listed = ListedJob(job=job(price_usd=0.31), event=STEP, inputs=(PICTURE, VOICE))

    assert cells(listed) == {
        "id": "abcdabcd", "started": "14:27", "state": "running 1/2",
        "price": "$0.31", "what": "/v/host.mp4", "inputs": "host.jpg, talk.wav",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"started_s": None}, "queued"),
        ({"state": "done"}, "done, not fetched"),
        ({"state": "done", "fetched_s": 1.0}, "file missing"),
        ({"state": "done", "fetched_s": 1.0, "target": "s3://b/k.mp4"}, "done"),
        ({"state": "failed", "error": "E_BLACK"}, "failed, E_BLACK"),
        ({"state": "lost", "error": "E_TIMEOUT"}, "stopped, E_TIMEOUT"),
        ({"state": "cancelled"}, "cancelled"),
        ({"state": "expired"}, "expired"),
    ],
)
def test_states_in_words(changes, words):
    values = {"ended_s": time.time(), "updated_s": time.time()} | changes
    listed = ListedJob(job=job(**values))

    assert view.state_text(listed) == words
    word = words.partition(", E_")[0].removeprefix("done, ")
    assert cells(listed)["state"] == word


def test_other_calls_are_named_by_their_kind():
    named = [cells(ListedJob(job=job(kind=kind, label=label, target="", state="done")))["what"]
             for kind, label in (("download", "bf16"), ("bench", "bench"))]  # fmt: skip

    assert named == ["download bf16", "bench"]


def test_no_jobs_are_no_table_and_sums_are_a_line():
    total = Total(jobs=12, gpu_seconds=2460.0, price_usd=4.2, unknown=1)

    assert view.list_blocks([], NOW_S) == []
    (line,) = view.list_blocks([], NOW_S, total)
    assert line.text == "12 jobs, 41 min of GPU, $4.20, 1 price unknown"


def test_what_a_person_asks_about_a_finished_job():
    done = job(
        state="done", fetched_s=1.0, ended_s=NOW_S, gpu_seconds=95.4, result=json.dumps(RESULT),
        price_usd=0.019836167813623178,
    )  # fmt: skip
    listed = ListedJob(job=done, windows=5, inputs=(PICTURE, VOICE), calls=("fc-1",))

    rows = dict(plain_row(row) for row in view.show_blocks(listed, NOW_S))

    assert rows == {
        "job": "abcdabcdabcdabcd", "state": "file missing",
        "video": "/v/host.mp4, 12.4 s, 6.1 MB", "picture": "/pictures/host.jpg",
        "voice": "/voices/talk.wav", "prompt": "A host talks",
        "size": "896x448, 298 frames at 24 fps, 5 windows, 5 finished", "work": "20 steps",
        "seed": "7 (random)", "gpu": "h200", "created": "14:27",
        "started": "14:28, waited 1 min", "ended": "14:30, took 1 min 40 s",
        "price": "$0.02, 1 min 40 s of GPU, $0.0016 a second of video",
    }  # fmt: skip
    assert view.next_step(listed) == "multitalk jobs fetch abcdabcd"


def test_a_failure_has_its_reason_its_calls_and_a_way_on():
    failed = job(state="failed", error="E_BLACK", error_text="all frames are black", gpu="l4",
                 stack="cuda12.1", result="", recipe="")  # fmt: skip
    voices = (PICTURE, VOICE, replace(VOICE, location="/voices/b.wav"))
    listed = ListedJob(job=failed, inputs=voices, calls=("fc-1", "fc-2"))

    rows = dict(plain_row(row) for row in view.show_blocks(listed, NOW_S))

    assert rows["state"] == "failed, E_BLACK: all frames are black"
    assert rows["gpu"] == "l4, cuda12.1"
    assert rows["calls"] == "fc-1, fc-2"
    assert "size" not in rows
    assert view.next_step(listed) == "multitalk jobs logs abcdabcd"
    assert [name for name in rows if name.startswith("voice")] == ["voice"]


def test_what_helps_a_row_begins_with_the_words_that_were_typed():
    facts = {"enough_usd": 4.5, "cheaper": ()}
    dear = RefusedError("dear", code="E_COST", facts=facts)
    outcome = RerunOutcome(job=job(), job_id="", error=dear)

    (row,) = outcomes.error_rows([outcome], ["jobs", "rerun", "--failed"])

    assert row["hint"] == "multitalk jobs rerun --failed --max-cost 4.5"


def test_a_cancelled_job_can_be_run_again():
    listed = ListedJob(job=job(state="cancelled"))
    assert view.next_step(listed) == "multitalk jobs rerun abcdabcd"


def test_a_call_without_a_video_shows_no_prompt():
    bench = job(kind="bench", label="bench", recipe="", target="", prompt="")

    rows = dict(plain_row(row) for row in view.show_blocks(ListedJob(job=bench), NOW_S))

    assert rows.keys() == {"job", "state", "what", "gpu", "created", "started"}
    assert view.next_step(ListedJob(job=bench)) == ""


@pytest.mark.parametrize(
    ("path", "location"), [(Path("/v/host.mp4"), "/v/host.mp4"), (None, "s3://b/k.mp4")]
)
def test_a_video_is_where_its_file_is_or_where_it_is_stored(path, location):
    result = contract.Result(
        job_id="abcdabcd", backend="modal", model_output=True, frames=48, fps=24, width_px=32,
        height_px=32, size_bytes=2010, seed=7, recipe="{}", price_usd=0.5, stored="s3://b/k.mp4",
    )  # fmt: skip
    video = FetchedVideo(job=job(), result=result, path=path)

    assert view.video_lines(video) == [location]
    assert view.video_data(video)["output"] == location
    assert view.video_facts(video)[0][1].startswith("2.00 s, ")


def test_only_a_cancellation_that_was_needed_is_confirmed():
    needed = CancelledJob(job_id="a", state="cancelled", is_confirmed=False)
    late = CancelledJob(job_id="a", state="done", is_confirmed=None)

    assert outcomes.cancelled_data(needed) == {"job": "a", "state": "cancelled", "confirmed": False}
    assert outcomes.cancelled_data(late) == {"job": "a", "state": "done"}


def test_the_status_counts_containers_and_jobs():
    record = {"client": "1.0", "stacks": ["current"]}
    pool = PoolStats(backlog=2, containers=1, running=0)
    status = AppStatus(record=record, pool=pool, idle_usd_per_minute=0.07)

    (table,) = status_view.status_blocks(status)
    assert table.rows[1][1] == "1 container (0 busy), 2 jobs queued"
    assert status_view.status_data(status) == {
        "deployed": record, "containers": 1, "waiting": 2, "running": 0,
        "idle_usd_per_minute": 0.07,
    }  # fmt: skip


def test_warm_says_the_most_that_it_costs():
    text = status_view.warm_text(900, 1.1)

    assert text == "keeps a GPU container for 15 min after the last job (up to $1.10)"


def test_presets_are_listed_where_they_differ():
    def listed(preset):
        request = json.dumps({"settings": {"preset": preset}})
        return ListedJob(job=job(request=request), event=None, inputs=(PICTURE, VOICE))

    same, other = [listed("fast"), listed("fast")], [listed("fast"), listed("best")]
    other.append(ListedJob(job=job(kind=jobs_ledger.BENCH), event=None, inputs=()))

    (one,), (several,) = view.list_blocks(same, NOW_S), view.list_blocks(other, NOW_S)

    assert "preset" not in one.titles
    at = several.titles.index("preset")
    assert [row[at] for row in several.rows] == ["fast", "best", ""]
    assert ("preset", "best") in [plain_row(row) for row in view.show_blocks(other[1], NOW_S)]
