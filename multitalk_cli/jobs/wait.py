"""Waiting for jobs to end, without following each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.errors import TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.listing import Refreshed, refresh_all
from multitalk_cli.storage.retry import SYSTEM_CLOCK, Clock, RetryPolicy

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import Job, Ledger
    from multitalk_cli.jobs.refresh import ListedJob
    from multitalk_cli.reporting.reporter import Reporter

WAITING = "jobs"
"""The stage of waiting; its units are jobs."""
_LEAST_PAUSE_S, _PAUSE_EACH_S, _MOST_PAUSE_S = 1.0, 0.05, 10.0
_PATIENCE = RetryPolicy(pauses_s=(1.0,), limit_s=600.0)

_ANSWERED_WITHIN_S = 60.0

Ask = Callable[["Ledger", Sequence["Job"]], Refreshed]


def _ask(ledger: Ledger, jobs: Sequence[Job]) -> Refreshed:
    return refresh_all(ledger, jobs, within_s=_ANSWERED_WITHIN_S, most=len(jobs))


def wait(
    ledger: Ledger,
    jobs: Sequence[Job],
    reporter: Reporter,
    on_end: Callable[[ListedJob], None],
    *,
    clock: Clock = SYSTEM_CLOCK,
    ask: Ask = _ask,
) -> list[ListedJob]:
    """The jobs once all have ended, in their order.

    on_end: receives each one as it ends. Raises TemporaryError E_NETWORK where Modal stays out of
    reach; the jobs keep running then, as they do when the user stops waiting.
    """
    reporter.leaving = "the jobs keep running; wait for them again with: multitalk jobs wait"
    ended: dict[str, ListedJob] = {}
    running, retry = list(jobs), _PATIENCE.start(clock)
    with reporter.progress() as progress:
        while running:
            newest = ask(ledger, running)
            if newest.error is not None and not isinstance(newest.error, TemporaryError):
                raise newest.error
            for job in running:
                listed = newest.of(job)
                if listed.job.state not in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING):
                    ended[job.id] = listed
                    on_end(listed)
            running = [newest.of(job).job for job in running if job.id not in ended]
            spent_usd = sum(job.price_usd or 0.0 for job in running)
            spent_usd += sum(each.job.price_usd or 0.0 for each in ended.values())
            progress.show(contract.Stage(name=WAITING, done=len(ended), total=len(jobs)), spent_usd)
            if not newest.problem:
                retry.succeed()
            elif not retry.wait():
                raise TemporaryError(f"{newest.problem}; the jobs keep running", code="E_NETWORK")
            if running:
                clock.sleep(_pause_s(len(running)))
    return [ended[job.id] for job in jobs]


def _pause_s(jobs: int) -> float:
    """The more jobs are asked about, the longer the pause."""
    return min(_MOST_PAUSE_S, max(_LEAST_PAUSE_S, _PAUSE_EACH_S * jobs))
