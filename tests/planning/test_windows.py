"""Windows cover the speech, and a plan counts its work."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli import contract
from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.cost import estimate_cost
from multitalk_cli.planning.windows import plan_windows
from tests.planning.plans import frames_of, plan_of

SPEECH_S = st.floats(min_value=contract.MIN_SPEECH_S, max_value=contract.MAX_SPEECH_S)
FPS = st.sampled_from([24, 25]) | st.integers(contract.MIN_FPS, contract.MAX_FPS)


def fixed_windows(frames):
    """Full 81-frame windows with 25 motion frames, until the speech's end."""
    covered, count = 81, 1
    while covered < frames:
        covered, count = covered + 56, count + 1
    return count


def check_windows(frames, windows, window_frames=81, motion_frames=25):
    assert windows[0].start == 0
    for before, window in itertools.pairwise(windows):
        assert before.end - window.start == motion_frames
        assert 0 <= before.frames - window.frames <= 4
    assert all(window.frames % 4 == 1 for window in windows)
    assert all(window.frames <= window_frames for window in windows)
    assert len(windows) == 1 or windows[-1].frames > motion_frames
    assert 0 <= windows[-1].end - frames <= (3 if frames >= 2 else 4)


@given(SPEECH_S, FPS)
def test_windows_cover_any_speech_to_one_frame(seconds, fps):
    frames = frames_of(seconds, fps)

    windows = plan_windows(frames)

    check_windows(frames, windows)
    assert frames / fps >= seconds - 1 / contract.MODEL_RATE_HZ
    assert frames / fps - seconds < 1 / fps + 1 / contract.MODEL_RATE_HZ


@pytest.mark.parametrize("fps", [24, 25])
def test_every_length_to_30_minutes_is_covered_with_at_most_3_frames_dropped(fps):
    for frames in range(frames_of(contract.MIN_SPEECH_S, fps), 1800 * fps + 1, 29):
        windows = plan_windows(frames)
        assert 0 <= windows[-1].end - frames <= 3


def test_short_speech_of_every_length_is_windowed_right():
    for frames in range(1, 700):
        check_windows(frames, plan_windows(frames))


@given(st.integers(5, 45_000))
def test_no_more_is_generated_or_attended_to_than_with_fixed_windows(frames):
    windows = plan_windows(frames)

    fixed = fixed_windows(frames)
    if len(windows) == 1:
        assert windows[0].frames == contract.clip_frames(frames)
    assert len(windows) <= fixed
    assert sum(window.frames for window in windows) <= 81 * fixed
    latents = [window.frames // 4 + 1 for window in windows]
    assert sum(latent**2 for latent in latents) <= 21**2 * fixed


@given(
    st.integers(1, 108_000),
    st.integers(1, 50).map(lambda n: 4 * n + 1),
    st.integers(0, 49).map(lambda n: 4 * n + 1),
)
def test_any_window_and_motion_sizes_hold_the_rules(frames, window_frames, motion_frames):
    if motion_frames >= window_frames:
        with pytest.raises(ValueError, match="motion_frames"):
            plan_windows(frames, window_frames=window_frames, motion_frames=motion_frames)
        return

    windows = plan_windows(frames, window_frames=window_frames, motion_frames=motion_frames)

    check_windows(frames, windows, window_frames, motion_frames)


def test_longer_windows_make_fewer_of_them():
    assert [w.frames for w in plan_windows(201, window_frames=201)] == [201]
    assert [w.frames for w in plan_windows(202, window_frames=201)] == [117, 113]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"window_frames": 80}, "window_frames"),
        ({"window_frames": 205}, "window_frames"),
        ({"window_frames": 1}, "window_frames"),
        ({"motion_frames": 24}, "motion_frames"),
        ({"motion_frames": 81}, "motion_frames"),
        ({"motion_frames": -3}, "motion_frames"),
    ],
)
def test_impossible_sizes_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        plan_windows(100, **options)


def test_no_frames_and_three_persons_are_refused():
    with pytest.raises(ValueError, match="frames must be 1 or more"):
        plan_windows(0)
    with pytest.raises(ValueError, match="persons must be 1 to 2"):
        plan_of(persons=3)


@given(SPEECH_S, FPS)
def test_the_windows_of_any_plan_fit_a_request(seconds, fps):
    plan = plan_of(seconds, fps)

    request = contract.GenerateRequest(
        job_id="a" * 8,
        image=b"png",
        width_px=plan.width_px,
        height_px=plan.height_px,
        speakers=(contract.Speaker(audio=b"flac"),),
        sound=None,
        prompt="",
        negative_prompt="",
        sample_steps=plan.sample_steps,
        seed=0,
        text_guidance=5.0,
        audio_guidance=4.0,
        shift=7.0,
        fps=plan.fps,
        frames=plan.frames,
        windows=plan.windows,
        motion_frames=plan.motion_frames,
        recipe="{}",
    )

    assert request.windows == plan.windows


def test_a_plan_counts_its_work():
    plan = plan_of(12.4, 24)

    assert plan.frames == 298
    assert plan.duration_s == pytest.approx(298 / 24)
    assert [window.frames for window in plan.windows] == [81, 81, 81, 81, 77]
    assert (plan.generated_frames, plan.repeated_frames, plan.dropped_frames) == (401, 100, 3)
    assert plan.forwards == 20 * 3 * 5
    assert plan.tokens(plan.windows[0]) == 32_928


@given(SPEECH_S, FPS)
def test_a_plan_accounts_for_every_frame_that_is_made(seconds, fps):
    plan = plan_of(seconds, fps)

    made = [number for w in plan.windows for number in range(w.start, w.end)]
    assert plan.generated_frames == sum(window.frames for window in plan.windows) == len(made)
    assert plan.repeated_frames == len(made) - len(set(made))
    assert plan.dropped_frames == sum(number >= plan.frames for number in set(made))
    assert plan.frames + plan.repeated_frames + plan.dropped_frames == plan.generated_frames


@given(SPEECH_S)
def test_fresh_spans_tile_the_video(seconds):
    plan = plan_of(seconds)

    spans = plan.fresh_spans

    assert spans[0][0] == 0
    assert spans[-1][1] == pytest.approx(plan.duration_s)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("frames", "size", "windows"),
    [
        (81, (896, 448), [81]),
        (82, (896, 448), [85]),
        (101, (896, 448), [101]),
        (102, (896, 448), [65, 65]),
        (101, (448, 448), [101]),
        # The larger picture, the dearer a long window.
        (85, (1280, 720), [57, 53]),
        # One window would be cheaper, but not fit a T4.
        (97, (640, 720), [61, 61]),
    ],
)
def test_one_longer_window_is_planned_where_it_is_cheaper(frames, size, windows):
    plan = plan_of((frames - 0.5) / 24, size=size)

    assert plan.frames == frames
    assert [window.frames for window in plan.windows] == windows


@given(
    st.integers(1, 400),
    st.sampled_from([(32, 32), (448, 448), (896, 448), (640, 640), (1024, 576), (1280, 720)]),
    st.sampled_from([1, 2]),
)
def test_no_plan_takes_longer_or_fits_fewer_gpus_than_in_short_windows(frames, size, persons):
    plan = plan_of(frames / 24, size=size, persons=persons)
    short = replace(plan, windows=plan_windows(plan.frames))

    assert plan.windows[-1].end >= plan.frames
    for gpu in gpus.GPUS:
        if gpus.can_run(gpu, "current", short):
            assert gpus.can_run(gpu, "current", plan)
            longest, shortest = (
                estimate_cost(each, rates.load(), gpu.name) for each in (short, plan)
            )
            assert shortest.seconds_run <= longest.seconds_run
