"""The deployed methods' body without a cloud: claims, states, parts, failures that are kept."""

import errno
import json
import os
import threading
import time

import pytest
import torch

from multitalk_cli import __version__, contract
from multitalk_cli.errors import FileError, RefusedError, SetupError
from multitalk_cli.storage.upload import UploadTarget
from remote.weights import device as weights_device
from remote.worker import cached_model, generate
from remote.worker import reporter as worker_reporter
from remote.worker.volume_store import VolumeStore
from tests.remote.requests import tiny_request


class States(dict):
    """A shared dict."""

    def put(self, key, value, *, skip_if_exists=False):
        if skip_if_exists and key in self:
            return False
        self[key] = value
        return True


class Volume:
    """Counts commits."""

    commits = 0

    def commit(self):
        self.commits += 1

    def reload(self):
        pass


class Container:
    """Notes what Modal is asked for."""

    def __init__(self, limit_s=float("inf")):
        self.spawned, self.is_retired, self.limit_s = [], False, limit_s

    def spawn(self, wire):
        self.spawned.append(wire)
        return f"fc-next-{len(self.spawned)}"

    def retire(self):
        self.is_retired = True


@pytest.fixture
def store(tmp_path):
    return VolumeStore(tmp_path / "jobs", Volume(), States())


def wire(**changes):
    """A call without a request."""
    body = {"job": "abcdabcd", "link": 0, "keep_inputs": False, "persistent_params": None}
    body |= {"request": None, "upload": None}
    return {"contract": contract.CONTRACT_VERSION, "client": "1", **body, **changes}


def worker_at(tmp_path, states, container=None, **options):
    return generate.Worker(
        pack=tmp_path / "no-pack",
        jobs=tmp_path / "jobs",
        caches=tmp_path / "caches",
        states=states,
        volume=Volume(),
        container=container or Container(),
        **options,
    )


def test_a_video_is_kept_in_parts_that_make_it_again(store, tmp_path):
    video = tmp_path / "video.mp4"
    video.write_bytes(bytes(range(256)) * (contract.PART_BYTES // 256) + b"the rest")

    store.publish("abcdabcd", video)

    assert [part["size"] for part in store.parts] == [contract.PART_BYTES, 8]
    assert store.read_video("abcdabcd") == video.read_bytes()


def test_what_a_window_leaves_is_committed(tmp_path):
    volume = Volume()
    store = VolumeStore(tmp_path / "jobs", volume, States())
    piece = tmp_path / "piece"
    piece.write_bytes(b"1")

    store.save("abcdabcd", {"window-0001.mp4": piece})

    assert volume.commits == 1


def test_the_first_call_owns_a_job(tmp_path):
    states = States()
    first, second = worker_at(tmp_path, states), worker_at(tmp_path, states)

    assert first.generate(wire(), "fc-1")["event"]["code"] == "E_EXPIRED"
    refused = second.generate(wire(), "fc-2")

    assert (refused["event"]["code"], refused["owner"]) == ("E_DUPLICATE", "fc-1")


def test_the_same_call_may_run_again_and_the_next_link_is_another_claim(tmp_path):
    states = States()
    body = worker_at(tmp_path, states)
    body.generate(wire(), "fc-1")

    assert "owner" not in body.generate(wire(), "fc-1")
    assert "owner" not in body.generate(wire(link=1), "fc-2")
    assert {key: json.loads(text) for key, text in states.items()} == {
        "abcdabcd/call/0": "fc-1",
        "abcdabcd/call/1": "fc-2",
    }


def _keep_finished(store, tmp_path, **changes):
    """What a call leaves that was ended after its work and before its answer."""
    result = contract.Result(
        job_id="abcdabcd", backend="modal", model_output=True, frames=5, fps=24, width_px=32,
        height_px=32, size_bytes=7, seed=0, recipe="{}", **changes,
    )  # fmt: skip
    video = tmp_path / "video.mp4"
    video.write_bytes(b"a video")
    store.publish("abcdabcd", video)
    event = contract.to_wire(contract.Done(result=result))
    store.keep_answer("abcdabcd", {"event": event, "parts": store.parts, "unstored": None})


@pytest.mark.parametrize("keep_inputs", [True, False])
def test_a_job_whose_call_was_ended_before_its_answer_is_answered_by_the_next(
    store, tmp_path, keep_inputs
):
    _keep_finished(store, tmp_path)
    if keep_inputs:
        store.keep_request("abcdabcd", contract.to_wire(tiny_request(job_id="abcdabcd")))

    answer = worker_at(tmp_path, States()).generate(wire(link=1), "fc-2")

    assert answer["event"]["kind"] == "done"
    assert answer["video"] == b"a video"


def test_a_job_whose_call_was_ended_while_it_stored_the_video_is_not_finished(store, tmp_path):
    _keep_finished(store, tmp_path)
    upload = UploadTarget(bucket="b", key="k.mp4", stem="voice", overwrite=False)

    assert generate._finished(store, "abcdabcd", upload) is None
    _keep_finished(store, tmp_path, stored="s3://b/k.mp4")
    assert generate._finished(store, "abcdabcd", upload) is not None


def test_another_contract_is_refused_as_data(tmp_path):
    body = worker_at(tmp_path, States())

    assert body.generate(wire(contract=99), "fc-1")["event"]["code"] == "E_CONTRACT"
    assert body.warm(wire(contract=99))["event"]["code"] == "E_CONTRACT"


def test_a_request_of_a_newer_client_is_answered_with_both_versions(tmp_path):
    request = {**contract.to_wire(tiny_request()), "client": "9.9", "mood": "calm"}

    event = worker_at(tmp_path, States()).generate(wire(request=request), "fc-1")["event"]

    assert (event["code"], event["message"]) == (
        "E_CONTRACT",
        f"this client (version 9.9) is newer than the deployed app (version {__version__}), "
        "which does not know GenerateRequest.mood",
    )


def test_a_failed_load_is_answered_again_and_not_tried_again():
    tries = []

    def open_model():
        tries.append(1)
        raise SetupError("no weights", code="E_WEIGHTS")

    model = cached_model.CachedModel(open_model)
    for _ in range(3):
        with pytest.raises(SetupError, match="no weights"):
            next(model.load())

    assert len(tries) == 1


def test_only_the_newest_state_is_written(monkeypatch):
    monkeypatch.setattr(worker_reporter, "REPORT_S", 60)
    states = States()
    with worker_reporter.Reporter(states, "abcdabcd", {"link": 0}) as reporter:
        for step in range(1, 10):
            reporter.show(contract.Step(window=1, windows=1, step=step, steps=9))

    assert json.loads(states["abcdabcd"])["event"]["step"] == 9


def test_time_that_a_lost_container_took_is_counted(monkeypatch):
    monkeypatch.setattr(worker_reporter, "REPORT_S", 60)
    states = States()
    with worker_reporter.Reporter(states, "abcdabcd", {}, earlier_s=100.0) as reporter:
        reporter.show(contract.Queued())

    assert 100 <= json.loads(states["abcdabcd"])["run_s"] < 101


def test_without_news_the_time_is_reported_again(monkeypatch):
    monkeypatch.setattr(worker_reporter, "REPORT_S", 0.01)
    monkeypatch.setattr(worker_reporter, "REPEAT_S", 0.0)

    class Told(States):
        reports, many = 0, threading.Event()

        def put(self, key, value, *, skip_if_exists=False):
            self.reports += 1
            if self.reports > 3:
                self.many.set()
            return super().put(key, value, skip_if_exists=skip_if_exists)

    states = Told()
    with worker_reporter.timed(states, {"job": "abcdabcd"}, "examining"):
        assert states.many.wait(30)

    assert json.loads(states["abcdabcd"])["event"]["name"] == "examining"
    with worker_reporter.timed(states, {}, "examining"):
        assert states.keys() == {"abcdabcd"}


def test_a_cancellation_is_seen(monkeypatch):
    monkeypatch.setattr(worker_reporter, "REPORT_S", 0.01)
    states, seen = States(), threading.Event()
    with worker_reporter.Reporter(states, "abcdabcd", {}) as reporter:
        assert not reporter.is_cancelled
        states["abcdabcd/cancel"] = "1"
        for _ in range(500):
            if reporter.is_cancelled:
                seen.set()
                break
            seen.wait(0.01)

    assert seen.is_set()


def test_a_state_that_cannot_be_written_disturbs_nothing(monkeypatch):
    monkeypatch.setattr(worker_reporter, "REPORT_S", 0.01)

    class Broken(States):
        def put(self, *_args, **_options):
            raise ConnectionError("gone")

    with worker_reporter.Reporter(Broken(), "abcdabcd", {}) as reporter:
        reporter.show(contract.Queued())

    assert not reporter.is_cancelled


# The next call of a long job


@pytest.mark.parametrize(
    ("windows_end_s", "late"),
    [
        ([3_600, 7_200], [False, False]),  # an hour each
        ([3_600 * 7], [True]),  # the next would take until after 12 hours
        ([3_600, 38_000, 38_100], [False, True, True]),
        ([42_000], [True]),
    ],
)
def test_a_window_that_might_not_be_finished_is_left_to_the_next_call(windows_end_s, late):
    pace = generate._Pace(1000.0, 12 * 3600.0)
    assert [pace.is_late(1000 + end_s) for end_s in windows_end_s] == late


def _in_order(states):
    return {key: json.loads(text) for key, text in states.items() if "/call/" in key}


def test_a_job_that_another_call_continues_names_it(tmp_path):
    states = States()
    worker_at(tmp_path, states).generate(wire(), "fc-1")
    states["abcdabcd/call/1"] = json.dumps("fc-2")

    again = worker_at(tmp_path, states).generate(wire(), "fc-1")

    assert (again["event"]["code"], again["owner"], again["link"]) == ("E_DUPLICATE", "fc-2", 1)
    assert _in_order(states) == {"abcdabcd/call/0": "fc-1", "abcdabcd/call/1": "fc-2"}


# Failures that pass, and those that do not


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        FileError("cannot be read", code="E_FILE_UNREADABLE"),
        RefusedError("too small", code="E_GPU_TOO_SMALL"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
@pytest.mark.parametrize("stage", ["open", "load"])
def test_a_failure_that_may_pass_is_not_kept(error, stage):
    failures = [error]

    class Model:
        revision = "1"

        def load(self, *_options):
            if stage == "load" and failures:
                raise failures.pop()
            yield contract.Loading(done_bytes=1, total_bytes=1)

    def open_model():
        if stage == "open" and failures:
            raise failures.pop()
        return Model()

    model = cached_model.CachedModel(open_model)
    with pytest.raises(type(error)):
        list(model.load())

    assert len(list(model.load())) == 1


@pytest.mark.parametrize("method", ["generate", "warm"])
def test_a_container_with_a_broken_gpu_takes_no_other_job(tmp_path, monkeypatch, method):
    def synchronize():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def open_model():
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    container = Container()
    body = worker_at(tmp_path, States(), container)
    body._model = cached_model.CachedModel(open_model)
    request = contract.to_wire(tiny_request(job_id="abcdabcd"))

    answer = (
        body.generate(wire(request=request), "fc-1") if method == "generate" else body.warm(wire())
    )

    assert answer["event"]["code"] == "E_GPU_FAILED"
    assert answer["event"]["message"].endswith("an illegal memory access was encountered")
    assert container.is_retired


def test_a_container_whose_gpu_is_not_found_takes_no_other_job(tmp_path, tiny_pack, monkeypatch):
    def init():
        raise RuntimeError(
            "The NVIDIA driver on your system is too old (found version 12020). Please update"
        )

    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(weights_device, "_CPU_BYTES", 0)
    container = Container()
    body = worker_at(tmp_path, States(), container)
    body._model = cached_model.CachedModel(lambda: cached_model.open_model(tiny_pack, tmp_path))

    event = body.warm(wire())["event"]

    assert event["code"] == "E_GPU_FAILED"
    assert "(The NVIDIA driver on your system is too old (found version 12020))" in event["message"]
    assert container.is_retired


def test_a_container_whose_gpu_works_is_not_ended_by_a_bug(tmp_path):
    def open_model():
        raise RuntimeError("a shape does not fit")

    container = Container()
    body = worker_at(tmp_path, States(), container)
    body._model = cached_model.CachedModel(open_model)
    with pytest.raises(RuntimeError, match="a shape"):
        body.warm(wire())

    assert not container.is_retired


# Jobs that are removed


def _age(folder, days):
    then = time.time() - days * 24 * 3600
    os.utime(folder, (then, then))


@pytest.mark.parametrize("kind", ["step", "done", "failed", None])
def test_a_clock_that_jumps_deletes_no_running_job(tmp_path, kind):
    states = States()
    kept = VolumeStore(tmp_path / "jobs", Volume(), states)
    kept.save_text("abcdabcd", "window-0001.mp4", "")
    for step in range(2):
        if kind is not None:
            states["abcdabcd"] = json.dumps({"event": {"kind": kind}, "run_s": step})
        if (tmp_path / "jobs" / "abcdabcd").is_dir():
            _age(tmp_path / "jobs" / "abcdabcd", days=400)
        kept.delete_outdated()

    assert (tmp_path / "jobs" / "abcdabcd").is_dir() == (kind == "step")

    if kind == "step":
        # Its container is gone: the state stays as it is.
        _age(tmp_path / "jobs" / "abcdabcd", days=400)
        kept.delete_outdated()
        assert not (tmp_path / "jobs" / "abcdabcd").exists()


def _window(number, windows=3):
    return contract.WindowDone(window=number, windows=windows)


def test_a_budget_ends_before_the_window_that_it_cannot_pay():
    budget = generate._Budget(30.0, 0.0, 3)

    assert not budget.is_spent(_window(1), 10.0)
    assert budget.is_spent(_window(2), 21.0)
    assert budget.failure.code == "E_MAX_COST"
    assert "2 of 3 windows are kept" in budget.failure.message


def test_a_budget_ends_within_a_window_that_takes_too_long():
    budget = generate._Budget(30.0, 0.0, 3)
    step = contract.Step(window=1, windows=3, step=5, steps=9)

    assert not budget.is_spent(step, 29.0)
    assert budget.is_spent(step, 31.0)


def test_a_video_whose_windows_are_made_is_finished_whatever_it_costs():
    budget = generate._Budget(30.0, 0.0, 3)

    assert not budget.is_spent(_window(3), 40.0)
    assert not budget.is_spent(contract.Stage(name="joining"), 50.0)


def test_the_newest_command_decides_what_a_job_may_cost(tmp_path):
    worker = worker_at(tmp_path, States())

    assert worker._most_s(wire()) == float("inf")
    assert worker._most_s(wire(most_s=12.0)) == 12.0
    assert worker._most_s(wire(link=1)) == 12.0
    assert worker._most_s(wire(most_s=None)) == float("inf")
