"""A paid call of `doctor`: recorded, followed to its answer, cancelled by an interrupt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import await_answer
from multitalk_cli.jobs.ledger import DOCTOR
from multitalk_cli.jobs.paid import paid_call

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.reporting.reporter import Reporter

_LONGEST_S = 1800.0


def call_container(
    cloud: Cloud,
    spawn: Callable[[str], str],
    reporter: Reporter,
    *,
    option: str,
    stage: str,
    gpu: str = "",
    stack: str = "",
    run_s: Callable[[Mapping[str, Any]], float] | None = None,
) -> Mapping[str, Any]:
    """The container's answer.

    spawn(job): makes the call, whose container reports its time under that id. option: of `doctor`,
    the label in the ledger. stage: the word for the work while it lasts. run_s(answer): the seconds
    that were paid, where the container reported none on the way; else from the call to its end,
    which is the most. Raises what `paid_call` and `await_answer` raise.
    """
    began_s = time.monotonic()
    with (
        paid_call(cloud.place, DOCTOR, option, reporter, gpu=gpu, stack=stack) as record,
        reporter.progress() as progress,
    ):

        def show() -> None:
            progress.show(contract.Stage(name=stage))
            state = cloud.state(record.id)
            if state is not None:
                record.ran(float(state["run_s"]))

        answer = await_answer(
            cloud, lambda: record.spawned(spawn(record.id)), show, reporter, limit_s=_LONGEST_S
        )
        record.ran(time.monotonic() - began_s if run_s is None else run_s(answer))
        show()
    return answer
