"""A plan and its price in one line each."""

from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import NOT_MEASURED, estimate_cost
from multitalk_cli.planning.describe import describe_plan, describe_price
from tests.planning.plans import plan_of

RATES = rates.load()


def test_a_plan_reads_as_one_line():
    assert describe_plan(plan_of(12.4)) == "298 frames at 24 fps in 5 windows, 20 steps"
    assert describe_plan(plan_of(1)) == "24 frames at 24 fps in 1 window, 20 steps"


def test_a_price_reads_as_one_line_with_the_date_of_its_rates():
    plan = plan_of(10)

    line = describe_price(estimate_cost(plan, RATES, "h100"), RATES)
    other = describe_price(estimate_cost(plan, RATES, "b200"), RATES)

    assert line.startswith("about $0.")
    assert line.endswith(f"rates of {RATES.prices.date.isoformat()}")
    assert " on an H100 (" in line
    assert " on a B200 (" in other
    assert other.endswith(NOT_MEASURED)
