"""Presets: named ways of denoising, which decide quality, time and price; and what fits together.

Everything of a preset can be set by itself too, by the option of its field's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

from multitalk_cli.contract import (
    EXACT_TIER,
    FIRST_TIME,
    LORAS,
    TEXT_STEPS,
    TIERS,
    LoraChoice,
)
from multitalk_cli.contract.loras import (
    KNOWN_LORAS,
    STEP_LORA,
    KnownLora,
    split_strength,
)
from multitalk_cli.reporting.formatting import human_choice

NEAR_TIER, TURBO_TIER = TIERS[1:]
MIN_STEPS, MAX_STEPS = 10, 50
"""The steps without a LoRA that is distilled to few of them."""
USUAL_AUDIO_GUIDANCE = 3.0
"""The most that is usual with few steps."""
SHIFT, SHIFT_720P, PIXELS_480P = 7.0, 11.0, 640 * 640
Grade = Literal["exact", "near", "lossy"]
"""How a video compares with the published model: as it; the same but for rounding and reused
guidance; another, of the same inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoising:
    """How frames are denoised. The defaults are the published program's, but for its 40 steps.

    tier: one of contract.TIERS. shift: None for that of the size, or of a step LoRA. lora:
    NAME[:STRENGTH], empty for none. text_gate: the share of the steps that compute
    the guidance by the prompt, whose last difference the others keep.
    """

    tier: str = EXACT_TIER
    sample_steps: int = 20
    shift: float | None = None
    lora: str = ""
    text_guidance: float = 5.0
    audio_guidance: float = 4.0
    text_gate: float = 1.0

    @property
    def step_lora(self) -> KnownLora | None:
        """The LoRA, if it is one that is known to be distilled to few steps."""
        known = KNOWN_LORAS.get(split_strength(self.lora)[0])
        return known if known is not None and known.kind == "step" else None

    def shift_at(self, default: float) -> float:
        """The shift of the schedule. default: that of the size."""
        if self.shift is not None:
            return self.shift
        known = self.step_lora
        return default if known is None or known.shift is None else known.shift

    @property
    def loras(self) -> tuple[LoraChoice, ...]:
        """The LoRAs to merge."""
        if not self.lora:
            return ()
        name, strength = split_strength(self.lora)
        return (LoraChoice(name=name, strength=strength),)

    @property
    def times(self) -> tuple[float, ...]:
        """The times of the steps, where they are not those of the published schedule.

        Step LoRAs were distilled at evenly spaced times, shifted: 1000, 937.5, 833.3, 625 for four
        steps of shift 5. The published schedule would end at a step that changes nothing.
        """
        if self.step_lora is None:
            return ()
        shift = self.shift_at(1.0)
        left = [1 - step / self.sample_steps for step in range(self.sample_steps)]
        return tuple(FIRST_TIME * shift * u / (1 + (shift - 1) * u) for u in left)

    @property
    def branches(self) -> int:
        """Forwards of a step: one, and more for each guidance, which a strength of 1 needs not."""
        return self._voice_branches if math.isclose(self.text_guidance, 1.0) else 3

    @property
    def _voice_branches(self) -> int:
        """Forwards of a step without the guidance by the prompt."""
        return 1 if math.isclose(self.audio_guidance, 1.0) else 2

    @property
    def text_steps(self) -> int | None:
        """The first steps, which compute the guidance by the prompt; None for all."""
        if self.branches < 3 or self.text_gate >= 1:
            return None
        computed = max(1, math.ceil(self.text_gate * self.sample_steps))
        return computed if computed < self.sample_steps else None

    @property
    def gated_forwards(self) -> int:
        """The forwards of a window that the other steps spare."""
        if self.text_steps is None:
            return 0
        return (self.sample_steps - self.text_steps) * (self.branches - self._voice_branches)

    @property
    def forwards(self) -> int:
        """The forwards of a window."""
        return self.sample_steps * self.branches - self.gated_forwards

    @property
    def needs(self) -> tuple[str, ...]:
        """The contract.FEATURES that it asks for."""
        needed = {
            self.tier: self.tier != EXACT_TIER,
            LORAS: bool(self.lora),
            TEXT_STEPS: self.text_steps is not None,
        }
        return tuple(name for name, is_needed in needed.items() if is_needed)

    @property
    def grade(self) -> Grade:
        """How the video compares with one of the published model."""
        if self.tier == TURBO_TIER or self.step_lora is not None:
            return "lossy"
        return "exact" if self.tier == EXACT_TIER and not self.gated_forwards else "near"


DEFAULT_PRESET = "standard"
PRESETS: Mapping[str, Denoising] = {
    "best": Denoising(sample_steps=40),
    DEFAULT_PRESET: Denoising(),
    "balanced": Denoising(tier=NEAR_TIER, text_gate=0.5),
    "fast": Denoising(
        tier=NEAR_TIER, sample_steps=4, lora=STEP_LORA, text_guidance=1.0, audio_guidance=2.0
    ),
    "fastest": Denoising(
        tier=TURBO_TIER, sample_steps=4, lora=STEP_LORA, text_guidance=1.0, audio_guidance=1.0
    ),
}
"""From the best to the fastest."""
STEP_PRESET = "fast"
"""The preset with a step LoRA that loses least."""
FIELDS = tuple(field.name for field in fields(Denoising))
"""The names of settings that a preset sets."""


def values_of(preset: str) -> dict[str, Any]:
    """Setting -> the value that the preset gives it."""
    return {name: getattr(PRESETS[preset], name) for name in FIELDS}


class _Entries(Protocol):
    """Settings, a recipe, or options."""

    def __getitem__(self, name: str, /) -> Any: ...


def denoising_of(values: _Entries) -> Denoising:
    """The denoising that these entries name."""
    return Denoising(**{name: values[name] for name in FIELDS})


def denoising_of_recipe(recipe: Mapping[str, Any]) -> Denoising:
    """That of a video; recipes of earlier versions lack what was always as published."""
    return denoising_of(values_of(DEFAULT_PRESET) | dict(recipe))


def default_shift(width_px: int, height_px: int) -> float:
    """The shift of the noise schedule for a size."""
    return SHIFT_720P if width_px * height_px > 2 * PIXELS_480P else SHIFT


def name_of(denoising: Denoising, size_shift: float) -> str:
    """The preset that is exactly this; empty where none is. size_shift: that of the size."""
    shift = denoising.shift_at(size_shift)
    for name, preset in PRESETS.items():
        settled = replace(preset, shift=preset.shift_at(size_shift))
        if settled == replace(denoising, shift=shift):
            return name
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a denoising cannot be asked for. setting: the one to change, to `valid`."""

    setting: str
    message: str
    valid: object


def find_problem(denoising: Denoising, lora_origin: str = "") -> Problem | None:
    """What does not fit together; None where all does. lora_origin: of the setting."""
    steps, known = denoising.sample_steps, denoising.step_lora
    lora = split_strength(denoising.lora)[0]
    # A LoRA that was not typed.
    lora += f" of {lora_origin}" if lora_origin.startswith("preset ") else ""
    if known is None:
        if MIN_STEPS <= steps <= MAX_STEPS:
            return None
        few = (
            f" without a LoRA for few steps ({', '.join(KNOWN_LORAS)})" if steps < MIN_STEPS else ""
        )
        return Problem(
            setting="sample_steps",
            message=f"must be from {MIN_STEPS} to {MAX_STEPS}{few}, not {steps}",
            valid=min(max(steps, MIN_STEPS), MAX_STEPS),
        )
    if steps not in known.steps:
        able = human_choice(map(str, known.steps))
        return Problem(
            setting="sample_steps",
            message=f"must be {able} with the LoRA {lora}, not {steps}",
            valid=min(known.steps, key=lambda each: abs(each - steps)),
        )
    if not math.isclose(denoising.text_guidance, 1.0):
        return Problem(
            setting="text_guidance",
            message=f"must be 1 with the LoRA {lora}, which blurs at any other, "
            f"not {denoising.text_guidance:g}",
            valid=1,
        )
    return None


def find_doubts(denoising: Denoising) -> tuple[str, ...]:
    """Warnings about what can be asked for, and is likely to look worse than expected."""
    doubts = []
    if denoising.tier == TURBO_TIER and denoising.branches == 3:
        doubts.append(
            f"guidance {denoising.text_guidance:g} and {denoising.audio_guidance:g} multiply the "
            "errors of the tier turbo; the tiers exact and near suit them"
        )
    if denoising.text_gate < 1 and denoising.branches < 3:
        doubts.append(
            f"text gate {denoising.text_gate:g} has no effect: text guidance 1 leaves no guidance "
            "by the prompt to keep"
        )
    name, strength = split_strength(denoising.lora)
    known = KNOWN_LORAS.get(name)
    if denoising.step_lora is not None and strength <= 0:
        doubts.append(f"LoRA {name} at {strength:g}: without it, few steps leave noise")
    if denoising.step_lora is not None and denoising.audio_guidance > USUAL_AUDIO_GUIDANCE:
        doubts.append(
            f"audio guidance {denoising.audio_guidance:g} with few steps: 1 to "
            f"{USUAL_AUDIO_GUIDANCE:g} is usual"
        )
    if known is not None and known.warning:
        doubts.append(f"LoRA {name}: {known.warning}")
    return tuple(doubts)
