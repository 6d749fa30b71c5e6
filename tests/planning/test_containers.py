"""What a container reserves and uses beside its GPU, and what of it is paid for."""

import pytest

from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.containers import (
    billed_gib,
    pool_options,
    reservation,
    reserved_gib,
    used_gib,
    usual_gib,
)
from multitalk_cli.planning.cost import Setup, estimate_cost
from multitalk_cli.planning.gpus import Gpu, streamed_blocks
from multitalk_cli.planning.windows import make_plan
from remote.engine.networks import memory
from remote.weights.config import PUBLISHED

H100 = gpus.find_gpu("h100")


def plan_of(speech_s=81 / 24, *, persons=1, size=(896, 448)):
    return make_plan(round(speech_s * 24), 24, size=size, persons=persons)


@pytest.mark.parametrize(
    ("usable_gib", "streamed", "measured_gib"), [(79.1, 0, 2.0), (22.0, 31, 43.1), (14.6, 40, 52.1)]
)
def test_memory_is_as_measured_with_a_pack_in_full_size(usable_gib, streamed, measured_gib):
    gpu = Gpu(name="x", modal_name="X", usable_gib=usable_gib)

    assert streamed_blocks(gpu, plan_of()) == streamed
    # What makes a video of frames was not part of those runs.
    assert measured_gib < used_gib(plan_of(), gpu) < measured_gib + 3


@pytest.mark.parametrize("gpu", gpus.GPUS, ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("limit", [None, 5_000_000_000])
@pytest.mark.parametrize("size", [(896, 448), (1280, 720)])
def test_blocks_are_streamed_as_the_engine_divides_them(gpu, limit, size):
    plan = plan_of(size=size)
    if not gpus.can_run(gpu, "current", plan):
        return
    frames = plan.windows[0].frames
    work = memory.workload(PUBLISHED.dit, frames, size[1], size[0])
    usable = int(gpu.usable_gib * 2**30)
    kept = gpu.persistent_params if limit is None else limit
    divided = memory.plan_memory(PUBLISHED.dit, work, usable, kept)

    assert streamed_blocks(gpu, plan, limit) == divided.layers - divided.resident


@pytest.mark.parametrize("gpu", gpus.GPUS, ids=lambda gpu: gpu.name)
def test_a_container_reserves_what_a_usual_video_uses(gpu):
    assert reserved_gib(gpu.name) == usual_gib(gpu)


def test_long_voices_are_paid_for_where_they_outgrow_the_reserve():
    short, long = plan_of(10), plan_of(1800, persons=2)

    assert billed_gib(short, H100) == reserved_gib("h100") == 8
    # Two voices of half an hour: 1.6 GB each, twice while they are stacked.
    assert used_gib(long, H100) - used_gib(short, H100) == pytest.approx(
        4 * 1.59e9 / 2**30, rel=0.1
    )
    assert billed_gib(long, H100) == used_gib(long, H100) > 8


def test_the_price_of_a_plan_counts_the_memory_that_is_billed():
    plan, table = plan_of(1800, persons=2), rates.load()

    estimate = estimate_cost(plan, table, "h100")

    per_s = table.price_per_s_usd(table.gpu("h100"), billed_gib(plan, H100))
    assert estimate.price_run_usd == pytest.approx(estimate.seconds_run * per_s)
    assert per_s > table.price_per_s_usd(table.gpu("h100"))


def test_fewer_parameters_on_the_gpu_need_more_memory():
    usual, limited = (
        estimate_cost(plan_of(), rates.load(), "h100", asked=Setup(persistent_params=limit))
        for limit in (None, 5_000_000_000)
    )

    assert pool_options("h100") == {"gpu": "H100", "cpu": 4, "memory": 8 * 1024}
    assert pool_options("h100", 5_000_000_000)["memory"] == 40 * 1024
    assert limited.price_run_usd > usual.price_run_usd


def test_a_limit_that_is_the_gpu_s_own_changes_nothing():
    own = gpus.find_gpu("a10g").persistent_params

    assert pool_options("a10g", own) == pool_options("a10g")


def test_auto_has_the_reserve_of_the_deploy_unless_it_needs_more():
    assert pool_options("auto") == {}
    assert pool_options("auto", 5_000_000_000) == {"memory": 40 * 1024}
    assert reservation(("h100", "t4")) == {"cpu": 4, "memory": 56 * 1024}
