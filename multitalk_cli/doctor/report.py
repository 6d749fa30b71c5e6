"""The results of all checks together: what is ready, and what is left to set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from multitalk_cli.doctor.check import GROUPS, STEPS, CheckResult

if TYPE_CHECKING:
    from multitalk_cli.doctor.model import Proof
    from multitalk_cli.errors.exceptions import Fact

# A preview needs neither the right time nor the list of jobs nor a model.
_NOT_FOR_PREVIEWS = ("clock", "jobs", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """Results by group, in the order of a first set-up.

    measured: the answer of a container with a GPU; None if none was wanted, empty if none started.
    proof: of the model's parts; None if none was wanted, or no container started. place: the app
    and its environment, as facts of an error; empty where the settings cannot be read.
    """

    checks: tuple[CheckResult, ...]
    measured: Mapping[str, Any] | None = field(default=None)
    proof: Proof | None = None
    place: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Checks that failed."""
        return tuple(check for check in self.checks if check.state == "fail")

    @property
    def preview_ready(self) -> bool:
        """Whether this machine can make a preview."""
        return not any(
            check.group == "local" and check.name not in _NOT_FOR_PREVIEWS for check in self.failed
        )

    @property
    def steps_done(self) -> int:
        """The number of groups without anything left to do."""
        return len(STEPS) - len(self.missing)

    @property
    def missing(self) -> tuple[str, ...]:
        """The groups with something left to do."""
        return tuple(group for group in STEPS if not self._is_done(group))

    @property
    def video_ready(self) -> bool:
        """Whether a video can be generated now."""
        return self.steps_done == len(STEPS)

    @property
    def is_deployed(self) -> bool:
        """Whether a container of the account can generate a video."""
        states = {check.name: check.state for check in self.checks}
        is_packed = states.get("pack") in ("ok", "warn")
        return self.video_ready and states.get("app") == "ok" and is_packed

    def _is_done(self, group: str) -> bool:
        return not any(check.state == "fail" or check.is_blocked for check in self.of(group))

    def of(self, group: str) -> tuple[CheckResult, ...]:
        """The checks of a group."""
        return tuple(check for check in self.checks if check.group == group)


def make_report(
    checks: Sequence[CheckResult],
    measured: Mapping[str, Any] | None = None,
    proof: Proof | None = None,
) -> DoctorReport:
    """Sorts results by group; each group keeps its order."""
    ordered = sorted(checks, key=lambda check: GROUPS.index(check.group))
    return DoctorReport(checks=tuple(ordered), measured=measured, proof=proof)
