"""Jobs, videos and containers as lines and JSON."""

from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.cli.layout import plain
from multitalk_cli.cli.views import jobs as view
from multitalk_cli.cli.views import status as status_view
from multitalk_cli.cloud.client import PoolStats
from multitalk_cli.cloud.containers import AppStatus
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.control import CancelledJob, FetchedVideo
from multitalk_cli.jobs.ledger import Job
from multitalk_cli.jobs.listing import STOPPED, ListedJob

ROW = {
    "id": "abcdabcd", "state": "running", "label": "host", "gpu": "h100", "stack": "current",
    "seed": 7, "price_usd": None, "target": "/v/host.mp4", "error": "", "link": 1,
    "created_s": 100.0,
}  # fmt: skip


def job(**changes):
    values = {
        "id": "abcdabcd", "fingerprint": "f", "app": "multitalk", "environment": "",
        "stack": "current", "gpu": "h100", "seed": 7, "target": "/v/host.mp4", "label": "host",
        "recipe": "{}", "state": jobs_ledger.RUNNING, "call_id": "fc-1", "attempt": 1,
        "created_s": 100.0,
    }  # fmt: skip
    return Job(**values | changes)


def test_a_row_keeps_the_keys_that_scripts_know():
    assert view.list_data([ListedJob(job=job())]) == {"jobs": [ROW]}


def test_a_job_is_shown_with_its_call_and_what_is_kept():
    step = contract.Step(window=1, windows=2, step=3, steps=20)
    listed = ListedJob(job=job(), event=step, windows=0, run_s=12.34)

    assert view.show_data(listed) == {
        "job": {**ROW, "doing": "window 1/2 step 3/20", "call": "fc-1", "run_s": 12.3,
                "windows_kept": 0}
    }  # fmt: skip


def test_a_shown_job_has_words_for_a_person():
    done = job(state=jobs_ledger.DONE, price_usd=0.0141702, result='{"gpu": "h200"}')
    listed = ListedJob(job=done, windows=1, run_s=80.0)

    rows = dict(plain_row(row) for row in view.show_blocks(listed, now_s=160.0))

    assert rows == {
        "id": "abcdabcd", "state": "done", "age": "1 min ago", "gpu": "h200", "price": "$0.014",
        "video": "/v/host.mp4", "run": "1 min 20 s", "windows": "1 finished window kept",
        "stack": "current", "seed": "7", "call": "fc-1",
    }  # fmt: skip


def plain_row(row):
    (line,) = plain(row, str)
    label, _, text = line.partition(" ")
    return label, text.strip()


def test_a_table_says_age_price_and_what_a_job_does():
    done = job(state=jobs_ledger.DONE, price_usd=0.25, result='{"gpu": "h200"}')
    stopped = ListedJob(job=job(state=STOPPED), stopped="timeout", windows=3)

    (table,) = view.list_blocks([ListedJob(job=done), stopped], now_s=160.0)
    title, first, second = plain(table, str)

    assert title.split() == ["id", "state", "age", "gpu", "price", "video"]
    assert first.split() == ["abcdabcd", "done", "1", "min", "h200", "$0.25", "/v/host.mp4"]
    assert "stopped  reached its time limit after window 3; resume: multitalk jobs attach" in second


def test_no_jobs_are_no_table():
    assert view.list_blocks([], now_s=0.0) == []


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

    assert view.cancelled_data(needed) == {"job": "a", "state": "cancelled", "confirmed": False}
    assert view.cancelled_data(late) == {"job": "a", "state": "done"}


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
