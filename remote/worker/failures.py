"""Failures as answers that cross the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli import contract

if TYPE_CHECKING:
    pass


_CANCELLED = "the job was cancelled"


def _failed(code: str, message: str, hint: str = "") -> dict[str, Any]:
    event = contract.Failed(code=code, message=message, hint=hint)
    return {"event": contract.to_wire(event), "parts": [], "video": None}
