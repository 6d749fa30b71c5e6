"""The command that comes after one that succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from multitalk_cli.cli.app_options import for_app
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import MultitalkError

GENERATE = "multitalk generate IMAGE VOICE"


def after_deploy(obstacle: MultitalkError | None, typed: Sequence[str]) -> str:
    """The command that removes the obstacle to a video; without one, the command for a video.

    typed: the words after `multitalk`.
    """
    return for_app(GENERATE if obstacle is None else next_command(obstacle, []), {}, typed)
