"""Time and price follow the rates, and the cost guard holds."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.errors import ExitCode, RefusedError
from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.cost import (
    DEFAULT_SETUP,
    NOT_MEASURED,
    Experience,
    Setup,
    cheaper_choices,
    check_cost,
    estimate_all,
    estimate_cost,
    estimate_presets,
    price_of,
    seconds_for,
    seconds_per_forward,
)
from multitalk_cli.planning.presets import Denoising
from multitalk_cli.reporting.formatting import human_money
from tests.planning.plans import plan_of

RATES = rates.load()


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


def test_a_limit_pays_for_the_run_and_the_idle_container_after_it():
    seconds = seconds_for("h100", 2.0)

    assert price_of("h100", seconds + RATES.idle.scaledown_s) == pytest.approx(2.0)
    assert (seconds_for("h100", None), seconds_for("h100", 0.0)) == (None, 0.0)


def test_money_is_time_in_the_container_kept_apart():
    estimate = estimate_cost(plan_of(), RATES, "h100")

    per_s = 0.001097 + 4 * 0.0000131 + 8 * 0.00000222
    assert estimate.price_run_usd == pytest.approx(estimate.seconds_run * per_s)
    assert estimate.price_start_usd == pytest.approx(estimate.start.most_s * per_s)
    assert estimate.price_idle_usd == pytest.approx(30 * per_s)
    assert estimate.price_usd == pytest.approx(per_s * (estimate.seconds + 30))
    assert estimate.price_least_usd == pytest.approx(per_s * (estimate.seconds_least + 30))
    assert estimate.seconds == estimate.start.most_s + estimate.seconds_run


def test_a_start_is_the_published_range_until_this_account_has_its_own():
    published, few, own = (
        estimate_cost(plan_of(), RATES, "h100", known=Experience(starts=starts))
        for starts in ((), (50, 60), (50, 60, 44))
    )

    assert (published.start.least_s, published.start.most_s) == (30, 130)
    assert published.seconds - published.seconds_least == pytest.approx(100)
    assert few == published
    assert (own.start.least_s, own.start.most_s, own.start.known) == (44, 60, 3)
    assert published.price_least_usd < own.price_usd < published.price_usd


def by_videos(ratios, gpu="h100", asked=DEFAULT_SETUP, plan=None):
    """An estimate by this account's videos that took so many times as long as estimated."""
    known = Experience(ratios={(gpu, DEFAULT_SETUP): ratios})
    return estimate_cost(plan or plan_of(), RATES, gpu, asked, known)


def test_an_estimate_follows_the_median_of_own_videos_once_there_are_enough():
    usual, few, own = (by_videos(ratios) for ratios in ((), (2, 2), (1.5, 1.2, 40)))

    assert few == usual
    assert [(pace.factor, pace.known) for pace in own.paces] == [(1.5, 3)]
    assert own.seconds_run == pytest.approx(1.5 * usual.seconds_run)
    assert own.price_run_usd == pytest.approx(1.5 * usual.price_run_usd)
    assert own.seconds_denoise / own.seconds_run == pytest.approx(
        usual.seconds_denoise / usual.seconds_run
    )
    assert own.seconds_least - own.start.least_s == pytest.approx(1.5 * usual.seconds_run)


@given(st.lists(st.floats(0.001, 1000), max_size=8))
def test_own_videos_never_lower_what_the_guard_counts(ratios):
    usual, own = by_videos(()), by_videos(ratios)

    assert usual.price_usd <= own.price_usd <= 3 * usual.price_usd
    assert own.price_least_usd <= own.price_usd
    assert usual.seconds_run / 2 <= own.seconds_least - own.start.least_s + 1e-6


def test_quick_videos_make_the_least_less():
    usual, own = by_videos(()), by_videos((0.8, 0.7, 0.8, 0.9, 0.8))

    assert own.price_usd == usual.price_usd
    assert own.seconds_least == pytest.approx(usual.start.least_s + 0.8 * usual.seconds_run)


def test_videos_of_another_gpu_or_setup_say_nothing():
    usual = estimate_cost(plan_of(), RATES, "l40s")
    known = Experience(ratios={("h100", DEFAULT_SETUP): (2, 2, 2)})

    assert estimate_cost(plan_of(), RATES, "l40s", known=known) == usual
    assert by_videos((2, 2, 2), asked=Setup(attention="sdpa")).paces == ()
    assert by_videos((2, 2, 2), gpu="l40s").measured


def test_auto_takes_as_long_as_the_slower_of_its_choices():
    known = Experience(ratios={("h200", DEFAULT_SETUP): (2, 2, 2)})
    auto = estimate_cost(plan_of(), RATES, "auto", known=known)
    h200 = estimate_cost(plan_of(), RATES, "h200", known=known)

    assert (auto.seconds, auto.paces) == (h200.seconds, h200.paces)
    assert auto.price_usd >= h200.price_usd


def test_the_guard_measures_the_longest_start():
    plan = plan_of(2)
    estimate = estimate_cost(plan, RATES, "h100")
    between = (estimate.price_least_usd + estimate.price_usd) / 2

    with pytest.raises(RefusedError, match="up to"):
        check_cost(plan, estimate, between, interactive=False)


def test_auto_costs_from_the_cheapest_to_the_dearest_of_its_choices():
    plan = plan_of()
    auto = estimate_cost(plan, RATES, "auto")
    h100, h200 = (estimate_cost(plan, RATES, name) for name in gpus.FALLBACKS)

    assert (auto.gpu, auto.other_gpu) == ("h100", "h200")
    assert auto.price_least_usd == min(h100.price_least_usd, h200.price_least_usd)
    assert auto.price_usd >= max(h100.price_usd, h200.price_usd)
    assert auto.seconds == max(h100.seconds, h200.seconds)
    assert estimate_all(plan, RATES, "auto")[0] == auto
    assert estimate_all(plan, RATES, "h100")[0] == h100


def test_gpus_that_were_not_measured_are_marked():
    notes = {estimate.gpu: estimate.note for estimate in estimate_all(plan_of(), RATES)}

    assert notes.pop("h100") == ""
    assert set(notes.values()) == {NOT_MEASURED}
    assert len(notes) == len(RATES.gpus) - 1


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        (Setup(), ""),
        (Setup(attention="fa3"), ""),
        (Setup(attention="sdpa"), "estimate: not measured with --attention sdpa"),
        (Setup(stack="cuda12.1"), "estimate: not measured with the stack cuda12.1"),
        (
            Setup(stack="cuda12.1", attention="fa2"),
            "estimate: not measured with the stack cuda12.1",
        ),
    ],
)
def test_a_setup_that_was_not_measured_is_planned_with_the_rates_there_are(asked, note):
    estimate = estimate_cost(plan_of(), RATES, "h100", asked=asked)

    assert (estimate.note, estimate.measured) == (note, not note)
    assert estimate.seconds == estimate_cost(plan_of(), RATES, "h100").seconds
    assert estimate_all(plan_of(), RATES, "h100", asked=asked)[0] == estimate


def test_a_stack_that_was_measured_is_planned_with_its_own_rates():
    slower = replace(RATES.speed, per_token_s=2 * RATES.speed.per_token_s)
    table = replace(RATES, speeds={**RATES.speeds, "cuda12.1": slower})

    own = estimate_cost(plan_of(), table, "h100", asked=Setup(stack="cuda12.1"))

    assert own.measured
    assert own.seconds_denoise > 1.3 * estimate_cost(plan_of(), table, "h100").seconds_denoise


def test_estimates_are_sorted_by_time_below_the_leading_gpu():
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


def test_a_gpu_without_rates_has_no_estimate():
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
    assert human_money(estimate.price_usd) in decision.question


def test_exactly_60_seconds_needs_no_question():
    plan = plan_of(60, size=(448, 224))

    decision = check_cost(plan, estimate_cost(plan, RATES, "h100"), None, interactive=False)

    assert decision.action == "go"


def test_a_script_must_pass_a_limit():
    plan = plan_of(90)
    estimate = estimate_cost(plan, RATES, "h100")

    with pytest.raises(RefusedError) as refusal:
        check_cost(plan, estimate, None, interactive=False)

    assert refusal.value.code == "E_COST"
    assert refusal.value.exit_code == ExitCode.REFUSED
    assert "--max-cost" in refusal.value.message
    enough = refusal.value.facts["enough_usd"]
    assert enough == pytest.approx(estimate.price_usd, abs=0.11)
    assert check_cost(plan, estimate, enough, interactive=False).action == "go"


@pytest.mark.parametrize("interactive", [True, False])
@pytest.mark.parametrize("max_cost", [0.5, 0.0, math.nan])
def test_an_estimate_above_the_limit_is_refused_with_both_figures(interactive, max_cost):
    plan = plan_of(10)
    estimate = estimate_cost(plan, RATES, "h100")

    with pytest.raises(RefusedError) as refusal:
        check_cost(plan, estimate, max_cost, interactive=interactive)

    assert human_money(estimate.price_usd) in refusal.value.message
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

    steps, gpu = cheaper_choices(plan, estimate, others)

    assert steps.startswith("--steps 10 (about $")
    assert gpu.startswith("--gpu b200 (about $")
    assert cheaper_choices(plan_of(61, steps=10), estimate) == ()
    fewer_usd = estimate_cost(plan_of(61, steps=10), RATES, "h100").price_usd
    assert cheaper_choices(plan, estimate, others, fewer_usd + 0.01) == (steps,)
    assert cheaper_choices(plan, estimate, others, 0.01) == (steps, gpu)


@pytest.mark.parametrize(
    ("limit", "preset"), [(None, "balanced"), (4.5, "balanced"), (1.5, "fast"), (0.01, None)]
)
def test_the_preset_that_loses_least_within_the_limit_is_named(limit, preset):
    plan = plan_of(61)
    estimate = estimate_cost(plan, RATES, "h100")
    presets = estimate_presets(plan, RATES, "h100", Denoising())

    with pytest.raises(RefusedError) as refusal:
        check_cost(plan, estimate, limit, interactive=False, presets=presets)

    named = [each.split()[1] for each in refusal.value.facts["cheaper"] if "--preset" in each]
    assert named == ([] if preset is None else [preset])


def test_the_choice_of_fewer_steps_costs_its_named_price():
    plan = plan_of(61)
    fewer = estimate_cost(plan_of(61, steps=10), RATES, "h100")

    (choice,) = cheaper_choices(plan, estimate_cost(plan, RATES, "h100"))

    assert human_money(fewer.price_usd) in choice
