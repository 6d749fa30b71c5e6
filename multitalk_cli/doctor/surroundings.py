"""`doctor --gpu`: what only a real account shows of Modal: its machines, Volumes and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli.doctor.check import Outcome, State
from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.jobs.ledger import SHORT_ID, Ledger
from multitalk_cli.reporting.formatting import human_bytes

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud

_RECENT_JOBS = 200
_OF_TORCH = "the memory is too small"
"""How the message begins of a job that torch ended, and not Modal."""
_SLOW_COMMIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What is known without a container; each text is empty where it is not.

    builder: Modal's builder of images that the app was deployed with. default_builder: the one that
    the workspace has chosen. out_of_memory: what Modal said of a container that ran out of it.
    """

    builder: str
    default_builder: str
    out_of_memory: str


def account_facts(cloud: Cloud) -> AccountFacts:
    """The facts of the account, and of the jobs on this machine."""
    record = cloud.deployment() or {}
    try:
        default = cloud.default_builder()
    except MultitalkError:
        # Not every member of a workspace may read its settings.
        default = ""
    return AccountFacts(
        builder=str(record.get("builder", "")),
        default_builder=default,
        out_of_memory=_seen_out_of_memory(),
    )


def _seen_out_of_memory() -> str:
    try:
        jobs = Ledger().newest(_RECENT_JOBS)
    except FileError:
        return ""
    for job in jobs:
        is_modals = bool(job.error_text) and not job.error_text.startswith(_OF_TORCH)
        if job.error == "E_OUT_OF_MEMORY" and is_modals:
            return f"{job.error_text} (job {job.id[:SHORT_ID]})"
    return ""


def check_all(
    answer: Mapping[str, Any], account: AccountFacts, reserved_gib: float
) -> dict[str, Outcome]:
    """The outcomes by name; an app of an earlier version tells nothing of its machine.

    reserved_gib: the main memory that the container reserves.
    """
    found = answer.get("surroundings")
    modal = {"modal": _check_modal(account)}
    if found is None:
        return modal
    host = _check_host(found, reserved_gib * 2**30)
    return {"host": host, "volume": _check_volume(found["volume"]), **modal}


def _check_host(found: Mapping[str, Any], reserved_bytes: float) -> Outcome:
    """Whether memory can be pinned and segments grow, and how much memory was used."""
    pinned, segments, memory = found["pinned"], found["segments"], found["memory"]
    texts = [
        _works("pinned memory", pinned, _rate(pinned)),
        _works("expandable segments", segments, "work"),
    ]
    is_worse = pinned["works"] is False or segments["works"] is False
    if memory["works"]:
        used = f"at most {human_bytes(memory['peak_bytes'])} of main memory used"
        texts.append(f"{used}, {human_bytes(reserved_bytes)} reserved")
        is_worse = is_worse or memory["peak_bytes"] > reserved_bytes
    return Outcome(text=", ".join(texts), state="warn" if is_worse else "ok")


def _rate(pinned: Mapping[str, Any]) -> str:
    return f"works, {pinned['copy_gb_per_s']:.3g} GB/s to the GPU" if pinned["works"] else ""


def _works(what: str, fact: Mapping[str, Any], found: str) -> str:
    if fact["works"]:
        return f"{what} {found}"
    verb = "not tried" if fact["works"] is None else "does not work"
    return f"{what}: {verb} ({fact['reason']})"


def _check_volume(fact: Mapping[str, Any]) -> Outcome:
    """How long a commit takes, which each window of a video waits for."""
    if not fact["works"]:
        return Outcome(text=f"a file on a Volume was not committed: {fact['reason']}", state="warn")
    written, committed = f"{fact['write_s']:.2f} s", f"{fact['commit_s']:.2f} s"
    size = human_bytes(fact["bytes"])
    text = f"{size} to a Volume: written in {written}, committed in {committed}"
    state: State = "warn" if fact["commit_s"] > _SLOW_COMMIT_S else "ok"
    return Outcome(text=text, state=state)


def _check_modal(account: AccountFacts) -> Outcome:
    """The builder of images, and how a container without memory ends, if one did."""
    builder = account.builder if account.builder else "unknown"
    default = account.default_builder if account.default_builder else "unknown"
    seen = account.out_of_memory if account.out_of_memory else "not seen yet"
    text = f"image builder {builder} (of the workspace: {default}), out of memory: {seen}"
    return Outcome(text=text)
