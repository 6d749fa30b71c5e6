"""From what was asked to a finished video: the order of the work, and what is said on the way."""

from __future__ import annotations

import json
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, outputs
from multitalk_cli.errors import RefusedError, RemoteError, SetupError, UsageError, error_from_code

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multitalk_cli.media.faces import Face
    from multitalk_cli.media.picture import FramedPicture, Picture
    from multitalk_cli.media.speakers import PlacedSpeaker
    from multitalk_cli.media.tracks import Tracks
    from multitalk_cli.media.voice import Voice
    from multitalk_cli.output import Output
    from multitalk_cli.plan import Plan
    from multitalk_cli.settings import Settings

DEFAULT_PROMPT = "A person talks to the camera"
ORDERS = {"add": "sequence", "para": "together"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asked for, beyond the settings."""

    image: str
    voices: tuple[str, ...]
    speakers: tuple[str, ...]
    prompt: str
    seed: int | None
    output: str | None
    plan: bool
    force: bool
