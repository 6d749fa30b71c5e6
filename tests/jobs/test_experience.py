"""What finished videos say of the next one."""

import json
from dataclasses import replace

import pytest

from multitalk_cli.contract import DEFAULT_FPS
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.experience import experience_of, read_experience
from multitalk_cli.jobs.ledger import Ledger, ledger_path
from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import DEFAULT_SETUP, Setup, estimate_cost
from multitalk_cli.planning.windows import plan_of_recipe
from tests.jobs.test_ledger import job_of
from tests.planning.plans import plan_of, recipe_of

RATES = rates.load()


def done(number, gpu_seconds, gpu="h100", start_s=None, plan=None, **more):
    """A finished video. Numbers count from the newest one."""
    result = {"gpu": gpu, "gpu_seconds": gpu_seconds, "start_s": start_s}
    return job_of(
        f"{number:08}",
        recipe=json.dumps(recipe_of(plan or plan_of())),
        result=json.dumps(result),
        state=jobs_ledger.DONE,
        **more,
    )


@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("seconds", [1, 10, 61.3])
def test_a_recipe_records_the_whole_plan(seconds, persons):
    plan = plan_of(seconds, persons=persons)

    assert plan_of_recipe(recipe_of(plan)) == plan
    assert plan.fps == DEFAULT_FPS
    assert plan_of_recipe({}) is None


def test_a_ratio_compares_a_video_with_its_own_plan():
    short, long = (estimate_cost(plan_of(each), RATES, "h100").seconds_run for each in (4, 40))
    jobs = [done(0, 1.2 * short, plan=plan_of(4)), done(1, 1.1 * long, plan=plan_of(40))]

    assert experience_of(jobs).ratios[("h100", DEFAULT_SETUP)] == pytest.approx([1.2, 1.1])


def test_reading_weights_and_work_done_twice_are_no_pace():
    usual_s = estimate_cost(plan_of(), RATES, "h100").seconds_run
    jobs = [
        done(0, usual_s + 60, start_s=60.0),
        done(1, 3 * usual_s, attempt=1),
        done(2, None),
        done(3, 20.0, start_s=30.0),
        done(4, usual_s, gpu="a card of next year"),
        replace(done(5, usual_s), recipe="{}"),
        done(6, 60.0, plan=plan_of(1, size=(64, 64))),
    ]

    known = experience_of(jobs)

    assert list(known.starts) == [60.0, 30.0]
    assert [ratios for ratios in known.ratios.values() if ratios] == [pytest.approx([1.0])]


def test_each_gpu_and_setup_is_kept_apart_and_only_the_newest_count():
    request = json.dumps({"settings": {"attention": "sdpa", "persistent_params": 8e9}})
    forced = Setup(attention="sdpa", persistent_params=8_000_000_000)
    jobs = [done(number, 100.0 + number) for number in range(8)]
    jobs += [done(8, 100.0, gpu="h200"), done(9, 100.0, request=request)]
    jobs += [done(10, 100.0, stack="cuda12.1")]

    ratios = experience_of(jobs).ratios

    usual_s = estimate_cost(plan_of(), RATES, "h100").seconds_run
    expected = [(100.0 + number) / usual_s for number in range(5)]
    assert ratios[("h100", DEFAULT_SETUP)] == pytest.approx(expected)
    assert {("h200", DEFAULT_SETUP), ("h100", forced), ("h100", Setup(stack="cuda12.1"))} == (
        ratios.keys() - {("h100", DEFAULT_SETUP)}
    )


def test_only_finished_videos_of_the_app_are_read(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert read_experience("multitalk", "").starts == []
    ledger = Ledger(ledger_path())
    for number, start_s in enumerate([50.0, 61.5]):
        ledger.start(replace(done(number, 100.0, start_s=start_s), fingerprint=f"{number}"))
    ledger.start(job_of("9" * 8, "9"))

    assert read_experience("multitalk", "").starts == [61.5, 50.0]
    assert read_experience("other", "").starts == []
    ledger_path().write_bytes(b"no database, but long enough to be one" * 9)
    assert read_experience("multitalk", "").starts == ()
