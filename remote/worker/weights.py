"""The bodies of the deployed functions for the Volume of weights, independent of Modal.

A call reports its progress under `weights/CALL` of the dict of states, and ends once
`weights/CALL/cancel` exists; `weights/call/0` names the newest call that downloads weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.contract import weights_task
from multitalk_cli.contract.weights_task import WeightsTask
from multitalk_cli.errors import error_from_code
from multitalk_cli.storage.hub import Hub
from remote.weights.folder import WeightsFolder
from remote.worker.failures import as_answer, read_wire
from remote.worker.reporter import Reporter, States
from remote.worker.volume_store import Volume


@as_answer()
def work_on_weights(
    wire: Mapping[str, Any],
    call_id: str,
    *,
    folder: Path,
    states: States,
    volume: Volume,
    writes: bool,
) -> dict[str, Any]:
    """Does a task and answers with its result.

    writes: whether the folder may be changed. What came so far is committed however it ends.
    """
    task = read_wire(WeightsTask, wire)
    if task.kind in weights_task.WRITING and not writes:
        raise ValueError(f"{task.kind} needs the function that writes")
    if task.kind == "bring":
        states.put(f"{weights_task.CALLS}/call/0", json.dumps(call_id))
    volume.reload()
    weights = WeightsFolder(
        folder=folder,
        packs=weights_task.PACKS_THERE,
        open_hub=lambda endpoint: Hub.of_surroundings(endpoint=endpoint),
        is_disk=False,
        save=volume.commit if writes else None,
    )
    facts = {"precision": task.precision}
    with Reporter(states, f"{weights_task.CALLS}/{call_id}", facts) as reporter:

        def show(event: contract.Event) -> None:
            reporter.show(event)
            if reporter.is_cancelled:
                raise error_from_code("E_CANCELLED", "the download was cancelled")

        try:
            answer = weights.run(task, show)
        finally:
            if writes:
                volume.commit()
        return {"answer": answer, "precision": task.precision, "run_s": reporter.run_s}
