"""The output of Modal's client during a deploy: a line a stage; the whole build log on request."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from multitalk_cli.cloud.modal_words import in_our_words

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter

_STEP = re.compile(r"=> (?:Step \d+: )?RUN (?:python -m )?(\S.*)")
_MOST_LOG_LINES = 2000
_MOST_CHARACTERS = 62


class DeployOutput:
    """Stands in for Modal's output manager, whose own would draw on the terminal.

    silent: Modal's manager that prints nothing, for everything that is not handled here.
    """

    def __init__(self, silent: Any, reporter: Reporter, *, shows_log: bool) -> None:
        self._silent, self._reporter, self._shows_log = silent, reporter, shows_log
        self._log: deque[str] = deque(maxlen=_MOST_LOG_LINES)
        self._rest = ""
        self._steps: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._silent, name)

    async def put_streaming_log(self, log: Any, prefix: str = "") -> None:
        """Receives a piece of the log of an image that is built."""
        del prefix
        *lines, self._rest = (self._rest + log.data).replace("\r", "\n").split("\n")
        for line in lines:
            self._add(in_our_words(line))

    def flush_lines(self) -> None:
        """Ends the last line of an image's log."""
        if self._rest:
            self._add(in_our_words(self._rest))
        self._rest = ""

    def _add(self, line: str) -> None:
        self._log.append(line)
        if self._shows_log:
            self._reporter.note(line)
        step = _STEP.match(line)
        if step is not None and not self._shows_log and step[1] not in self._steps:
            self._steps.add(step[1])
            self._reporter.fact("build", _shorten(step[1]))

    def show_warning(self, warning: Warning, *_where: object) -> None:
        """Receives a warning of Modal's."""
        self._reporter.warn(in_our_words(str(warning)))

    def show_log(self) -> None:
        """Reports the build log, if it was not shown as it came."""
        self.flush_lines()
        if not self._shows_log:
            for line in self._log:
                self._reporter.note(line)

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the build log."""
        return tuple(self._log)

    @property
    def is_built(self) -> bool:
        """Whether anything was built."""
        return bool(self._log)


def _shorten(command: str) -> str:
    """The beginning of a command, cut between two words."""
    if len(command) <= _MOST_CHARACTERS:
        return command
    return f"{command[: _MOST_CHARACTERS - 4].rpartition(' ')[0]} ..."


@contextmanager
def deploy_output(reporter: Reporter, *, shows_log: bool) -> Iterator[DeployOutput]:
    """Sends what Modal's client says inside the block to the reporter."""
    from modal.output import OutputManager

    before = OutputManager.get()
    output = DeployOutput(before, reporter, shows_log=shows_log)
    OutputManager._set(cast(OutputManager, output))
    try:
        yield output
    finally:
        OutputManager._set(before)
