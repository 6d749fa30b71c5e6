"""Whatever fails after the first window: the video comes, or the same command makes only the rest.

The engine is a recording of one run, so that each case costs the encoding of two windows.
"""

import threading

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.video import VideoWriter
from multitalk_cli.storage.upload import UploadTarget
from remote.engine.request import WindowFinished
from remote.service import resume
from remote.service import run as service_run
from remote.service.quality import Meter
from remote.service.store import DirectoryStore
from remote.worker import generate
from remote.worker.cached_model import CachedModel
from remote.worker.volume_store import VolumeStore
from tests.remote.requests import tiny_request
from tests.remote.worker.test_generate import Container, States, wire

pytestmark = pytest.mark.slow

JOB, WINDOWS = "tinytiny", 2
UPLOAD = UploadTarget(bucket="b", key="k.mp4", stem="v", overwrite=False)
BEFORE_THE_FIRST_WINDOW = ("volume: reload", "reader: probe a segment")


class Recording:
    """What the tiny model did for one request, given again from any window on.

    After the first window it waits until that is kept, and lets the fault happen from there.
    """

    def __init__(self, model, request):
        list(model.load())
        rendered = service_run.decode_request(request, model.tokenize)
        self.events = list(model.render(rendered, None))
        self.revision, self.machine, self.tokenize = model.revision, model.machine, model.tokenize
        self.notes = model.notes
        self.made, self.kept, self.fault = [], threading.Event(), None

    def load(self, *_options):
        yield contract.Loading(done_bytes=1, total_bytes=1)

    def render(self, _request, start):
        first = 0 if start is None else start.window
        for event in self.events:
            window = getattr(event, "window", None)
            if window is not None and window < first:
                continue
            if isinstance(event, WindowFinished):
                self.engine_step()
                self.made.append(event.window)
            yield event
            if isinstance(event, WindowFinished) and event.window == 0 and self.fault is not None:
                assert self.kept.wait(60)
                self.fault.is_armed = True

    def engine_step(self):
        """A forward of the last window made."""


class Fault:
    """An exception in place of a collaborator's call: of the first one, or of every one."""

    def __init__(self, *, is_lasting):
        self.is_armed, self.is_lasting, self.count = False, is_lasting, 0

    def wrap(self, function):
        def call(*args, **options):
            if self.is_armed and (self.is_lasting or not self.count):
                self.count += 1
                raise Broken("injected")
            return function(*args, **options)

        return call


class Broken(Exception):
    """No error that any part of the product knows."""


class Volume:
    def __init__(self, kept):
        self._kept = kept

    def commit(self):
        self._kept.set()

    def reload(self):
        """Nothing is elsewhere."""


PLACES = {
    "store: look up a file": (DirectoryStore, "load"),
    "store: keep pieces": (DirectoryStore, "save"),
    "store: write a small file": (DirectoryStore, "write"),
    "store: delete expired jobs": (DirectoryStore, "delete_older"),
    "store: read the video": (VolumeStore, "_pieces"),
    "volume: commit": (Volume, "commit"),
    "volume: reload": (Volume, "reload"),
    "dict: write": (States, "put"),
    "dict: read": (States, "get"),
    "model: forward": (Recording, "engine_step"),
    "writer: begin a segment": (VideoWriter, "__enter__"),
    "writer: write frames": (VideoWriter, "write"),
    "reader: probe a segment": (resume, "probe_video"),
    "motion: write": (resume, "write_tensor_file"),
    "quality: measure a window": (Meter, "measure"),
    "quality: put together": (Meter, "quality"),
    "joiner": (service_run, "join_segments"),
    "upload": (generate, "put"),
    "spawn": (Container, "spawn"),
    "answer: read back": (generate, "_with_video"),
}


@pytest.fixture(scope="module")
def request_of_two():
    return tiny_request(WINDOWS)


@pytest.fixture(scope="module")
def recording(model, request_of_two):
    return Recording(model, request_of_two)


def _worker(tmp_path, recording, states, container):
    worker = generate.Worker(
        pack=tmp_path, jobs=tmp_path / "jobs", caches=tmp_path, states=states,
        volume=Volume(recording.kept), container=container,
    )  # fmt: skip
    worker._model = CachedModel(lambda: recording)
    return worker


def _wire(request, link):
    sent = {"request": contract.to_wire(request), "upload": contract.to_wire(UPLOAD)}
    return wire(job=JOB, link=link, gpu="auto", app="multitalk", **sent)


def _call(worker, body, call_id):
    """The answer, or None where the call ended with an exception."""
    try:
        return worker.generate(body, call_id)
    except Broken:
        return None


def _is_done(answer):
    return answer is not None and answer["event"]["kind"] == "done"


def test_each_call_of_a_chain_makes_a_window(recording, request_of_two, run_with):
    # A fault in no place: the second window is not begun before the first one is kept.
    recording.made, recording.fault = [], Fault(is_lasting=False)
    recording.kept.clear()
    answer = run_with(_wire(request_of_two, 0), Container(limit_s=0), after=Container(limit_s=0))

    assert _is_done(answer)
    # The second one may have been made as soon as the first was kept.
    assert recording.made.count(0) == 1 and recording.made.count(1) <= 2


@pytest.fixture
def run_with(recording, tmp_path, monkeypatch):
    """Makes a call in a container of its own, and follows its job to the next call in `after`."""
    monkeypatch.setattr(generate, "put", lambda *_: "s3://b/k.mp4")
    states = States()

    def run(body, container, after=None, call_id=None):
        worker = _worker(tmp_path, recording, states, container)
        answer = _call(worker, body, call_id or f"fc-{body['link']}")
        if answer is not None and "owner" in answer:
            recording.fault = None
            return run(container.spawned[-1], after or Container(), call_id=answer["owner"])
        return answer

    return run


def test_a_job_at_its_cost_limit_resumes_with_a_higher_one(recording, request_of_two, run_with):
    recording.made, recording.fault = [], None
    body = _wire(request_of_two, 0)

    stopped = run_with({**body, "most_s": 0.0}, Container())
    answer = run_with({**_wire(request_of_two, 1), "most_s": 1e6}, Container())

    assert stopped["event"]["code"] == "E_MAX_COST"
    assert _is_done(answer)
    assert len(recording.made) <= WINDOWS + 1


@pytest.mark.parametrize(
    "is_lasting",
    [pytest.param(False, id="once", marks=pytest.mark.long), pytest.param(True, id="always")],
)
@pytest.mark.parametrize("place", PLACES)
def test_no_finished_window_is_made_again(
    recording, request_of_two, tmp_path, monkeypatch, run_with, place, is_lasting
):
    fault = Fault(is_lasting=is_lasting)
    recording.made, recording.fault = [], fault
    recording.kept.clear()
    owner, name = PLACES[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fault.wrap(getattr(owner, name)))
        container = Container(limit_s=0 if place == "spawn" else float("inf"))
        answer = run_with(_wire(request_of_two, 0), container)
    assert fault.count or place in BEFORE_THE_FIRST_WINDOW
    # What was finished: a window that cannot be written at all is not.
    kept = resume.load_record(DirectoryStore(tmp_path / "jobs"), request_of_two, recording.revision)
    finished = kept.windows if place.startswith("writer") else len(recording.made)

    if not _is_done(answer):
        recording.fault, recording.made = None, []
        answer = run_with(_wire(request_of_two, 1), Container())
        assert recording.made == list(range(finished, WINDOWS))

    result = contract.event_from_wire(answer["event"]).result
    assert result.frames == request_of_two.frames and answer["video"][4:8] == b"ftyp"
    assert (answer["unstored"] is None) == (result.stored is not None)
    if place.startswith("quality"):
        assert any("quality could not be measured" in text for text in result.warnings)
