"""Recorded and real material for tests: where it lies."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent


def golden_folder() -> Path:
    """Tensors recorded from the published model; MULTITALK_GOLDEN names another folder."""
    return Path(os.environ.get("MULTITALK_GOLDEN", HERE / "golden"))


def extra_inputs(*names: str) -> list[Path]:
    """Real pictures and voices in the folder MULTITALK_INPUTS; none where it is not set."""
    folder = os.environ.get("MULTITALK_INPUTS")
    return [] if folder is None else [Path(folder) / name for name in names]
