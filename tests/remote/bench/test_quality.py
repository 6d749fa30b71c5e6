"""How far two ways of computing velocities differ, on velocities that are made up."""

import json
from collections import namedtuple

import pytest
import torch

from remote.bench.clock import Clock
from remote.bench.quality import TIMES, Candidate, compare, find_floor_kernel, gate_time
from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels import attention
from remote.engine.kernels.attention import SDPA, AttentionBackend
from remote.engine.sampling.guidance import Branch

Request = namedtuple("Request", "times shift")
REQUEST = Request(times=(TIMES[0], gate_time(7.0), *TIMES[1:]), shift=7.0)
CLOCK = Clock(torch.device("cpu"))


def candidate(name, *, off=0.0, branch=Branch.COND, apart=3):
    """Velocities that depend on branch and step, with one branch off by so much."""

    def velocities(request):
        for step in range(len(request.times)):
            for number, each in enumerate(Branch):
                own = apart * number + step * (number == 0)
                values = torch.arange(8.0).reshape(1, 2, 2, 2) + own
                yield step, each, values + (off if each == branch else 0.0)

    return Candidate(name=name, velocities=velocities)


def rows_of(*others, floor=None):
    rows = compare(candidate("exact"), floor, others, {1: REQUEST}, CLOCK)
    return {row["tier"]: row for row in rows}


def test_an_error_in_the_branch_of_text_and_voice_is_multiplied_by_the_guidance():
    errors = rows_of(candidate("near", off=0.01))["near"]["errors"]

    norm = float(torch.arange(8.0).norm())
    assert errors["one branch"][0] == pytest.approx(0.01 * 8**0.5 / norm, rel=1e-3)
    assert errors["dAudio"] == [0, 0, 0]
    # cond - drop_text is -3 everywhere in the first step.
    assert errors["dText"][0] == pytest.approx(0.01 / 3, rel=1e-3)


def test_errors_are_multiples_of_those_of_another_exact_kernel():
    rows = rows_of(candidate("near", off=0.03), floor=candidate("floor", off=0.01))

    assert rows["near"]["of_floor"]["guided 5/4"] == pytest.approx([3, 3, 3], rel=1e-2)
    # Both have the same audio difference, which is exact in both.
    assert rows["near"]["of_floor"]["dAudio"] == [None, None, None]
    assert list(rows) == ["exact", "floor", "near"]


def test_an_error_is_no_share_of_nothing():
    """Equal prompts change nothing in exact; JSON has no infinity."""
    alike = {
        name: candidate(name, off=off, apart=0) for name, off in (("exact", 0.0), ("near", 0.1))
    }

    rows = compare(alike["exact"], alike["near"], [alike["near"]], {1: REQUEST}, CLOCK)

    (_, _, near) = (json.loads(json.dumps(row, allow_nan=False)) for row in rows)
    # In the first step all branches are alike, later that of text and voice is not.
    assert near["errors"]["dText"][0] is near["of_floor"]["dText"][0] is None
    assert near["errors"]["dAudio"] == [0, 0, 0]
    assert near["of_floor"]["dText"][1] == pytest.approx(1)


def test_gating_keeps_the_difference_by_the_text_of_its_last_step():
    errors = rows_of()["exact"]["errors"]

    assert errors["gated 5/4"][0] == 0
    # The difference by the text grows by 1 a step from the gate on, and counts four times.
    first, second = errors["gated 5/4"][1:]
    assert 0 < first < second


def test_what_does_not_run_or_gives_no_numbers_is_a_row_with_the_reason():
    def refuse(_request):
        raise BackendUnavailableError("no 8 bits here")

    rows = rows_of(Candidate(name="near", velocities=refuse), candidate("turbo", off=float("nan")))

    assert rows["near"] == {"tier": "near", "refused": "no 8 bits here"}
    assert "turbo, at time 950" in rows["turbo"]["refused"]


def test_a_kernel_that_computes_the_same_is_no_floor(monkeypatch):
    other = AttentionBackend(name="fa3", kernel=lambda q, k, v: SDPA.kernel(q, k, v) * 1.001)
    loaded = {"fa4": SDPA, "fa3": other}
    monkeypatch.setattr("remote.bench.quality.load_backend", lambda name, *_: loaded[name])
    monkeypatch.setattr("remote.bench.quality.LOADERS", ("sdpa", "fa4", "fa3"))
    device, dtype = torch.device("cpu"), torch.float32

    found = find_floor_kernel(SDPA, device, dtype, 8)

    assert found == ("fa3", {"fa4": "computes the same as sdpa"})
    assert set(attention.LOADERS) > {"sdpa", "fa3"}
