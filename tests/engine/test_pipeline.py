"""The run: progress, stopping, going on, guards, caches, and requests that cannot work."""

import dataclasses
from contextlib import nullcontext

import pytest
import torch

from remote.engine.errors import (
    BlackFramesError,
    FrozenFramesError,
    NotANumberError,
    PlacesError,
)
from remote.engine.features import MemoryStore, cached, feature_name
from remote.engine.pipeline import Engine, to_bytes
from remote.engine.request import ClipWindow, Progress, Resume, StepFinished, WindowFinished
from remote.engine.sampling.cache import CacheSettings
from remote.engine.sampling.guards import check_frames, check_latents
from remote.engine.sampling.guidance import Guidance
from remote.engine.sampling.masks import PixelBox
from tests.engine import cases
from tests.engine.tiny import description, tiny_networks


@pytest.fixture(scope="module")
def request_of_two_windows(golden_dir):
    recorded = description(golden_dir, "end_to_end")["cases"]
    name = next(name for name, case in recorded.items() if case["n_clips"] == 2)
    return cases.end_to_end_request(golden_dir, name)


@pytest.fixture(scope="module")
def networks(golden_dir):
    return tiny_networks(golden_dir)


@pytest.fixture(scope="module")
def events(networks, request_of_two_windows):
    return list(Engine(networks).run(request_of_two_windows))


def _windows(events):
    return [event for event in events if isinstance(event, WindowFinished)]


def test_all_stages_report_their_progress(events, request_of_two_windows):
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(stages)) == ["prepare", "encode", "denoise", "decode"]
    denoised = [e for e in events if isinstance(e, Progress) and e.stage == "denoise"]
    assert [e.done for e in denoised if e.window == 0] == list(range(1, denoised[0].total + 1))
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert len(steps) == 2 * request_of_two_windows.steps


def test_windows_join_to_the_length_asked_for(events, request_of_two_windows):
    lengths = [window.frames.shape[1] for window in _windows(events)]
    assert sum(lengths) == request_of_two_windows.frames
    assert lengths[0] == request_of_two_windows.windows[0].frames


def test_the_same_request_gives_the_same_frames(networks, events, request_of_two_windows):
    again = _windows(Engine(networks).run(request_of_two_windows))
    for first, second in zip(_windows(events), again, strict=True):
        assert torch.equal(first.frames, second.frames)


def _shortened(request, **changes):
    """One window of three steps."""
    first = request.windows[:1]
    return dataclasses.replace(request, windows=first, frames=first[0].frames, steps=3, **changes)


def _frames(networks, request):
    events = list(Engine(networks).run(request))
    total = {e.total for e in events if isinstance(e, Progress) and e.stage == "denoise"}
    return _windows(events)[0].frames, total


def test_text_in_all_steps_is_exact_and_in_fewer_takes_fewer_forwards(
    networks, request_of_two_windows
):
    exact, gated, fewer = (
        _frames(networks, _shortened(request_of_two_windows, guidance=Guidance(text_steps=steps)))
        for steps in (None, 3, 1)
    )
    assert torch.equal(gated[0], exact[0])
    assert (exact[1], gated[1], fewer[1]) == ({9}, {9}, {7})
    assert not torch.equal(fewer[0], exact[0])


def test_listed_times_are_those_of_the_steps(networks, request_of_two_windows):
    published = _shortened(request_of_two_windows, shift=5.0)
    listed = dataclasses.replace(published, times=tuple(published.step_times()[:-1].tolist()))
    other = dataclasses.replace(published, times=(1000.0, 2500 / 3, 625.0))
    frames = [_frames(networks, request)[0] for request in (published, listed, other)]
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": (1000.0,)}, "1 times for 3 steps"),
        ({"times": (900.0, 950.0, 100.0)}, "do not fall"),
        ({"guidance": Guidance(text_steps=1), "cache": CacheSettings()}, "same branches"),
    ],
)
def test_steps_that_do_not_fit_together_are_refused(request_of_two_windows, changes, message):
    with pytest.raises(ValueError, match=message):
        _shortened(request_of_two_windows, **changes)


def test_another_seed_gives_other_frames(networks, events, request_of_two_windows):
    other = dataclasses.replace(request_of_two_windows, seed=0)
    assert not torch.equal(
        _windows(Engine(networks).run(other))[0].frames, _windows(events)[0].frames
    )


def test_going_on_after_a_window_gives_the_same_frames(networks, events, request_of_two_windows):
    first, second = _windows(events)
    resume = Resume(window=1, motion=first.motion)
    (resumed,) = _windows(Engine(networks).run(request_of_two_windows, resume))
    assert torch.equal(resumed.frames, second.frames)


def test_going_on_after_the_last_window_has_nothing_to_do(networks, events, request_of_two_windows):
    resume = Resume(window=2, motion=_windows(events)[-1].motion)
    assert _windows(Engine(networks).run(request_of_two_windows, resume)) == []


@pytest.mark.parametrize("window", [0, 3])
def test_windows_that_cannot_be_resumed_are_refused(
    networks, events, request_of_two_windows, window
):
    resume = Resume(window=window, motion=_windows(events)[0].motion)
    with pytest.raises(ValueError, match=f"window {window} of 2"):
        list(Engine(networks).run(request_of_two_windows, resume))


def test_motion_of_another_size_is_refused(networks, request_of_two_windows):
    with pytest.raises(ValueError, match="motion"):
        list(
            Engine(networks).run(
                request_of_two_windows, Resume(window=1, motion=torch.zeros(3, 1, 8, 8))
            )
        )


def test_closing_runs_no_further_forward(networks, request_of_two_windows):
    dit = cases.Recording(networks.dit, "velocity")
    running = Engine(dataclasses.replace(networks, dit=dit)).run(request_of_two_windows)
    for event in running:
        if isinstance(event, Progress) and event.stage == "denoise":
            break
    running.close()
    assert len(dit.calls) == 1


def test_the_consumer_is_left_out_of_inference_mode(networks, request_of_two_windows):
    for event in Engine(networks).run(request_of_two_windows):
        assert not torch.is_inference_mode_enabled()
        if isinstance(event, StepFinished):
            break


def test_a_kept_step_costs_no_blocks(networks, request_of_two_windows):
    dit = cases.Recording(networks.dit, "run_blocks")
    request = dataclasses.replace(
        request_of_two_windows,
        windows=request_of_two_windows.windows[:1],
        frames=5,
        steps=8,
        guidance=Guidance(text_scale=1.0),
        cache=CacheSettings(threshold=1e9),
    )
    list(Engine(dataclasses.replace(networks, dit=dit)).run(request))
    assert len(dit.calls) == 5 * 2


def test_prompts_and_the_picture_are_encoded_once(networks, request_of_two_windows):
    encoded = []
    counting = dataclasses.replace(
        networks, text=lambda ids, mask: encoded.append(ids) or networks.text(ids, mask)
    )
    store = MemoryStore()
    for _ in range(2):
        Engine(counting, features=store).prepare(request_of_two_windows)
    assert len(encoded) == 2
    other = dataclasses.replace(counting, revision="other weights")
    Engine(other, features=store).prepare(request_of_two_windows)
    assert len(encoded) == 4


def test_the_latents_of_a_picture_are_kept_for_other_videos(networks, request_of_two_windows):
    vae = cases.Recording(networks.vae, "encode")
    engine = Engine(dataclasses.replace(networks, vae=vae))
    other = dataclasses.replace(request_of_two_windows, seed=request_of_two_windows.seed + 1)
    list(engine.run(request_of_two_windows))
    frames = [each.frames for each in engine.run(other) if isinstance(each, WindowFinished)]
    assert len(vae.calls) == len(("the picture", "what follows", "what follows in the other"))
    alone = [
        each.frames for each in Engine(networks).run(other) if isinstance(each, WindowFinished)
    ]
    assert all(map(torch.equal, frames, alone))
    mirrored = dataclasses.replace(other, picture=other.picture.flip(2))
    list(engine.run(mirrored))
    assert len(vae.calls) == 5


def test_the_memory_store_forgets_the_oldest():
    store = MemoryStore(limit=2)
    for name in ("a", "b", "c"):
        cached(store, name, lambda: torch.zeros(1))
    assert store.load("a") is None
    assert store.load("c") is not None


def test_values_that_are_no_numbers_are_not_kept():
    store = MemoryStore()
    broken = torch.tensor([1.0, float("nan")])
    assert cached(store, "a", lambda: broken) is broken
    assert torch.equal(cached(store, "a", lambda: torch.ones(2)), torch.ones(2))


def test_feature_names_tell_kind_revision_and_content_apart():
    names = {
        feature_name(kind, revision, content)
        for kind in ("text", "image")
        for revision in ("1", "2")
        for content in (b"1", b"2")
    }
    assert len(names) == 8


class _Broken:
    """A VAE whose frames are replaced."""

    def __init__(self, vae, frames):
        self._vae, self._frames = vae, frames
        self.decodes = 0

    def __getattr__(self, name):
        return getattr(self._vae, name)

    def decode_chunks(self, latents):
        yield self._frames(torch.cat(list(self._vae.decode_chunks(latents)), dim=2))

    def decode(self, latents):
        self.decodes += 1
        return self._frames(self._vae.decode(latents))


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        (lambda video: video * float("nan"), NotANumberError),
        (lambda video: torch.full_like(video, -1), BlackFramesError),
        (lambda video: video[:, :, :1].expand_as(video), FrozenFramesError),
    ],
)
def test_frames_that_are_no_video_end_the_run(networks, request_of_two_windows, frames, error):
    request = dataclasses.replace(request_of_two_windows, color_strength=0.0)
    broken = dataclasses.replace(networks, vae=_Broken(networks.vae, frames))
    with pytest.raises(error) as raised:
        list(Engine(broken).run(request))
    assert raised.value.code.startswith("E_")


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_bad_latents_end_the_run_after_the_first_steps(networks, request_of_two_windows, steps):
    broken = cases.Recording(networks.dit)
    broken.velocity = lambda _x, _time, grid: torch.full(
        (16, grid[0], 2 * grid[1], 2 * grid[2]), float("nan")
    )
    request = dataclasses.replace(request_of_two_windows, steps=steps)
    finished = []
    with pytest.raises(NotANumberError, match=f"after step {min(steps, 2)}"):
        for event in Engine(dataclasses.replace(networks, dit=broken)).run(request):
            finished.append(event)
    assert sum(isinstance(event, StepFinished) for event in finished) == min(steps, 2) - 1


def test_black_first_estimates_end_the_run_early(networks, request_of_two_windows):
    broken = _Broken(networks.vae, lambda video: torch.full_like(video, -1))
    with pytest.raises(BlackFramesError, match="after step 2"):
        list(Engine(dataclasses.replace(networks, vae=broken)).run(request_of_two_windows))
    assert broken.decodes == 1


def test_dark_frames_of_a_dark_picture_pass():
    dark = torch.full((3, 2, 4, 4), -0.99)
    dark[:, 1] = -1
    check_frames(dark, torch.full((3, 4, 4), -0.9), "here")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda frames: frames[:, 1].fill_(-1), None),
        (lambda frames: frames[:, 1].copy_(frames[:, 0]), None),
        (lambda frames: frames.fill_(-1), BlackFramesError),
        (lambda frames: frames.copy_(frames[:, :1].expand_as(frames).clone()), FrozenFramesError),
        (lambda frames: frames[0, 1, 0, 0].fill_(float("nan")), NotANumberError),
    ],
    ids=["one black", "one frozen", "all black", "all frozen", "one not a number"],
)
def test_only_wholly_bad_frames_end_a_run(change, error):
    frames = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    change(frames)
    with nullcontext() if error is None else pytest.raises(error):
        check_frames(frames, torch.ones(3, 4, 4), "window 2")


def test_latents_that_never_change_are_refused():
    with pytest.raises(FrozenFramesError, match="every latent frame"):
        check_latents(torch.ones(16, 3, 2, 2), "here")


def test_bytes_are_cut_not_rounded():
    frames = torch.tensor([-2.0, -1.0, 0.999, 1.0]).view(1, 4, 1, 1).expand(3, 4, 1, 1)
    assert to_bytes(frames)[:, 0, 0, 0].tolist() == [0, 0, 254, 255]


_BOX = PixelBox(top=0, left=0, bottom=8, right=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion_frames": 26}, "motion_frames is 26, not 4n"),
        ({"motion_frames": 9}, "does not follow"),
        ({"windows": ()}, "do not start at frame 0"),
        ({"windows": (ClipWindow(start=4, frames=5),)}, "do not start at frame 0"),
        ({"frames": 99}, "before 99 frames"),
        ({"voices": (None,)}, "one with a voice"),
        ({"voices": ()}, "one or two persons"),
        ({"voices": (torch.full((9,), float("nan")),)}, "finite"),
        ({"voices": (torch.zeros(0),)}, "no wave"),
        ({"boxes": (_BOX, _BOX)}, "2 boxes for 1 voices"),
        ({"width_px": 40}, "multiples of 16"),
        ({"prompt_ids": ()}, "at least the end token"),
        ({"steps": 0}, "0 steps"),
        ({"color_strength": 1.5}, "color_strength is 1.5"),
    ],
)
def test_requests_that_cannot_work_are_refused(request_of_two_windows, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(request_of_two_windows, **changes)


def test_windows_have_4n_plus_1_frames():
    with pytest.raises(ValueError, match="is 12, not 4n"):
        ClipWindow(start=0, frames=12)


def test_boxes_are_refused_before_any_network_runs(golden_dir, networks):
    recorded = description(golden_dir, "end_to_end")["cases"]
    name = next(name for name, case in recorded.items() if case["humans"] == 2)
    request = cases.end_to_end_request(golden_dir, name)
    everything = PixelBox(top=0, left=0, bottom=999, right=999)
    wav2vec = cases.Recording(networks.wav2vec, "features")
    engine = Engine(dataclasses.replace(networks, wav2vec=wav2vec))
    with pytest.raises(PlacesError, match="cover all"):
        engine.prepare(dataclasses.replace(request, boxes=(everything, everything)))
    assert wav2vec.calls == []
