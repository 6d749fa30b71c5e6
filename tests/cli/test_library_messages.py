"""Warnings and log lines of libraries."""

import logging
import warnings

import pytest

from multitalk_cli.cli.console import Console, OutputOptions
from multitalk_cli.cli.library_messages import library_messages

LOG = logging.getLogger("modal-client")


@pytest.fixture
def said(capsys):
    """What the block says on stderr: `said(work)` gives its lines."""

    def call(work, **options):
        level = LOG.level
        LOG.setLevel(logging.DEBUG)
        with library_messages(Console(OutputOptions(**options))), warnings.catch_warnings():
            warnings.simplefilter("always")
            work()
        LOG.setLevel(level)
        return capsys.readouterr().err.splitlines()

    return call


def test_a_warning_is_one_line_of_ours_and_told_once(said):
    def work():
        for _ in range(2):
            warnings.warn("use X\n  instead of `modal setup`", UserWarning, stacklevel=1)

    assert said(work) == ["warning     use X instead of `multitalk login`"]


def test_the_log_of_modal_is_told_without_its_own_handler(said):
    def work():
        LOG.warning("Auth token refresh failed: %s", "busy")
        LOG.debug("Sending request\nto A")

    warned, debugged = said(work)

    assert warned == "warning     Modal's client: Auth token refresh failed: busy"
    assert debugged.endswith(" modal-client: Sending request to A")


def test_what_the_service_tries_again_has_its_reason_and_no_traceback(said):
    def work():
        try:
            raise OSError("the pipe broke\nearly")
        except OSError:
            logging.getLogger("remote.service.retry").warning("joining failed", exc_info=True)

    assert said(work) == ["warning     joining failed: the pipe broke early"]


def test_a_program_reads_objects(said):
    lines = said(lambda: LOG.warning("odd"), progress="json")

    assert lines == ['{"event": "warning", "text": "Modal\'s client: odd"}']


def test_everything_is_as_before_afterwards(said):
    before = warnings.showwarning
    said(lambda: None)

    assert warnings.showwarning is before
    assert not LOG.filters
    assert not logging.getLogger("remote").handlers
