"""The bodies of the deployed functions for the Volume of weights, independent of Modal.

A call reports its progress under `weights/CALL` of the dict of states, and ends once
`weights/CALL/cancel` exists; `weights/call/0` names the newest call that downloads weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.contract import weights_task
from multitalk_cli.contract.weights_task import WeightsTask
from multitalk_cli.errors import StorageError, error_from_code
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
        save=partial(_commit, volume) if writes else None,
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
                _commit(volume)
        return {"answer": answer, "precision": task.precision, "run_s": reporter.run_s}


def _commit(volume: Volume) -> None:
    """Saves what was written. Raises StorageError for a refusal: a Volume that is full, or gone."""
    try:
        volume.commit()
    # Modal's errors have types that are not known here.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        name = contract.WEIGHTS_VOLUME
        message = f"the Volume {name} (https://modal.com/storage) cannot be saved: {reason}"
        raise StorageError(message, code="E_STORAGE") from error
