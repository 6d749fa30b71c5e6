"""The step cache: one decision per step, and each branch its own residual."""

import pytest
import torch

from remote.engine.sampling.cache import (
    COEFFICIENTS,
    CacheSettings,
    Residuals,
    StepDecider,
    plan_steps,
)
from tests.engine import cases, upstream
from tests.engine.tiny import description, tensors


def test_coefficients_are_the_recorded_ones(golden_dir):
    recorded = description(golden_dir, "teacache")["coefficients"]
    assert {name[-3:]: tuple(values) for name, values in recorded.items()} == COEFFICIENTS


def test_one_decision_serves_all_branches_of_a_step(golden_dir):
    runs = description(golden_dir, "teacache")["runs"]
    for run in (run for run in runs.values() if run["series"] == "shared"):
        settings = CacheSettings(
            threshold=run["thresh"], coefficients=COEFFICIENTS[run["model_scale"][-3:]]
        )
        plan = plan_steps(settings, tensors(golden_dir, "teacache")["series/shared"])
        assert [plan[step] for _, step, *_ in run["rows"]] == [bool(row[4]) for row in run["rows"]]


def test_two_branches_share_slots_as_published_and_have_their_own_here(golden_dir):
    recorded = description(golden_dir, "teacache")["two_branch_bug"]["rows"]
    branches = ["cond", "drop_audio"]
    steps = 1 + max(row[0] for row in recorded)
    published = upstream.cache_slots(steps, branches)
    assert published == [tuple(row[:3]) for row in recorded]
    slots = {branch: {slot for _, b, slot in published if b == branch} for branch in branches}
    assert slots["cond"] & slots["drop_audio"]
    kept = Residuals()
    for branch, added in (("cond", 1.0), ("drop_audio", 5.0)):
        kept.run(branch, torch.zeros(1), True, lambda x, a=added: x + a)
    given = [kept.run(b, torch.zeros(1), False, torch.abs).item() for b in branches]
    assert given == [1.0, 5.0]


def test_published_counters_stay_where_a_run_stopped_and_ours_start_anew(golden_dir):
    described = description(golden_dir, "teacache")
    assert described["cnt_after_second_teacache_init"] != 0
    settings = CacheSettings(threshold=1e9)
    for _ in range(2):
        decider = StepDecider(settings=settings)
        decisions = [decider.decide(torch.ones(2) * (1 + step)) for step in range(9)]
        assert decisions == [True] * settings.warmup_steps + [False] * 4


def test_without_settings_every_step_is_computed():
    assert plan_steps(None, [torch.ones(1)] * 3) == [True] * 3


def test_a_threshold_of_zero_computes_every_step(golden_dir):
    series = tensors(golden_dir, "teacache")["series/shared"]
    assert all(plan_steps(CacheSettings(threshold=0.0), series))


def test_a_negative_threshold_is_refused():
    with pytest.raises(ValueError, match=r"threshold is -0\.1"):
        CacheSettings(threshold=-0.1)


def test_a_skipped_step_differs_from_a_computed_one(golden_dir):
    recorded = tensors(golden_dir, "teacache")
    runs = description(golden_dir, "teacache")["runs"]
    run = next(run for name, run in runs.items() if f"{name}/out" in recorded)
    outputs = cases.cached_outputs(golden_dir, run)
    rows = run["rows"]
    skipped = next(i for i, row in enumerate(rows) if not row[4])
    same_branch = next(i for i, row in enumerate(rows) if row[2] == rows[skipped][2] and row[4])
    assert not torch.equal(outputs[skipped], outputs[same_branch])
