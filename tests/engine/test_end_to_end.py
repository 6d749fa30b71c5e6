"""Whole recorded videos, from picture bytes, waves, token ids and noise to frames."""

import dataclasses

import pytest
import torch

from remote.engine.networks.audio import SAMPLE_RATE_HZ, normalize_wave
from remote.engine.networks.wav2vec import embed_voice
from remote.engine.pipeline import Engine
from remote.engine.request import ClipWindow, WindowFinished
from tests.engine import cases, parity, upstream
from tests.engine.tiny import description, tensors, tiny_networks

_SAMPLES = 5000


def _rows(folder):
    return list(parity.FILES["end_to_end"](folder))


def test_all_recorded_videos_are_made_from_their_inputs(golden_dir):
    rows = _rows(golden_dir)
    videos = {row.quantity for row in rows if row.quantity.endswith("/out/video")}
    cases_recorded = description(golden_dir, "end_to_end")["cases"]
    assert videos == {f"{case}/out/video" for case in cases_recorded}
    assert all(row.is_within for row in rows)


def test_all_recorded_noise_is_used(golden_dir):
    for case, sizes in description(golden_dir, "end_to_end")["cases"].items():
        recorded = tensors(golden_dir, "end_to_end")[f"{case}/in/randn"]
        drawn = sum(torch.Size(shape).numel() for _, shape in sizes["randn_order"])
        source = cases.recorded_noise(recorded)
        source(0)((drawn,))
        with pytest.raises(AssertionError, match="more noise"):
            source(0)((1,))


def test_decisions_are_far_from_ties_in_the_recorded_videos(golden_dir):
    sizes = description(golden_dir, "end_to_end")["cases"].values()
    margins = [case["argmax_margin"] for case in sizes if case["argmax_margin"] is not None]
    assert margins
    assert min(margins) > 1e-3


@pytest.fixture(scope="module")
def two_voices(golden_dir):
    """A request for two persons, the second one's voice cut short."""
    names = description(golden_dir, "end_to_end")["cases"]
    name = next(name for name, case in names.items() if case["humans"] == 2)
    request = cases.end_to_end_request(golden_dir, name)
    return dataclasses.replace(request, voices=(request.voices[0], request.voices[1][:_SAMPLES]))


def test_a_shorter_voice_is_published_to_repeat_its_last_frame(golden_dir):
    recorded = description(golden_dir, "streaming")["cases"]
    name = next(name for name in recorded if name.endswith("person2_shorter100"))
    end = recorded[name]["audio_lens"][1]
    windows = tensors(golden_dir, "streaming")[f"{name}/windows"]
    assert (windows[-2, 1, -9:] == end - 1).all()


def test_a_shorter_voice_is_followed_by_silence_here(golden_dir, two_voices):
    networks = tiny_networks(golden_dir)
    ours = Engine(networks).prepare(two_voices).voices[1]
    frames = two_voices.windows[-1].end
    padded = torch.zeros(frames * SAMPLE_RATE_HZ // two_voices.fps)
    padded[:_SAMPLES] = normalize_wave(two_voices.voices[1])
    with torch.inference_mode():
        silent = embed_voice(networks.wav2vec, padded, frames)
    assert torch.equal(ours, silent)
    assert not torch.equal(ours[-1], ours[_SAMPLES * two_voices.fps // SAMPLE_RATE_HZ - 1])


@pytest.mark.parametrize("silent", [0, 1])
def test_one_of_two_people_may_be_silent(golden_dir, two_voices, silent):
    voices = list(two_voices.voices)
    voices[silent] = None
    request = dataclasses.replace(two_voices, voices=tuple(voices))
    windows = [
        event
        for event in Engine(tiny_networks(golden_dir)).run(request)
        if isinstance(event, WindowFinished)
    ]
    assert sum(window.frames.shape[1] for window in windows) == request.frames
    assert all(window.frames.isfinite().all() for window in windows)


def test_a_voice_of_one_clip_is_published_as_too_short_and_is_one_window_here(golden_dir):
    recorded = description(golden_dir, "streaming")["errors"]
    assert all(message.startswith("AssertionError") for message in recorded.values())
    described = description(golden_dir, "end_to_end")
    frames, motion = described["frame_num"], described["motion_frame"]
    with pytest.raises(upstream.TooShortError):
        upstream.schedule([frames], frames, motion, 1000)
    assert upstream.schedule([frames + 7], frames, motion, 1000).out_frames == frames + 4
    request = dataclasses.replace(
        cases.end_to_end_request(golden_dir, next(iter(described["cases"]))),
        frames=frames,
        windows=(ClipWindow(start=0, frames=frames),),
    )
    *_, last = Engine(tiny_networks(golden_dir)).run(request)
    assert last.frames.shape[1] == frames


@pytest.mark.parametrize("fps", [24, 30])
def test_other_frame_rates_give_as_many_frames_as_asked(golden_dir, fps):
    name = next(iter(description(golden_dir, "end_to_end")["cases"]))
    request = dataclasses.replace(
        cases.end_to_end_request(golden_dir, name),
        fps=fps,
        frames=9,
        windows=(ClipWindow(start=0, frames=9),),
    )
    *_, last = Engine(tiny_networks(golden_dir)).run(request)
    assert last.frames.shape[1] == 9
