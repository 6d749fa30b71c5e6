"""Fixtures shared by every test: where outside data lies, and an environment without surprises."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _outside(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set {variable}")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded tensors of the published model's maths."""
    return _outside("MULTITALK_GOLDEN", "golden")


@pytest.fixture(scope="session")
def inputs_dir() -> Path:
    """Real pictures and voices."""
    return _outside("MULTITALK_INPUTS", "inputs")
