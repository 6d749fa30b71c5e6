"""The arguments of a job's call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.storage.upload import UploadTarget


def call_wire(
    job: Job,
    request: contract.GenerateRequest | None,
    upload: UploadTarget | None = None,
    *,
    keep_inputs: bool,
    persistent_params: int | None = None,
    most_s: float | None = None,
) -> dict[str, Any]:
    """The arguments of a call in their wire form.

    request, upload: None where the cloud keeps them for the job. persistent_params: None for the
    number that suits the GPU. most_s: seconds that all runs of the job may take; None without a
    limit, or, where the cloud keeps the request, for the one that it keeps too.
    """
    suited = gpus.find_gpu(job.gpu).persistent_params
    return {
        "contract": contract.CONTRACT_VERSION,
        "client": __version__,
        "job": job.id,
        "link": job.attempt,
        "app": job.app,
        "gpu": job.gpu,
        "keep_inputs": keep_inputs,
        "persistent_params": suited if persistent_params is None else persistent_params,
        "request": None if request is None else contract.to_wire(request),
        "upload": None if upload is None else contract.to_wire(upload),
        **({} if request is None else {"most_s": most_s}),
    }
