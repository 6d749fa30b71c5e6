"""The benchmark of a model that is loaded: its own networks, and nothing is kept of it."""

from dataclasses import replace

import pytest
import torch

from multitalk_cli import contract
from multitalk_cli.contract.bench_task import BenchTask
from remote.bench import measure as bench_measure
from remote.bench.measure import measure
from remote.bench.networks import borrow
from remote.bench.options import BenchOptions
from remote.bench.report import table
from remote.engine.errors import FrozenFramesError
from remote.engine.kernels.attention import LOADERS, SDPA
from remote.worker import bench
from tests.remote.requests import open_model
from tests.remote.worker.test_generate import States

TASK = BenchTask(job_id="abcdabcd", width_px=32, height_px=32, persons=(1,), steps=1)


@pytest.fixture(scope="module")
def model(tiny_pack):
    return open_model(tiny_pack, Untouched())


class Untouched:
    """A store of features that nobody may use."""

    def load(self, name):
        raise AssertionError(name)

    def save(self, name, _features):
        raise AssertionError(name)


@pytest.fixture
def parts(monkeypatch):
    """Takes the place of the measuring: what it is called with, and what it raises."""
    seen, errors = [], [FrozenFramesError("window 1: all 81 frames are the same")]

    def measure(config, options, *, loaded, on_part):
        seen.append((config, options, loaded))
        on_part("arithmetic")
        raise errors[0]

    monkeypatch.setattr(bench, "measure", measure)
    return seen, errors


def test_the_loaded_engine_is_what_is_measured(model, parts):
    seen, _ = parts
    states = States()
    asked = replace(TASK, attention="sdpa-flash")

    answer = bench.bench(model, contract.to_wire(asked), states)

    ((_, options, loaded),) = seen
    assert loaded is model.engine
    assert loaded.backend.name == "sdpa-flash"
    assert (options.width_px, options.persons, options.device) == (32, (1,), "cpu")
    assert answer["event"]["code"] == "E_FROZEN"
    assert '"name": "arithmetic"' in states["abcdabcd"]


def test_a_card_that_is_too_small_is_an_answer_and_a_mistake_is_none(model, parts):
    _, errors = parts
    errors[0] = torch.cuda.OutOfMemoryError("tried to allocate 2 GiB")
    answer = bench.bench(model, contract.to_wire(TASK), States())
    assert answer["event"]["code"] == "E_OUT_OF_MEMORY"

    errors[0] = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        bench.bench(model, contract.to_wire(TASK), States())


@pytest.mark.parametrize(
    ("changes", "code"), [({"contract": 99}, "E_CONTRACT"), ({"steps": 99}, "E_REQUEST")]
)
def test_another_contract_or_task_loads_nothing(changes, code):
    answer = bench.bench(None, contract.to_wire(TASK) | changes, States())

    assert answer["event"]["code"] == code


def test_networks_are_borrowed_and_prompts_are_random(model):
    for _ in model.load():
        pass
    borrowed = borrow(model.engine)

    assert borrowed.networks.dit is model.engine.networks.dit
    assert borrowed.networks.vae is model.engine.networks.vae
    assert borrowed.backend is model.engine.backend
    assert borrowed.networks.revision != model.engine.networks.revision
    ids = torch.arange(5)
    assert torch.equal(*(borrowed.networks.text(ids, torch.ones_like(ids)) for _ in range(2)))
    assert model.engine.networks.text is not borrowed.networks.text


def test_where_there_is_no_room_what_needs_other_weights_is_left_out(model, monkeypatch):
    for _ in model.load():
        pass
    monkeypatch.setattr(bench_measure, "has_room", lambda _: False)
    options = BenchOptions(
        width_px=32, height_px=32, frames=9, motion_frames=5, measured_steps=1, persons=(1,),
        device="cpu",
    )  # fmt: skip
    parts = []

    report = measure(
        model.engine.networks.config, options, loaded=model.engine, on_part=parts.append
    )

    assert parts == ["arithmetic", "attention", "networks", "twice", "1 person"]
    assert "float32" not in report
    assert list(report["encoders"]) == ["image"]
    assert "text encoder left out: no memory" in table(report)
    assert "attention sdpa (preferred)" in table(report)


@pytest.fixture(scope="module")
def compared(tiny_pack):
    """The tiers' errors of two persons, by a model of its own: it ends in turbo.

    Another exact kernel is there, in float64.
    """
    task = replace(TASK, quality=True, persons=(2,), prompt="A talk", negative_prompt="noise")
    model, states = open_model(tiny_pack), States()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "fa3", lambda: in_float64)
        return model, states, bench.bench(model, contract.to_wire(task), states)["report"]


def in_float64(q, k, v):
    return SDPA.kernel(q.double(), k.double(), v.double()).to(v.dtype)


def test_tiers_are_compared_with_exact_on_the_example(compared):
    model, states, report = compared

    exact, floor, near, turbo = (row["errors"] for row in report["rows"])
    assert set(exact["guided 5/4"] + exact["dText"] + exact["dAudio"]) == {0}
    assert exact["gated 5/4"][0] == 0 < min(exact["gated 5/4"][1:])
    assert 0 < max(floor["guided 5/4"]) < min(near["guided 5/4"]) < 0.2
    assert min(turbo["dAudio"]) > 0
    names = ["exact", "floor", "near", "turbo"]
    assert [(row["tier"], row["persons"]) for row in report["rows"]] == [(n, 2) for n in names]
    assert min(report["rows"][2]["of_floor"]["dText"]) > 1
    assert (report["kernel"], report["floor_kernel"]) == ("sdpa", "fa3")
    assert (report["times"], report["options"]["frames"]) == ([950, 700, 350], 77)
    assert model.machine.tier == "turbo"
    assert '"name": "turbo"' in states["abcdabcd"]


def test_without_another_kernel_and_without_a_tier_the_reasons_are_named(tiny_pack, monkeypatch):
    model = open_model(tiny_pack)
    kernels8 = model._kernels8

    def without_turbo(tier):
        if tier == "turbo":
            model.notes = ("made in near: turbo: no such kernel",)
            return kernels8("near")
        return kernels8(tier)

    monkeypatch.setattr(model, "_kernels8", without_turbo)
    task = replace(TASK, quality=True, prompt="A talk", negative_prompt="noise")

    report = bench.bench(model, contract.to_wire(task), States())["report"]

    rows = report["rows"]
    assert (report["kernel"], report["floor_kernel"]) == ("sdpa", None)
    assert {"fa3", "sdpa-flash"} <= report["floor_refused"].keys()
    assert [row["of_floor"] for row in rows[:-1]] == [None, None]
    assert rows[-1] == {"tier": "turbo", "refused": "made in near: turbo: no such kernel"}
