"""The cards that a video can be made on: their names, stacks, and whether they can hold a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multitalk_cli.contract import STACK_CLASSES
from multitalk_cli.errors import RefusedError

if TYPE_CHECKING:
    from multitalk_cli.plan import Plan

AUTO = "auto"
DEFAULT_STACK = "current"

# Measured on an H100: all networks resident take 47.7 GiB in bf16, and 54.5 GiB at the peak of
# 896x448 with 81 frames, which are 32,928 tokens.
_RESIDENT_GIB = 47.7
_GIB_PER_TOKEN = (54.5 - 47.7) / 32_928


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One kind of card.

    modal_name: what Modal calls it. usable_gib: its memory less what the driver takes.
    stacks: what it runs with. aliases: other names that users give it.
    """

    name: str
    modal_name: str
    usable_gib: float
    stacks: tuple[str, ...] = tuple(STACK_CLASSES)
    aliases: tuple[str, ...] = ()


CARDS = (
    Card(name="t4", modal_name="T4", usable_gib=14.6),
    Card(name="l4", modal_name="L4", usable_gib=22.0),
    Card(name="a10g", modal_name="A10", usable_gib=22.0, aliases=("a10",)),
    Card(name="l40s", modal_name="L40S", usable_gib=44.4),
    Card(name="a100-40gb", modal_name="A100-40GB", usable_gib=39.4, aliases=("a100",)),
    Card(name="a100-80gb", modal_name="A100-80GB", usable_gib=79.2),
    Card(name="h100", modal_name="H100", usable_gib=79.1),
    Card(name="h200", modal_name="H200", usable_gib=139.8),
    # CUDA 12.1 was built before this card's architecture.
    Card(name="b200", modal_name="B200", usable_gib=178.3, stacks=("current",)),
)
FALLBACKS = ("h100", "h200")
"""What `auto` takes, in this order: cheaper for a video than A10G or A100 by the rates."""

NAMES = tuple(name for card in CARDS for name in (card.name, *card.aliases))


def find_card(name: str) -> Card:
    """The card of that name or alias, `auto` being the first choice; KeyError for no card."""
    wanted = FALLBACKS[0] if name == AUTO else name
    for card in CARDS:
        if wanted == card.name or wanted in card.aliases:
            return card
    raise KeyError(name)


def needed_gib(plan: Plan) -> float:
    """Memory that the largest window of the plan takes on a card."""
    return _RESIDENT_GIB + _GIB_PER_TOKEN * max(plan.tokens(window) for window in plan.windows)


def check_card(card: Card, stack: str, plan: Plan) -> None:
    """Raises RefusedError for a card that the stack does not know or the plan does not fit."""
    if stack not in card.stacks:
        raise RefusedError(
            f"{card.name} does not run with the stack {stack}",
            code="E_GPU_STACK",
            hint=f"--stack {card.stacks[0]}",
        )
    needed = needed_gib(plan)
    if needed <= card.usable_gib:
        return
    size = f"{plan.width_px}x{plan.height_px}"
    message = f"{size} needs {needed:.0f} GB, {card.name} has {card.usable_gib:.0f} GB"
    fitting = sorted(
        (other for other in CARDS if stack in other.stacks and needed <= other.usable_gib),
        key=lambda other: other.usable_gib,
    )
    hint = f"--gpu {fitting[0].name}" if fitting else "pass a smaller --size"
    raise RefusedError(message, code="E_GPU_TOO_SMALL", hint=hint)
