"""Checks that run at the same time: their results, time limits and dependencies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from multitalk_cli.errors import MultitalkError

State = Literal["ok", "warn", "fail", "skip"]
STEPS = ("local", "account", "deployment", "weights")
"""Groups without which no video can be made in the account."""
GROUPS = (*STEPS, "storage", "gpu", "model")
LIMIT_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The finding of a check.

    remedy: the command that helps, if it follows from the finding alone. code: a row of the table
    of errors. error: the one that was found; its facts make the command that helps.
    """

    text: str
    state: State = "ok"
    remedy: str = ""
    code: str = ""
    error: MultitalkError | None = None

    @classmethod
    def from_error(cls, error: MultitalkError) -> Outcome:
        """A failed check."""
        return cls(text=error.message, state="fail", code=error.code, error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to check.

    needs: names of earlier checks without which it does not run. limit_s: its time limit;
    state_if_late: its state after that.
    """

    name: str
    group: str
    run: Callable[[], Outcome]
    needs: tuple[str, ...] = ()
    limit_s: float = LIMIT_S
    state_if_late: State = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The outcome of a check by its name. is_blocked: it did not run because another one failed."""

    name: str
    group: str
    outcome: Outcome
    is_blocked: bool = False

    @property
    def state(self) -> State:
        """Of the outcome."""
        return self.outcome.state

    @property
    def text(self) -> str:
        """Of the outcome."""
        return self.outcome.text

    @property
    def code(self) -> str:
        """Of the outcome."""
        return self.outcome.code


def run_all(checks: Iterable[Check], *, debug: bool = False) -> list[CheckResult]:
    """Runs checks at the same time, each within its limit.

    debug: an unexpected error is raised, not reported as the check's outcome.
    """
    chosen = list(checks)
    started: dict[str, Future[CheckResult]] = {}
    with ThreadPoolExecutor(max(1, len(chosen)), "check") as pool:
        for check in chosen:
            needed = [started[name] for name in check.needs]
            started[check.name] = pool.submit(_run_after, check, needed, debug)
        return [future.result() for future in started.values()]


def start(check: Check) -> Future[CheckResult]:
    """Runs a check in the background; the process may end before it does."""
    answer: Future[CheckResult] = Future()
    thread = threading.Thread(
        target=lambda: answer.set_result(_run_after(check, [], False)), name=check.name, daemon=True
    )
    thread.start()
    return answer


def _run_after(check: Check, needed: list[Future[CheckResult]], debug: bool) -> CheckResult:
    for future in needed:
        before = future.result()
        if before.state in ("fail", "skip"):
            # A check that was skipped on purpose skips those that need it, and blocks none.
            is_blocked = before.state == "fail" or before.is_blocked
            text = before.text if before.state == "skip" else f"needs {before.name}"
            skipped = Outcome(text=text, state="skip")
            return CheckResult(
                name=check.name, group=check.group, outcome=skipped, is_blocked=is_blocked
            )
    return CheckResult(name=check.name, group=check.group, outcome=_run_limited(check, debug))


def _run_limited(check: Check, debug: bool) -> Outcome:
    answer: Future[Outcome] = Future()

    def work() -> None:
        try:
            answer.set_result(check.run())
        except Exception as error:  # noqa: BLE001 - raised or reported below
            answer.set_exception(error)

    # A thread that may hang is abandoned: not every library has a time limit.
    thread = threading.Thread(target=work, name=check.name, daemon=True)
    thread.start()
    thread.join(check.limit_s)
    if thread.is_alive():
        text = f"no answer within {check.limit_s:g} s"
        return Outcome(text=text, state=check.state_if_late)
    error = answer.exception()
    if isinstance(error, MultitalkError):
        return Outcome.from_error(error)
    if error is not None and debug:
        raise error
    if error is not None:
        text = f"{type(error).__name__}: {error}"
        return Outcome(text=text, state="fail", remedy="multitalk doctor --debug", code="E_BUG")
    return answer.result()
