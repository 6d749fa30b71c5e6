"""The table of GPUs, and which of them can make what."""

import pytest

from multitalk_cli import contract
from multitalk_cli.errors import RefusedError
from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.cost import estimate_cost
from multitalk_cli.planning.windows import make_plan
from remote.engine.networks import memory
from remote.weights.config import PUBLISHED


def plan_of(width=896, height=448, frames=81):
    return make_plan(
        frames,
        24,
        size=(width, height),
        persons=1,
        window_frames=max(81, frames),
    )


def test_every_gpu_has_a_rate_and_every_rate_a_gpu():
    assert {gpu.name for gpu in gpus.GPUS} == {rate.name for rate in rates.load().gpus}


def test_names_and_aliases_are_unique():
    assert len(set(gpus.NAMES)) == len(gpus.NAMES)


@pytest.mark.parametrize(
    ("name", "modal_name"),
    [("a10", "A10"), ("a10g", "A10"), ("a100", "A100-40GB"), ("auto", "H100"), ("b200", "B200")],
)
def test_names_lead_to_modal_names(name, modal_name):
    assert gpus.find_gpu(name).modal_name == modal_name


def test_the_first_choice_costs_less_than_the_gpus_that_were_promised():
    plan, table = plan_of(), rates.load()
    price = {gpu.name: estimate_cost(plan, table, gpu.name).price_usd for gpu in table.gpus}

    for fallback in gpus.FALLBACKS:
        assert price[fallback] < min(price["a10g"], price["a100-40gb"], price["a100-80gb"])


@pytest.mark.parametrize("name", [gpu.name for gpu in gpus.GPUS])
def test_every_gpu_makes_the_default_size(name):
    gpus.check_gpu(gpus.find_gpu(name), "current", plan_of())


def test_what_a_gpu_must_hold_is_what_the_engine_plans_with():
    plan = plan_of(1280, 720)
    work = memory.workload(PUBLISHED.dit, 81, 720, 1280)
    assert work.tokens == plan.tokens(plan.windows[0])

    needed = gpus.needed_gib(plan) * 2**30

    assert memory.plan_memory(PUBLISHED.dit, work, round(needed) + 1).resident == 0
    with pytest.raises(memory.GpuTooSmallError):
        memory.plan_memory(PUBLISHED.dit, work, round(needed) - 1)


@pytest.mark.parametrize(("name", "billions"), [("a10", 8), ("a100", 11), ("a100-80gb", 22)])
def test_gpus_keep_as_many_parameters_as_was_promised(name, billions):
    assert gpus.find_gpu(name).persistent_params == billions * 10**9


def test_a_gpu_that_is_too_small_is_refused_with_the_smallest_that_is_not():
    with pytest.raises(RefusedError) as caught:
        gpus.check_gpu(gpus.find_gpu("t4"), "current", plan_of(1280, 720))

    assert caught.value.code == "E_GPU_TOO_SMALL"
    assert caught.value.message == "1280x720 needs 20 GB, t4 has 15 GB"
    assert caught.value.facts == {"gpu": "l4"}


@pytest.mark.parametrize("stack", contract.STACK_CLASSES)
def test_the_largest_size_of_all_fits_on_a_gpu_of_every_stack(stack):
    with pytest.raises(RefusedError) as caught:
        gpus.check_gpu(gpus.find_gpu("h100"), stack, plan_of(2048, 2048, 201))

    assert caught.value.facts == {"gpu": "h200"}


def test_a_gpu_newer_than_the_stack_is_refused():
    with pytest.raises(RefusedError) as caught:
        gpus.check_gpu(gpus.find_gpu("b200"), "cuda12.1", plan_of())

    assert (caught.value.code, caught.value.facts) == ("E_GPU_STACK", {"stack": "current"})


# Attention


@pytest.mark.parametrize(
    ("name", "gpu", "stack"),
    [
        ("auto", "t4", "current"),
        ("fa3", "h100", "current"),
        ("fa2", "a100", "cuda12.1"),
        ("xformers", "t4", "cuda12.1"),
        ("sdpa-cudnn", "l40s", "cuda12.1"),
    ],
)
def test_a_stack_has_its_attention_kernels(name, gpu, stack):
    gpus.check_attention(name, gpus.find_gpu(gpu), stack)


@pytest.mark.parametrize(
    ("name", "gpu", "stack", "facts"),
    [
        ("fa2", "h100", "current", {"stack": "cuda12.1"}),
        ("fa3", "h100", "cuda12.1", {"stack": "current"}),
        # That stack does not run on the GPU.
        ("fa2", "b200", "current", {"attention": "auto"}),
        ("fa2", "t4", "cuda12.1", {"attention": "auto"}),
        ("fa4", "h100", "current", {"attention": "auto"}),
    ],
)
def test_another_attention_is_refused_with_what_helps(name, gpu, stack, facts):
    with pytest.raises(RefusedError, match=f"no attention {name} on {gpu}") as caught:
        gpus.check_attention(name, gpus.find_gpu(gpu), stack)

    assert (caught.value.code, caught.value.facts) == ("E_ATTENTION_STACK", facts)


@pytest.mark.parametrize(
    ("tier", "gpu", "stack", "preset", "words"),
    [
        (
            "turbo",
            "l4",
            "current",
            "fastest",
            "preset fastest needs h100 or h200: no tier turbo on l4",
        ),
        (
            "near",
            "h100",
            "cuda12.1",
            "fast",
            "preset fast needs the stack current: no tier near on",
        ),
        ("turbo", "l4", "current", "", "no tier turbo on l4"),
    ],
)
def test_a_tier_is_refused_in_the_words_that_were_typed(tier, gpu, stack, preset, words):
    with pytest.raises(RefusedError) as caught:
        gpus.check_tier(tier, gpus.find_gpu(gpu), stack, preset)
    assert caught.value.message.startswith(words)
