"""The LoRAs of a batch's rows by their content, looked up once for all rows that have the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.batch.rows import PREVIEW
from multitalk_cli.errors import MultitalkError
from multitalk_cli.generation.backends.select import choose_backend
from multitalk_cli.generation.job import lora_entry
from multitalk_cli.reporting.reporter import QuietReporter

if TYPE_CHECKING:
    from multitalk_cli.batch.rows import BatchRow

_PLACE = ("app", "environment", "weights", "lora")


class LoraContents:
    """What recipes say of the content of LoRAs, which another file may replace under its name."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Mapping[str, str]] = {}

    def entry(self, row: BatchRow) -> Mapping[str, str]:
        """The recipe's entry; nothing without a LoRA, or where it cannot be known now."""
        if row.backend == PREVIEW or not row.settings["lora"]:
            return {}
        key = (row.backend, *(row.settings[name] for name in _PLACE))
        if key not in self._known:
            self._known[key] = _look_up(row)
        return self._known[key]


def _look_up(row: BatchRow) -> Mapping[str, str]:
    chosen = row.settings.having("backend", row.backend)
    try:
        return lora_entry(choose_backend(chosen, QuietReporter(), for_plan=True))
    except MultitalkError:
        # Making the video reports it.
        return {}
