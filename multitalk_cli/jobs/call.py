"""A job's call: its arguments, and what its end without an answer means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli import __version__, contract
from multitalk_cli.jobs.ledger import ASKED
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.storage.upload import UploadTarget


def latest_attempt(cloud: Cloud, job: Job) -> Job:
    """The job with its newest call, which another machine may have made."""
    attempt, call_id = job.attempt, job.call_id
    while owner := cloud.owner(job.id, attempt + (1 if call_id else 0)):
        attempt, call_id = attempt + (1 if call_id else 0), owner
    return replace(job, attempt=attempt, call_id=call_id)


KEPT: Literal["kept"] = "kept"
AGAIN = "run the same generate command again: it resumes after the last finished window"


def failure_of(
    status: CallStatus, job_id: str, *, is_cancelled: bool, is_claimed: bool
) -> contract.Failed:
    """The failure of a job whose call ended without an answer.

    is_cancelled: whether somebody asked for that. is_claimed: whether a container began it.
    """
    text = status.text.partition("\n")[0] or "no reason was given"
    if is_cancelled:
        return contract.Failed(code="E_CANCELLED", message=f"job {job_id} was cancelled")
    if "memory" in text.lower():
        return contract.Failed(code="E_OUT_OF_MEMORY", message=text)
    if status.outcome == "timeout":
        message = f"the call reached its time limit: {text}"
        return contract.Failed(code="E_TIMEOUT", message=message)
    if not is_claimed:
        message = f"no container started for the job: {text}"
        return contract.Failed(code="E_START", message=message)
    what = "the container was lost" if status.outcome == "lost" else "the run failed"
    return contract.Failed(code="E_REMOTE", message=f"{what}: {text}", hint=AGAIN)


def call_wire(
    job: Job,
    request: contract.GenerateRequest | None,
    upload: UploadTarget | None = None,
    *,
    keep_inputs: bool,
    persistent_params: int | None = None,
    most_s: float | Literal["kept"] | None = KEPT,
) -> dict[str, Any]:
    """The arguments of a call in their wire form.

    request, upload: None where the cloud keeps them for the job. persistent_params: None for the
    number that suits the GPU. most_s: seconds that all runs of the job may take; None without a
    limit, `KEPT` for the one that the cloud keeps.
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
        **({} if most_s == KEPT else {"most_s": most_s}),
        # Containers of older apps make whole videos only; none of them is asked.
        **({"first": True} if job.first == ASKED else {}),
    }
