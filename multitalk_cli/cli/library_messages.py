"""What libraries warn of and log, as lines of ours: above the bars, masked, wrapped at words.

Modal's client passes on warnings of its server as Python's warnings, such as that it is outdated,
and logs that it is throttled. The service logs what it tries again, on this machine too.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from multitalk_cli.cloud.modal_words import in_our_words, log_in_our_words
from multitalk_cli.reporting.reporter import Reporter

_LOGGERS = ("modal-client", "modal-utils")
_SERVICE = "remote"


@contextmanager
def library_messages(reporter: Reporter) -> Iterator[None]:
    """Reports warnings, Modal's log and the service's inside the block; each warning once."""
    reported: set[str] = set()

    def warn(text: str) -> None:
        if text not in reported:
            reported.add(text)
            reporter.warn(text)

    def show_warning(message: Warning | str, *_where: Any, **_more: Any) -> None:
        warn(_joined(in_our_words(str(message))))

    def report_record(record: logging.LogRecord) -> bool:
        """Takes the record off Modal's own handler, which writes across the bars."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            warn(_joined(log_in_our_words(text)))
        else:
            at = time.strftime("%H:%M:%S", time.localtime(record.created))
            reporter.note(_joined(f"{at} {record.name}: {text}"))
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before, warnings.showwarning = warnings.showwarning, show_warning
    for logger in loggers:
        logger.addFilter(report_record)
    service, handler = logging.getLogger(_SERVICE), _ServiceHandler(warn)
    service.addHandler(handler)
    try:
        yield
    finally:
        warnings.showwarning = before
        service.removeHandler(handler)
        for logger in loggers:
            logger.removeFilter(report_record)


class _ServiceHandler(logging.Handler):
    """Warns of what the service logs as a warning or an error: its reason, and no traceback."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        reason = "" if error is None else f": {str(error) or type(error).__name__}"
        self._warn(_joined(f"{record.getMessage()}{reason}"))


def _joined(text: str) -> str:
    return " ".join(text.split())
