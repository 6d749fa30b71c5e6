"""Windows cover the speech, time and price follow the rates, and the cost guard holds."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli import contract
from multitalk_cli.errors import ExitCode, RefusedError
from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import (
    NOT_MEASURED,
    cheaper_choices,
    check_cost,
    estimate_all,
    estimate_cost,
    seconds_per_forward,
)
from multitalk_cli.planning.describe import (
    describe_estimates,
    describe_money,
    describe_plan,
    describe_price,
    describe_windows,
)
from multitalk_cli.planning.windows import guidance_branches, make_plan, plan_windows

RATES = rates.load()
SPEECH_S = st.floats(min_value=contract.MIN_SPEECH_S, max_value=contract.MAX_SPEECH_S)
FPS = st.sampled_from([24, 25]) | st.integers(contract.MIN_FPS, contract.MAX_FPS)


def frames_of(seconds, fps):
    rate = contract.MODEL_RATE_HZ
    return contract.frames_from_samples(round(seconds * rate), rate, fps)


def fixed_windows(frames):
    """Full 81-frame windows with 25 motion frames, until the speech's end."""
    covered, count = 81, 1
    while covered < frames:
        covered, count = covered + 56, count + 1
    return count


def plan_of(seconds=10.0, fps=24, size=(896, 448), steps=20, text_guidance=5.0, persons=1):
    return make_plan(
        frames_of(seconds, fps),
        fps,
        size=size,
        sample_steps=steps,
        text_guidance=text_guidance,
        persons=persons,
    )


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
    for frames in range(frames_of(contract.MIN_SPEECH_S, fps), 1800 * fps + 1, 7):
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
    assert (plan.generated_frames, plan.dropped_frames) == (401, 3)
    assert plan.forwards == 20 * 3 * 5
    assert plan.tokens(plan.windows[0]) == 32_928


@pytest.mark.parametrize(("scale", "branches"), [(5.0, 3), (1.0, 2), (1.0 + 1e-12, 2), (0.0, 3)])
def test_a_text_guidance_of_1_spares_a_branch(scale, branches):
    assert guidance_branches(scale) == branches


@given(SPEECH_S)
def test_fresh_spans_tile_the_video(seconds):
    plan = plan_of(seconds)

    spans = plan.fresh_spans

    assert spans[0][0] == 0
    assert spans[-1][1] == pytest.approx(plan.duration_s)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


def test_one_forward_takes_on_an_h100_what_was_measured():
    h100 = RATES.gpu("h100")

    assert seconds_per_forward(32_928, 1, h100, RATES) == pytest.approx(2.517, abs=0.001)
    assert seconds_per_forward(32_928, 2, h100, RATES) == pytest.approx(2.691, abs=0.001)


def test_a_full_window_takes_on_an_h100_what_was_measured():
    estimate = estimate_cost(plan_of(81 / 24), RATES, "h100")

    # The benchmark's clip: 20 steps in bf16 with FlashAttention 3, encoders and VAE included.
    assert estimate.seconds_run == pytest.approx(152.8, rel=0.01)
    assert estimate.measured
    assert estimate.note == ""


def test_money_is_time_in_the_container_kept_apart():
    estimate = estimate_cost(plan_of(), RATES, "h100")

    per_s = 0.001097 + 4 * 0.0000131 + 48 * 0.00000222
    assert estimate.price_run_usd == pytest.approx(estimate.seconds_run * per_s)
    assert estimate.price_start_usd == pytest.approx(estimate.seconds_start * per_s)
    assert estimate.price_idle_usd == pytest.approx(30 * per_s)
    assert estimate.price_usd == pytest.approx(per_s * (estimate.seconds + 30))
    assert estimate.seconds == estimate.seconds_start + estimate.seconds_run


def test_cards_that_were_not_measured_say_so():
    rows = describe_estimates(estimate_all(plan_of(), RATES))

    assert {row[0] for row in rows if row[3] == ""} == {"h100"}
    assert {row[3] for row in rows if row[0] != "h100"} == {NOT_MEASURED}
    assert len(rows) == len(RATES.gpus)


def test_estimates_are_sorted_by_time_below_the_leading_card():
    names = [estimate.gpu for estimate in estimate_all(plan_of(), RATES, first="a100-80gb")]
    seconds = [estimate.seconds for estimate in estimate_all(plan_of(), RATES)]

    assert names[:2] == ["a100-80gb", "b200"]
    assert seconds == sorted(seconds)


@given(st.floats(0.2, 600), st.floats(0.2, 600))
def test_longer_speech_never_costs_less(first, second):
    short, long = sorted((first, second))

    assert (
        estimate_cost(plan_of(short), RATES, "h100").price_usd
        <= estimate_cost(plan_of(long), RATES, "h100").price_usd * 1.0001
    )


def test_fewer_steps_smaller_pictures_and_fewer_branches_cost_less():
    full = estimate_cost(plan_of(), RATES, "h100").price_run_usd

    half = estimate_cost(plan_of(steps=10), RATES, "h100").price_run_usd
    assert half == pytest.approx(full / 2, rel=0.03)
    two_of_three = estimate_cost(plan_of(text_guidance=1.0), RATES, "h100").price_run_usd
    assert two_of_three == pytest.approx(full * 2 / 3, rel=0.03)
    small = estimate_cost(plan_of(size=(448, 448)), RATES, "h100").price_run_usd
    assert small < full / 2


def test_a_card_without_rates_is_no_estimate():
    with pytest.raises(KeyError, match="voodoo2"):
        estimate_cost(plan_of(), RATES, "voodoo2")


@pytest.mark.parametrize("interactive", [True, False])
def test_a_small_job_starts_without_a_question(interactive):
    plan = plan_of(10)

    decision = check_cost(plan, estimate_cost(plan, RATES, "h100"), None, interactive=interactive)

    assert (decision.action, decision.question) == ("go", "")


@pytest.mark.parametrize(
    ("seconds", "size", "said"),
    [
        (61, (448, 224), "1 min 1 s of speech (more than 60 s)"),
        (59, (1280, 720), "a price above $5"),
    ],
)
def test_a_terminal_is_asked_once_above_the_limits(seconds, size, said):
    plan = plan_of(seconds, size=size)
    estimate = estimate_cost(plan, RATES, "h100")

    decision = check_cost(plan, estimate, None, interactive=True)

    assert decision.action == "ask"
    assert said in decision.question
    assert describe_estimates([estimate])[0][2] in decision.question


def test_exactly_60_seconds_needs_no_question():
    plan = plan_of(60, size=(448, 224))

    decision = check_cost(plan, estimate_cost(plan, RATES, "h100"), None, interactive=False)

    assert decision.action == "go"


def test_a_script_must_say_what_it_may_spend():
    plan = plan_of(90)
    estimate = estimate_cost(plan, RATES, "h100")

    with pytest.raises(RefusedError) as refusal:
        check_cost(plan, estimate, None, interactive=False)

    assert refusal.value.code == "E_COST"
    assert refusal.value.exit_code == ExitCode.REFUSED
    assert "--max-cost" in refusal.value.message
    named = float(refusal.value.hint.split("--max-cost ")[1].split(" ")[0])
    assert check_cost(plan, estimate, named, interactive=False).action == "go"


@pytest.mark.parametrize("interactive", [True, False])
@pytest.mark.parametrize("max_cost", [0.5, 0.0, math.nan])
def test_an_estimate_above_the_limit_is_refused_with_both_figures(interactive, max_cost):
    plan = plan_of(10)
    estimate = estimate_cost(plan, RATES, "h100")

    with pytest.raises(RefusedError) as refusal:
        check_cost(plan, estimate, max_cost, interactive=interactive)

    assert describe_estimates([estimate])[0][2] in refusal.value.message
    assert f"--max-cost ${max_cost:g}" in refusal.value.message


def test_figures_that_would_read_the_same_get_more_digits():
    plan = plan_of(10)
    estimate = estimate_cost(plan, RATES, "h100")
    limit = math.floor(estimate.price_usd * 1000) / 1000

    with pytest.raises(RefusedError) as refusal:
        check_cost(plan, estimate, limit, interactive=False)

    assert f"${estimate.price_usd:.4f}, above --max-cost ${limit:g}" in refusal.value.message


def test_an_agreed_limit_covers_long_speech():
    plan = plan_of(90)

    decision = check_cost(plan, estimate_cost(plan, RATES, "h100"), 50, interactive=False)

    assert decision.action == "go"


def test_cheaper_choices_are_named_the_cheapest_first():
    plan = plan_of(61)
    estimate, *others = estimate_all(plan, RATES, first="h100")

    steps, card = cheaper_choices(plan, estimate, others)

    assert steps.startswith("--sample-steps 10 (about $")
    assert card.startswith("--gpu b200 (about $")
    assert cheaper_choices(plan_of(61, steps=10), estimate) == ()


def test_the_choice_of_fewer_steps_costs_what_it_says():
    plan = plan_of(61)
    fewer = estimate_cost(plan_of(61, steps=10), RATES, "h100")

    (choice,) = cheaper_choices(plan, estimate_cost(plan, RATES, "h100"))

    assert describe_estimates([fewer])[0][2] in choice


def test_a_plan_reads_as_one_line():
    assert describe_plan(plan_of(12.4)) == "298 frames at 24 fps in 5 windows, 20 steps, exact"
    assert describe_plan(plan_of(1)) == "24 frames at 24 fps in 1 window, 20 steps, exact"


def test_a_price_reads_as_one_line_with_the_date_of_its_rates():
    plan = plan_of(10)

    line = describe_price(estimate_cost(plan, RATES, "h100"), RATES)
    other = describe_price(estimate_cost(plan, RATES, "b200"), RATES)

    assert line.startswith("about $0.")
    assert line.endswith(f"rates of {RATES.prices.date.isoformat()}")
    assert " on an H100 (" in line
    assert " on a B200 (" in other
    assert other.endswith(NOT_MEASURED)


def test_run_start_and_idle_money_are_named_apart():
    line = describe_money(estimate_cost(plan_of(10), RATES, "h100"))

    assert [word in line for word in ("for the run", "cold start", "idle")] == [True] * 3


def test_windows_read_as_what_each_adds():
    assert describe_windows(plan_of(9.8))[:2] == ("1: 0.0 to 3.4 s", "2: 3.4 to 5.5 s")


def test_a_long_list_of_windows_is_shortened():
    entries = describe_windows(plan_of(600))

    assert len(entries) == 12
    assert entries[-2] == "..."
    assert entries[-1].endswith("600.0 s")
