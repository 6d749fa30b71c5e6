"""The log of remote procedure calls, and rules that make chosen ones fail, wait or call back."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from grpclib import GRPCError, Status

CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One call that arrived. `caller` is "client" or the id of a container."""

    name: str
    caller: str
    request: Any
    at: float = field(default_factory=time.monotonic)


class RpcLog:
    """Every call in order of arrival, also those that were refused."""

    def __init__(self) -> None:
        self._entries: list[Rpc] = []
        self.unimplemented: list[str] = []

    def __iter__(self) -> Iterator[Rpc]:
        return iter(list(self._entries))

    def add(self, entry: Rpc) -> None:
        """Appends a call."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forgets the calls so far; what was unimplemented stays on record."""
        self._entries.clear()

    def names(self, caller: str | None = CLIENT) -> list[str]:
        """Names in order: of the client's calls, of one container's, or (None) of all."""
        return [entry.name for entry in self if caller in (None, entry.caller)]

    def count(self, name: str, caller: str | None = None) -> int:
        """How often a procedure was called, by one caller or by anybody."""
        return Counter(self.names(caller))[name]

    def requests(self, name: str) -> list[Any]:
        """The messages that a procedure was called with."""
        return [entry.request for entry in self if entry.name == name]


@dataclass(kw_only=True)
class Rule:
    """What happens to the next `times` calls of one procedure, by clients or (caller None) anybody.

    error: the status and text to refuse with, before anything is done.
    gate: the calls wait until it is set.
    before, after: called in the server's loop before the work, and after it but before the reply.
    """

    name: str
    error: tuple[Status, str] | None = None
    delay_s: float = 0.0
    gate: asyncio.Event | None = None
    before: Callable[[Any], None] | None = None
    after: Callable[[Any, Any], None] | None = None
    times: int = 1
    caller: str | None = CLIENT

    def meets(self, entry: Rpc) -> bool:
        """Whether the rule is for this call and not used up."""
        return (
            self.times > 0
            and entry.name == self.name
            and self.caller in (None, _kind(entry.caller))
        )


def _kind(caller: str) -> str:
    return CLIENT if caller == CLIENT else "container"


class Rules:
    """The rules in force, oldest first."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> Rule:
        """Puts a rule in force; `rule.times` counts down to 0 as it is used."""
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Lifts every rule."""
        self._rules.clear()

    async def apply(self, entry: Rpc) -> Rule | None:
        """Uses the first rule for the call: waits, calls back, refuses."""
        rule = next((rule for rule in self._rules if rule.meets(entry)), None)
        if rule is None:
            return None
        rule.times -= 1
        if rule.delay_s > 0:
            await asyncio.sleep(rule.delay_s)
        if rule.gate is not None:
            await rule.gate.wait()
        if rule.before is not None:
            rule.before(entry.request)
        if rule.error is not None:
            raise GRPCError(*rule.error)
        return rule
