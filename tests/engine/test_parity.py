"""Every recorded quantity is within its tolerance; the table is tests/engine/parity.py."""

import pytest

from tests.engine import parity


@pytest.mark.parametrize("file", parity.FILES)
def test_every_recorded_quantity_is_within_its_tolerance(golden_dir, file):
    rows = list(parity.FILES[file](golden_dir))
    assert rows
    assert [row for row in rows if not row.is_within] == []


def test_every_recording_is_compared(golden_dir):
    recordings = {path.stem for path in golden_dir.glob("*.json")}
    assert recordings == set(parity.FILES)


def test_a_value_that_is_no_number_is_outside():
    row = parity.Row(file="", quantity="", error=float("nan"), tolerance=1.0)
    assert not row.is_within
