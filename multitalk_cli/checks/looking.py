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
class Seen:
    """What a look saw. remedy: the command that mends it. code: a row of the table of errors."""

    text: str
    state: State = "ok"
    remedy: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Something to look at.

    needs: names of looks before it in the list, without which it is not taken. limit_s: how long
    it may take; late: what it then is.
    """

    name: str
    group: str
    take: Callable[[], Seen]
    needs: tuple[str, ...] = ()
    limit_s: float = LIMIT_S
    late: State = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome of a look. is_blocked: it was not taken, because another one failed."""

    name: str
    group: str
    state: State
    seen: str
    remedy: str = ""
    code: str = ""
    is_blocked: bool = False


def take_all(looks: Iterable[Look], *, debug: bool = False) -> list[Check]:
    """Takes looks side by side, each within its time.

    debug: an error that nobody expected is raised, not reported as what that look saw.
    """
    chosen = list(looks)
    taken: dict[str, Future[Check]] = {}
    with ThreadPoolExecutor(max(1, len(chosen)), "check") as pool:
        for look in chosen:
            needed = [taken[name] for name in look.needs]
            taken[look.name] = pool.submit(_take, look, needed, debug)
        return [future.result() for future in taken.values()]


def begin(look: Look) -> Future[Check]:
    """Takes a look in the background; the process may end before it is there."""
    answer: Future[Check] = Future()
    thread = threading.Thread(
        target=lambda: answer.set_result(_take(look, [], False)), name=look.name, daemon=True
    )
    thread.start()
    return answer


def _take(look: Look, needed: list[Future[Check]], debug: bool) -> Check:
    for future in needed:
        before = future.result()
        if before.state in ("fail", "skip"):
            # What is left out on purpose leaves out what needs it, and nothing is missing.
            is_blocked = before.state == "fail" or before.is_blocked
            text = before.seen if before.state == "skip" else f"needs {before.name}"
            seen = Seen(text=text, state="skip")
            return to_check(look.name, look.group, seen, is_blocked=is_blocked)
    return to_check(look.name, look.group, _bounded(look, debug))


def to_check(name: str, group: str, seen: Seen, *, is_blocked: bool = False) -> Check:
    """What was seen, with the name of the look."""
    return Check(
        name=name,
        group=group,
        state=seen.state,
        seen=seen.text,
        remedy=seen.remedy,
        code=seen.code,
        is_blocked=is_blocked,
    )


def _bounded(look: Look, debug: bool) -> Seen:
    answer: Future[Seen] = Future()

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
        return Seen(text=text, state=look.late, remedy="multitalk doctor")
    error = answer.exception()
    if error is not None and debug:
        raise error
    if error is not None:
        text = f"{type(error).__name__}: {error}"
        return Seen(text=text, state="fail", remedy="multitalk doctor --debug", code="E_BUG")
    return answer.result()


def _expected(look: Look) -> Seen:
    try:
        return look.take()
    except MultitalkError as error:
        remedy = error.hint.partition("\n")[0]
        return Seen(text=error.message, state="fail", remedy=remedy, code=error.code)
