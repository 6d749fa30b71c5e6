"""What Modal bills for the app, by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from multitalk_cli.cloud.errors import modal_errors
from multitalk_cli.errors import SetupError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledDay:
    """One day, by UTC. app_usd: of the app in its environment. other_usd: of everything else."""

    day: str
    app_usd: float
    other_usd: float


def billed_days(cloud: Cloud, since_s: float) -> list[BilledDay]:
    """The whole days from that moment until yesterday, the first one first.

    Raises SetupError E_BILLING where the token may not see the workspace's report.
    """
    import modal
    import modal.exception as theirs

    start = datetime.fromtimestamp(since_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with modal_errors(cloud.place):
        try:
            items = modal.Workspace.from_context().billing.report(start=start, resolution="d")
        except (theirs.PermissionDeniedError, theirs.InvalidError) as error:
            raise SetupError(
                f"Modal shows no billing report to this token: {error}", code="E_BILLING"
            ) from error
    _, environment = cloud.account()
    days: dict[str, tuple[float, float]] = {}
    for item in items:
        day = f"{item.interval_start:%Y-%m-%d}"
        ours, others = days.get(day, (0.0, 0.0))
        usd = float(item.cost)
        is_ours = item.description == cloud.place.app and item.environment_name == environment
        days[day] = (ours + usd, others) if is_ours else (ours, others + usd)
    return [
        BilledDay(day=day, app_usd=ours, other_usd=others)
        for day, (ours, others) in sorted(days.items())
    ]
