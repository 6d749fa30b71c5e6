"""A plan and its price in one line each."""

import re

from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import DEFAULT_SETUP, NOT_MEASURED, Experience, estimate_cost
from multitalk_cli.planning.describe import (
    describe_denoising,
    describe_plan,
    describe_price,
    describe_start,
)
from multitalk_cli.planning.presets import PRESETS, Denoising
from tests.planning.plans import plan_of

RATES = rates.load()


def test_a_plan_reads_as_one_line():
    assert describe_plan(plan_of(12.4)) == "298 frames at 24 fps in 5 windows"
    assert describe_denoising(Denoising()) == "20 steps"
    balanced, fast = PRESETS["balanced"], PRESETS["fast"]
    assert describe_denoising(balanced) == "20 steps, tier near, text guidance kept after step 10"
    assert describe_denoising(fast) == "4 steps, tier near, LoRA lightx2v"
    assert describe_plan(plan_of(1)) == "24 frames at 24 fps in 1 window"


def test_a_price_reads_as_one_line_with_the_date_of_its_rates():
    plan = plan_of(10)

    line = describe_price(estimate_cost(plan, RATES, "h100"), RATES)
    other = describe_price(estimate_cost(plan, RATES, "b200"), RATES)

    assert re.match(r"\$0\.\d+ to \$0\.\d+ on an H100 \(", line)
    assert line.endswith(f"rates of {RATES.prices.date.isoformat()}")
    assert " on a B200 (" in other
    assert other.endswith(NOT_MEASURED)
    either = describe_price(estimate_cost(plan, RATES, "auto"), RATES)
    assert " on an H100 or H200 (" in either


def test_a_start_tells_where_it_is_known_from():
    plan = plan_of(10)

    published = describe_start(estimate_cost(plan, RATES, "h100"))
    own = describe_start(
        estimate_cost(plan, RATES, "h100", known=Experience(starts=[41.0, 40, 44]))
    )

    assert published.startswith("30 s to 2 min 10 s in a new container")
    assert own == "40 to 44 s in a new container, included above; by this account's last 3"


def test_a_price_says_by_which_videos_it_is_corrected():
    known = Experience(ratios={("b200", DEFAULT_SETUP): [0.9, 1.2, 1.1, 1.1, 1.0]})

    line = describe_price(estimate_cost(plan_of(10), RATES, "b200", known=known), RATES)

    assert line.endswith(", as your last 5 videos on b200 took")
