"""The work of the sample's containers, without Modal."""

import json
from pathlib import Path


def table() -> dict[str, int]:
    """The package's data file, which must have reached the container."""
    text = (Path(__file__).parent / "data" / "table.json").read_text(encoding="utf-8")
    parsed: dict[str, int] = json.loads(text)
    return parsed
