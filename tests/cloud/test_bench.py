"""The price of a benchmark, and its comparison with the rates."""

import pytest

from multitalk_cli import contract
from multitalk_cli.cli.views import bench as view
from multitalk_cli.cloud import bench
from multitalk_cli.contract.bench_task import BenchTask
from multitalk_cli.errors import RefusedError, UsageError
from multitalk_cli.planning import cost, rates
from remote.bench.quality import TIMES
from remote.engine.sampling.guidance import Branch


def task(**changes):
    """A benchmark of one person on an H100."""
    values = {"size": "896x448", "persons": "1", "steps": 3, "gpu": "h100", "attention": "auto"}
    return bench.make_task(**values | changes)


# The task


@pytest.mark.parametrize(("persons", "timed"), [("1", (1,)), ("2", (2,)), ("both", (1, 2))])
def test_one_two_or_both_are_timed(persons, timed):
    assert task(persons=persons).persons == timed


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"size": "auto"}, "WIDTHxHEIGHT"),
        ({"size": "896x"}, "WIDTHxHEIGHT"),
        ({"size": "900x448"}, "--size 900x448"),
        ({"size": "896x4096"}, "--size 896x4096"),
        ({"persons": "3"}, "--persons"),
        ({"steps": 0}, "--steps"),
        ({"steps": 11}, "--steps"),
    ],
)
def test_what_is_out_of_range_is_named(changes, word):
    with pytest.raises(UsageError, match=word) as caught:
        task(**changes)

    assert (caught.value.code, caught.value.exit_code) == ("E_RANGE", 2)


def test_a_task_crosses_the_wire():
    asked = task(gpu="a10g", persons="both")

    assert contract.from_wire(BenchTask, contract.to_wire(asked)) == asked
    assert asked.persistent_params == 8_000_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"persons": [1, 1]},
        {"persons": []},
        {"job_id": "../up"},
        {"steps": 1000},
        {"width_px": 33},
        {"persistent_params": -1},
    ],
)
def test_a_container_takes_no_other_task(changes):
    with pytest.raises(contract.ContractError):
        contract.from_wire(BenchTask, contract.to_wire(task()) | changes)


# Its price


def test_more_work_costs_more():
    small = bench.estimate(task(steps=1), "h100", "current")
    large = bench.estimate(task(steps=1, persons="both"), "h100", "current")

    assert 0 < small.seconds < large.seconds
    assert 0 < small.price_usd < large.price_usd
    assert view.cost_line(large).startswith("h100: starts a container")


def test_the_errors_of_tiers_cost_what_their_forwards_do():
    assert len(Branch) * (len(TIMES) + 1) == bench.COMPARED_FORWARDS
    one = bench.estimate(task(quality=True, steps=None), "h100", "current")
    both = bench.estimate(task(quality=True, steps=None, persons="both"), "h100", "current")
    # Exact twice, near and turbo take more than three times the exact forwards.
    assert both.seconds - one.seconds > 3 * bench.COMPARED_FORWARDS * expected_s("h100")
    # Without turbo there.
    assert bench.estimate(task(quality=True, steps=None), "l40s", "current").seconds > 0
    with pytest.raises(RefusedError) as caught:
        bench.estimate(task(quality=True, steps=None), "a10g", "current")
    assert caught.value.code == "E_TIER"


def test_a_gpu_that_was_not_measured_is_named():
    assert "not measured" in view.cost_line(bench.estimate(task(), "l40s", "current"))
    older = bench.estimate(task(attention="fa2"), "h100", "cuda12.1")
    assert "not measured with the stack cuda12.1" in view.cost_line(older)


@pytest.mark.parametrize(
    ("gpu", "stack", "changes", "code"),
    [
        ("b200", "cuda12.1", {}, "E_GPU_STACK"),
        ("t4", "current", {"size": "2048x2048"}, "E_GPU_TOO_SMALL"),
        ("h100", "current", {"attention": "fa2"}, "E_ATTENTION_STACK"),
    ],
)
def test_a_gpu_that_cannot_do_it_is_rejected(gpu, stack, changes, code):
    with pytest.raises(RefusedError) as caught:
        bench.estimate(task(**changes), gpu, stack)

    assert caught.value.code == code


# The rates


def report(device, forward_s):
    """A report as a container gives it, of one person."""
    prices = [
        {"speech_s": speech_s, "is_cold": is_cold, "seconds_per_s": 40.0}
        for speech_s, is_cold in ((3.3, False), (10.0, False), (5.0, True))
    ]
    row = {"persons": 1, "forward": {"median": forward_s}, "prices": prices}
    return {"machine": {"device": device}, "runs": [row]}


def expected_s(gpu):
    table = rates.load()
    return cost.seconds_per_forward(32_928, 1, table.gpu(gpu), table)


@pytest.mark.parametrize(
    ("times", "verdict"),
    [(1.0, "estimates hold"), (1.6, "estimates are too low"), (0.5, "estimates are too high")],
)
def test_the_measured_speed_is_compared_with_the_rates(times, verdict):
    measured = report("NVIDIA H100 80GB HBM3", times * expected_s("h100"))

    (found,) = bench.compare(measured, task(), "auto", "current")

    assert found.ratio == pytest.approx(times)
    assert f"{times:.2f} times as long: {verdict}" in view.comparison_line(found)


def test_it_is_compared_with_the_gpu_of_the_container():
    (found,) = bench.compare(report("NVIDIA H200", expected_s("h200")), task(), "h100", "current")

    assert (found.gpu, found.ratio) == ("h200", pytest.approx(1.0))
    table = rates.load()
    # Asked for an H100, so that its price is paid.
    price = 40.0 * table.price_per_s_usd(table.gpu("h100"))
    assert found.usd_per_video_s == pytest.approx(price)
