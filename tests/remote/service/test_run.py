"""From a request to a video: what is in it, stopping and going on, and what goes wrong."""

import dataclasses
import errno
import gc
import json
import statistics
import subprocess
import sys
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import AI_MARK, read_recipe, read_tags
from multitalk_cli.media.video.video import VideoWriter
from multitalk_cli.planning.fingerprint import ADDED_DEFAULTS
from remote.engine.errors import BlackFramesError, FrozenFramesError, NotANumberError
from remote.engine.networks.dit import DiT
from remote.service import resume
from remote.service import run as service_run
from remote.service.decode import decode_request
from remote.service.store import VIDEO, DirectoryStore
from tests.remote.requests import FPS, flac, frames_of, open_model, png, tiny_request, voice
from tests.versions import newer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
WINDOWS = 3


def run(request, model, store, **options):
    return list(service_run.run(request, model, store, **options))


def video_of(store, request):
    return store.load(request.job_id, VIDEO)


@pytest.fixture(scope="module")
def request_of_three():
    return tiny_request(WINDOWS)


@pytest.fixture(scope="module")
def finished(model, request_of_three, tmp_path_factory):
    """The events of one whole run, and its video."""
    store = DirectoryStore(tmp_path_factory.mktemp("whole"))
    return run(request_of_three, model, store), video_of(store, request_of_three)


@pytest.fixture(scope="module")
def whole_frames(finished):
    return frames_of(finished[1])


class OtherModel:
    """A model that differs in what is given; all else is the tiny one's."""

    def __init__(self, model, **changes):
        self._model = model
        self.loads = 0
        vars(self).update(changes)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def load(self, *options):
        self.loads += 1
        yield from self._model.load(*options)


# What is made


def test_the_video_is_as_asked_for(finished, request_of_three):
    info = probe_video(finished[1])
    assert (info.frames, info.fps) == (request_of_three.frames, FPS)
    assert (info.width, info.height) == (48, 32)
    assert info.has_audio and abs(info.audio_duration_s - request_of_three.frames / FPS) < 0.03


def test_the_result_says_what_was_made(finished, request_of_three):
    result = finished[0][-1].result
    assert (result.frames, result.fps, result.seed) == (request_of_three.frames, FPS, 7)
    assert result.model_output and result.backend == "modal" and result.gpu == "cpu"
    assert result.size_bytes == finished[1].stat().st_size
    assert result.adjusted == result.warnings == ()
    assert result.quality.mouth_correlation == (None,)  # a gradient has no face
    assert len(result.quality.color_drift) == WINDOWS


def test_the_recipe_is_extended_and_marked(finished, model):
    recipe = read_recipe(finished[1])
    assert recipe == json.loads(finished[0][-1].result.recipe)
    assert (recipe["multitalk"], recipe["seed"]) == (1, 7)
    assert (recipe["weights"], recipe["gpu"]) == (model.revision, "cpu")
    assert recipe["engine"]["attention"] == "sdpa"
    assert AI_MARK in read_tags(finished[1]).values()


@pytest.mark.parametrize(
    ("changes", "forwards", "gated"),
    [
        ({}, 12, 0),
        ({"text_steps": 1}, 10, 2),
        ({"text_guidance": 1.0, "audio_guidance": 2.0}, 8, 0),
        ({"text_guidance": 1.0, "audio_guidance": 1.0, "times": (1000.0, 833.3)}, 4, 0),
    ],
)
def test_the_recipe_counts_the_forwards_that_were_run(model, store, changes, forwards, gated):
    request = tiny_request(2, **changes)
    result = run(request, model, store)[-1].result
    assert json.loads(result.recipe)["work"] == {"forwards": forwards, "forwards_gated": gated}


def test_forwards_of_an_earlier_run_are_counted_too(model, store):
    request = tiny_request(2)
    stop_after(run_events(request, model, store), 1)
    result = run(request, model, store)[-1].result
    assert json.loads(result.recipe)["work"]["forwards"] == 12


def test_a_lora_that_is_not_there_is_refused_and_not_left_out(model, store):
    missing = contract.LoraChoice(name="other")
    *_, failed = run(tiny_request(1, loras=(missing,)), model, store)
    assert (failed.code, "LoRA other" in failed.message) == ("E_LORA", True)


def test_events_come_in_order(finished):
    events = finished[0]
    kinds = list(dict.fromkeys(event.kind for event in events))
    assert [kind for kind in kinds if kind != "loading"] == ["stage", "step", "window", "done"]
    kept = [event.window for event in events if isinstance(event, contract.WindowDone)]
    assert kept == [1, 2, 3]
    steps = [(e.window, e.step) for e in events if isinstance(e, contract.Step)]
    assert list(dict.fromkeys(steps)) == [(w, s) for w in (1, 2, 3) for s in (1, 2)]
    assert all(contract.event_from_wire(contract.to_wire(event)) == event for event in events)


def test_the_same_request_gives_the_same_frames(tiny_pack, request_of_three, whole_frames, store):
    run(request_of_three, open_model(tiny_pack), store)
    assert np.array_equal(frames_of(video_of(store, request_of_three)), whole_frames)


def test_another_seed_gives_other_frames(model, request_of_three, whole_frames, store):
    other = dataclasses.replace(request_of_three, seed=8)
    run(other, model, store)
    assert not np.array_equal(frames_of(video_of(store, other)), whole_frames)


def test_windows_are_encoded_in_the_background(model, store, monkeypatch):
    threads = []
    enter = VideoWriter.__enter__
    monkeypatch.setattr(
        VideoWriter,
        "__enter__",
        lambda self: threads.append(threading.current_thread()) or enter(self),
    )
    run(tiny_request(), model, store)
    assert len(threads) == 2 and threading.main_thread() not in threads


def test_a_video_without_a_sound_track_is_silent(model, store):
    request = tiny_request(sound=None)
    run(request, model, store)
    assert not probe_video(video_of(store, request)).has_audio


def test_the_users_channels_and_rate_are_kept(model, store):
    request = tiny_request(1)
    samples = np.random.default_rng(0).normal(size=(request.frames * 44_100 // FPS, 2)) * 0.1
    run(dataclasses.replace(request, sound=flac(samples, 44_100)), model, store)
    info = probe_video(video_of(store, request))
    assert (info.audio_rate_hz, info.audio_channels) == (44_100, 2)


def test_seconds_of_all_runs_are_added_up(model, request_of_three, store):
    def clock():
        clock.now += 1.0
        return clock.now

    clock.now = 0.0
    stop_after(run_events(request_of_three, model, store, clock), 2)
    first = clock.now
    result = run(request_of_three, model, store, clock=clock)[-1].result
    assert first - 3 <= result.gpu_seconds < clock.now


# Stopping and going on


def run_events(request, model, store, clock=lambda: 0.0):
    return service_run.run(request, model, store, clock)


def stop_after(events, window):
    """Closes the run as soon as a window is kept."""
    with closing(events):
        for event in events:
            if isinstance(event, contract.WindowDone) and event.window == window:
                return


def made_windows(events):
    return {event.window for event in events if isinstance(event, contract.Step)}


@pytest.mark.parametrize("window", range(1, WINDOWS + 1))
def test_going_on_after_any_window_gives_the_same_frames(
    model, request_of_three, whole_frames, store, window
):
    stop_after(run_events(request_of_three, model, store), window)
    kept = resume.load_record(store, request_of_three, model.revision).windows
    assert kept >= window
    events = run(request_of_three, model, store)
    assert made_windows(events) <= set(range(kept, WINDOWS + 1))
    assert np.array_equal(frames_of(video_of(store, request_of_three)), whole_frames)
    (adjusted,) = events[-1].result.adjusted
    assert adjusted.startswith(f"resumed after window {kept} of {WINDOWS}")


KILLED = """
import os, signal, sys
from pathlib import Path
from multitalk_cli import contract
from remote.service.run import run
from remote.weights.model import PackedModel
from remote.service.store import DirectoryStore
from tests.remote.requests import tiny_request

model = PackedModel(Path(sys.argv[1]), "cpu")
for event in run(tiny_request(3), model, DirectoryStore(Path(sys.argv[2]))):
    if isinstance(event, contract.WindowDone) and event.window == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_no_finished_window(
    tiny_pack, model, request_of_three, whole_frames, store, tmp_path
):
    command = [sys.executable, "-c", KILLED, str(tiny_pack), str(tmp_path / "jobs"), "2"]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    events = run(request_of_three, model, store)
    assert made_windows(events) <= {2, 3}
    assert (2, 1) not in {(e.window, e.step) for e in events if isinstance(e, contract.Step)}
    assert np.array_equal(frames_of(video_of(store, request_of_three)), whole_frames)


def test_the_first_window_and_the_rest_are_the_forwards_and_frames_of_one_run(
    model, request_of_three, finished, whole_frames, store, monkeypatch
):
    forwards, plain = [], DiT.forward
    monkeypatch.setattr(DiT, "forward", lambda *a, **o: (forwards.append(1), plain(*a, **o))[1])
    run(request_of_three, model, DirectoryStore(store._root / "whole"))
    of_one_run = forwards.copy()
    forwards.clear()

    first = run(request_of_three, model, store, first=True)[-1].result
    of_first = len(forwards)
    looked_at = video_of(store, request_of_three).read_bytes()
    again = run(request_of_three, model, store, first=True)[-1].result
    assert len(forwards) == of_first == len(of_one_run) // WINDOWS
    last = run(request_of_three, model, store)[-1].result

    assert forwards == of_one_run
    assert np.array_equal(frames_of(video_of(store, request_of_three)), whole_frames)
    assert (first.is_first_window, last.is_first_window) == (True, False)
    video = store._root / "first.mp4"
    video.write_bytes(looked_at)
    added = len(request_of_three.new_frames(0))
    info, recipe = probe_video(video), json.loads(first.recipe)
    assert (info.frames, first.frames, again.frames) == (added, added, added)
    assert info.audio_duration_s == added / FPS
    assert np.array_equal(frames_of(video), whole_frames[:added])
    assert (recipe["first_window"], recipe["job"]) == (True, request_of_three.job_id)
    assert len(first.quality.color_drift) == 1


def test_joining_again_needs_no_model(model, request_of_three, finished):
    store = DirectoryStore(finished[1].parents[1])
    other = OtherModel(model)
    assert isinstance(run(request_of_three, other, store)[-1], contract.Done)
    assert other.loads == 0


def test_closing_stops_within_one_forward(model, store, monkeypatch):
    forwards = []
    velocity = DiT.velocity
    monkeypatch.setattr(DiT, "velocity", lambda *args: forwards.append(args) or velocity(*args))
    with closing(run_events(tiny_request(), model, store)) as events:
        for _ in events:
            if len(forwards) == 2:
                break
    assert len(forwards) == 2


def test_another_machine_goes_on_and_says_so(model, request_of_three, store):
    stop_after(run_events(request_of_three, model, store), 1)
    kept = resume.load_record(store, request_of_three, model.revision).windows
    machine = dataclasses.replace(model.machine, gpu="NVIDIA Test")
    result = run(request_of_three, OtherModel(model, machine=machine), store)[-1].result
    (warning,) = result.warnings
    assert "on cpu" in warning and "on NVIDIA Test" in warning and "seam" in warning
    assert f"{kept + 1}" in warning
    assert result.gpu == "NVIDIA Test"


def test_a_lora_that_was_replaced_does_not_make_the_rest(model, request_of_three, store):
    stop_after(run_events(request_of_three, model, store), 1)
    machine = dataclasses.replace(model.machine, loras=("mine:1 0123456789ab",))
    *_, failed = run(request_of_three, OtherModel(model, machine=machine), store)
    assert failed.code == "E_LORA"
    assert "mine:1 0123456789ab now" in failed.message


@pytest.mark.parametrize("change", [pytest.param("seed", marks=pytest.mark.long), "weights"])
def test_pieces_of_another_video_are_not_used(model, request_of_three, store, change):
    stop_after(run_events(request_of_three, model, store), 1)
    request, other = request_of_three, OtherModel(model)
    if change == "seed":
        request = dataclasses.replace(request, seed=8)
    else:
        other = OtherModel(model, revision="0123456789abcdef")
    assert resume.load_record(store, request, other.revision).windows == 0
    assert run(request, other, store)[-1].result.adjusted == ()


def test_another_sound_track_or_recipe_needs_no_new_frames(model, request_of_three, store):
    stop_after(run_events(request_of_three, model, store), 1)
    other = dataclasses.replace(request_of_three, sound=None, recipe="{}")
    assert resume.load_record(store, other, model.revision).windows >= 1


@pytest.mark.parametrize(("sharpness", "is_kept"), [(0.5, True), (0.6, False)])
def test_a_new_option_at_its_default_needs_no_new_frames(
    model, request_of_three, store, monkeypatch, sharpness, is_kept
):
    monkeypatch.setitem(ADDED_DEFAULTS, "sharpness", 0.5)
    stop_after(run_events(request_of_three, model, store), 1)
    upgraded = dataclasses.replace(newer(request_of_three, sharpness=0.5), sharpness=sharpness)
    kept = resume.load_record(store, upgraded, model.revision)
    assert (kept.windows >= 1) == is_kept


def _cut(path):
    path.write_bytes(path.read_bytes()[:100])


def _set(name, value):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return change


@pytest.mark.parametrize(
    ("piece", "damage"),
    [
        (resume.segment_name(0), _cut),
        (resume.segment_name(0), Path.unlink),
        (resume.motion_name(WINDOWS - 1), Path.unlink),
        (resume.RECORD, _cut),
        (resume.RECORD, _set("machines", "many")),
        (resume.RECORD, _set("seconds", -1.0)),
        (resume.RECORD, _set("surprise", 1)),
        (resume.RECORD, lambda path: path.write_text("[" * 100_000)),
    ],
)
def test_damaged_pieces_are_made_again(model, request_of_three, finished, tmp_path, piece, damage):
    store, source = DirectoryStore(tmp_path), finished[1].parent
    pieces = {path.name: path for path in source.iterdir() if path.name != VIDEO}
    store.save(request_of_three.job_id, pieces)
    assert resume.load_record(store, request_of_three, model.revision).windows == WINDOWS
    damage(store.load(request_of_three.job_id, piece))
    assert resume.load_record(store, request_of_three, model.revision).windows == 0


def test_only_the_newest_last_frames_are_kept(finished):
    names = {path.name for path in finished[1].parent.iterdir()}
    segments = {resume.segment_name(window) for window in range(WINDOWS)}
    figures = {resume.figures_name(window) for window in range(WINDOWS)}
    assert names == {VIDEO, resume.RECORD, resume.motion_name(WINDOWS - 1)} | segments | figures


def _held_bytes():
    """All tensors and what numpy and Python hold since the measurement began."""
    gc.collect()
    tensors = [item for item in gc.get_objects() if type(item) is torch.Tensor]
    return sum(t.numel() * t.element_size() for t in tensors) + tracemalloc.get_traced_memory()[0]


@pytest.mark.long
def test_memory_does_not_grow_with_the_windows(model, store):
    request, held = tiny_request(11, sample_steps=1), []
    tracemalloc.start()
    try:
        for event in service_run.run(request, model, store):
            if isinstance(event, contract.WindowDone):
                held.append(_held_bytes())
    finally:
        tracemalloc.stop()
    # A window's new frames have 37 kB as bytes, four times that as floats.
    assert statistics.median(held[6:]) - statistics.median(held[1:6]) < 37_000


# What goes wrong


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotANumberError("after step 2"), "E_NOT_FINITE"),
        (BlackFramesError("window 1"), "E_BLACK"),
        (FrozenFramesError("window 1"), "E_FROZEN"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), "E_OUT_OF_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "E_OUT_OF_MEMORY"),
        (MemoryError(), "E_OUT_OF_MEMORY"),
    ],
)
def test_expected_failures_are_events(model, store, error, code):
    def render(*_):
        raise error
        yield

    failed = run(tiny_request(), OtherModel(model, render=render), store)[-1]
    assert (failed.kind, failed.code) == ("failed", code)
    assert str(error) in failed.message


def test_a_bug_is_raised(model, store):
    def render(*_):
        raise RuntimeError("a shape does not fit")
        yield

    with pytest.raises(RuntimeError, match="a shape does not fit"):
        run(tiny_request(), OtherModel(model, render=render), store)


def test_values_that_are_no_numbers_end_the_run_after_two_steps(model, store, monkeypatch):
    velocity = DiT.velocity
    monkeypatch.setattr(DiT, "velocity", lambda *args: velocity(*args) * float("nan"))
    events = run(tiny_request(sample_steps=10), model, store)
    assert events[-1].code == "E_NOT_FINITE"
    assert max((e.step for e in events if isinstance(e, contract.Step)), default=0) < 3


def test_a_full_disk_is_said(model, store, monkeypatch):
    def save(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "save", save)
    assert run(tiny_request(), model, store)[-1].code == "E_DISK_FULL"


def test_the_window_before_a_failure_is_kept(model, request_of_three, store):
    def render(request, resume):
        for event in model.render(request, resume):
            yield event
            if type(event).__name__ == "WindowFinished" and event.window == 1:
                raise NotANumberError("window 3")

    failed = run(request_of_three, OtherModel(model, render=render), store)[-1]
    assert failed.code == "E_NOT_FINITE"
    assert resume.load_record(store, request_of_three, model.revision).windows == 2


BOX = {"x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0}


def _two(**boxes):
    return tuple(
        contract.Speaker(audio=voice(19), box=contract.Box(**BOX | box)) for box in boxes.values()
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image": png(64, 32)}, "E_IMAGE_SIZE"),
        ({"image": b"GIF89a"}, "E_IMAGE_BROKEN"),
        ({"image": png()[:100]}, "E_IMAGE_BROKEN"),
        ({"sound": b"RIFF"}, "E_AUDIO_BROKEN"),
        ({"speakers": (contract.Speaker(audio=b"fLaC"),)}, "E_AUDIO_BROKEN"),
        ({"speakers": (contract.Speaker(audio=voice(20)),)}, "E_AUDIO_LENGTH"),
        ({"speakers": _two(first={"x1": 0.6}, second={"x0": 0.4})}, "E_SPEAKER"),
        ({"speakers": _two(first={"x1": 0.01}, second={"x0": 0.5})}, "E_SPEAKER"),
    ],
)
def test_bad_inputs_are_refused_before_weights_are_read(model, store, changes, code):
    other = OtherModel(model)
    events = run(tiny_request(**changes), other, store)
    assert [event.code for event in events] == [code]
    assert other.loads == 0


def test_a_wave_file_is_no_sound_track(model, store, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16_000)
    request = tiny_request(sound=(tmp_path / "a.wav").read_bytes())
    assert run(request, model, store)[-1].code == "E_AUDIO_FORMAT"


# What the engine is asked for


def decoded(model, **changes):
    return decode_request(tiny_request(**changes), model.tokenize)


def test_the_engine_gets_the_pictures_pixels_and_the_windows(model, request_of_three):
    rendered = decode_request(request_of_three, model.tokenize)
    assert rendered.picture.shape == (3, 32, 48) and rendered.picture.dtype == torch.uint8
    assert rendered.picture[:, 16, 24].tolist() == [127, 127, 128]
    windows = [(window.start, window.frames) for window in rendered.windows]
    assert windows == [(window.start, window.frames) for window in request_of_three.windows]


def test_prompts_become_the_recorded_tokens(model, golden_dir):
    recorded = json.loads((golden_dir / "end_to_end.json").read_text())["token_ids"]
    for text, ids in recorded.items():
        assert list(model.tokenize(f"  {text} ")) == ids


def test_one_silent_person_of_two(model):
    speakers = (contract.Speaker(audio=None), contract.Speaker(audio=voice(19)))
    rendered = decoded(model, speakers=speakers)
    assert rendered.voices[0] is None and rendered.voices[1] is not None
    assert rendered.boxes is None


def test_a_person_without_a_box_gets_a_half(model):
    box = contract.Box(x0=0.6, y0=0.25, x1=0.9, y1=0.75)
    speakers = (contract.Speaker(audio=voice(19)), contract.Speaker(audio=voice(19), box=box))
    half, given = decoded(model, speakers=speakers).boxes
    assert (half.left, half.right) == (1.0, 22.0)
    assert (given.left, given.top) == pytest.approx((28.8, 8.0))


def test_two_people_become_a_video(model, store):
    speakers = (contract.Speaker(audio=voice(19)), contract.Speaker(audio=voice(15, seed=1)))
    request = tiny_request(speakers=speakers)
    result = run(request, model, store)[-1].result
    assert result.quality.mouth_correlation == (None, None)
    assert probe_video(video_of(store, request)).frames == request.frames
