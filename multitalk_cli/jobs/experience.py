"""What this account's finished videos say of the next one: how long starts and runs took."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import AUTO_ATTENTION, EXACT_TIER
from multitalk_cli.errors import FileError
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.planning import cost, rates
from multitalk_cli.planning.cost import Experience, Setup
from multitalk_cli.planning.windows import plan_of_recipe

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import Job

_RECENT_JOBS, _RECENT_STARTS, _RECENT_VIDEOS = 100, 10, 5
_SHORTEST_S = 20.0
"""Of a shorter run most is work that a longer one does not have more of."""


def read_experience(app: str, environment: str) -> Experience:
    """What is known of the app; nothing where the ledger is unusable.

    A plan is worth as much with the published figures.
    """
    try:
        jobs = Ledger().finished(app, environment, _RECENT_JOBS)
    except FileError:
        return Experience()
    return experience_of(jobs)


def experience_of(jobs: list[Job]) -> Experience:
    """What these finished videos took. jobs: the newest first."""
    starts: list[float] = []
    ratios: dict[tuple[str, Setup], list[float]] = {}
    for job in jobs:
        result = json.loads(job.result)
        start_s = result.get("start_s")
        if start_s is not None and len(starts) < _RECENT_STARTS:
            starts.append(float(start_s))
        key = (str(result.get("gpu")), setup_of(job))
        known = ratios.setdefault(key, [])
        ratio = _ratio(job, result, *key) if len(known) < _RECENT_VIDEOS else None
        if ratio is not None:
            known.append(ratio)
    return Experience(starts=starts, ratios=ratios)


def setup_of(job: Job) -> Setup:
    """What was asked for. Versions that recorded no arguments had no such options."""
    settings = json.loads(job.request)["settings"] if job.request else {}
    parameters = settings.get("persistent_params")
    return Setup(
        stack=job.stack,
        attention=settings.get("attention", AUTO_ATTENTION),
        persistent_params=None if parameters is None else int(parameters),
        tier=settings.get("tier", EXACT_TIER),
    )


def _ratio(job: Job, result: dict[str, Any], gpu: str, setup: Setup) -> float | None:
    """Its measured seconds over the estimated ones; None where they cannot be compared.

    A resumed job made a window twice, and only a container's first job read the weights.
    """
    plan, measured_s = plan_of_recipe(json.loads(job.recipe)), result.get("gpu_seconds")
    table = rates.load()
    is_known = gpu in {each.name for each in table.gpus}
    if plan is None or measured_s is None or job.attempt or not is_known:
        return None
    usual_s = cost.estimate_cost(plan, table, gpu, setup).seconds_run
    run_s = float(measured_s) - float(result.get("start_s") or 0.0)
    return run_s / usual_s if run_s > 0 and usual_s >= _SHORTEST_S else None
