"""The command that comes after one that succeeded."""

from __future__ import annotations

from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import MultitalkError

GENERATE = "multitalk generate IMAGE VOICE"


def after_deploy(obstacle: MultitalkError | None) -> str:
    """The command that removes the obstacle to a video; without one, the command for a video."""
    return GENERATE if obstacle is None else next_command(obstacle, [])
