"""Small looks, taken side by side: what each saw, whether it will do, and what mends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from multitalk_cli.errors import MultitalkError

State = Literal["ok", "warn", "fail", "skip"]
STEPS = ("local", "account", "deployment", "weights", "storage")
GROUPS = (*STEPS, "gpu")
LIMIT_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a look saw. remedy: the command that mends it. code: a row of the table of errors."""

    text: str
    state: State = "ok"
    remedy: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at.

    needs: names of looks before it in the list, without which it is not taken. limit_s: how long
    it may take; late: what it then is.
    """

    name: str
    group: str
    take: Callable[[], Outcome]
    needs: tuple[str, ...] = ()
    limit_s: float = LIMIT_S
    late: State = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The outcome of a look. is_blocked: it was not taken, because another one failed."""

    name: str
    group: str
    state: State
    seen: str
    remedy: str = ""
    code: str = ""
    is_blocked: bool = False


def run_all(looks: Iterable[Check], *, debug: bool = False) -> list[CheckResult]:
    """Takes looks side by side, each within its time.

    debug: an error that nobody expected is raised, not reported as what that look saw.
    """
    chosen = list(looks)
    taken: dict[str, Future[CheckResult]] = {}
    with ThreadPoolExecutor(max(1, len(chosen)), "check") as pool:
        for look in chosen:
            needed = [taken[name] for name in look.needs]
            taken[look.name] = pool.submit(_take, look, needed, debug)
        return [future.result() for future in taken.values()]


def begin(look: Check) -> Future[CheckResult]:
    """Takes a look in the background; the process may end before it is there."""
    answer: Future[CheckResult] = Future()
    thread = threading.Thread(
        target=lambda: answer.set_result(_take(look, [], False)), name=look.name, daemon=True
    )
    thread.start()
    return answer


def _take(look: Check, needed: list[Future[CheckResult]], debug: bool) -> CheckResult:
    for future in needed:
        before = future.result()
        if before.state in ("fail", "skip"):
            # What is left out on purpose leaves out what needs it, and nothing is missing.
            is_blocked = before.state == "fail" or before.is_blocked
            text = before.seen if before.state == "skip" else f"needs {before.name}"
            seen = Outcome(text=text, state="skip")
            return to_result(look.name, look.group, seen, is_blocked=is_blocked)
    return to_result(look.name, look.group, _bounded(look, debug))


def to_result(name: str, group: str, seen: Outcome, *, is_blocked: bool = False) -> CheckResult:
    """What was seen, with the name of the look."""
    return CheckResult(
        name=name,
        group=group,
        state=seen.state,
        seen=seen.text,
        remedy=seen.remedy,
        code=seen.code,
        is_blocked=is_blocked,
    )


def _bounded(look: Check, debug: bool) -> Outcome:
    answer: Future[Outcome] = Future()

    def work() -> None:
        try:
            answer.set_result(_expected(look))
        except Exception as error:  # noqa: BLE001 - raised or reported below
            answer.set_exception(error)

    # A thread that is left behind where it hangs: not every library has a time limit.
    thread = threading.Thread(target=work, name=look.name, daemon=True)
    thread.start()
    thread.join(look.limit_s)
    if thread.is_alive():
        text = f"no answer within {look.limit_s:g} s"
        return Outcome(text=text, state=look.late, remedy="multitalk doctor")
    error = answer.exception()
    if error is not None and debug:
        raise error
    if error is not None:
        text = f"{type(error).__name__}: {error}"
        return Outcome(text=text, state="fail", remedy="multitalk doctor --debug", code="E_BUG")
    return answer.result()


def _expected(look: Check) -> Outcome:
    try:
        return look.take()
    except MultitalkError as error:
        remedy = error.hint.partition("\n")[0]
        return Outcome(text=error.message, state="fail", remedy=remedy, code=error.code)
