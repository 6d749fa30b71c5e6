"""How the frames of a video were computed: steps, tier, LoRA, forwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from multitalk_cli.planning.describe import describe_denoising
from multitalk_cli.planning.presets import Denoising, denoising_of_recipe
from multitalk_cli.reporting.formatting import human_count

_COUNTS = ("forwards", "forwards_gated", "lora_keys", "eight_bit")


def work_data(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a program; what was not recorded is null."""
    denoising, work = _computed(recipe), recipe.get("work", {})
    return {
        "sample_steps": denoising.sample_steps,
        "tier": denoising.tier,
        "lora": denoising.lora or None,
        **{name: work.get(name) for name in _COUNTS},
    }


def describe_work(recipe: Mapping[str, Any]) -> str:
    """`4 steps, near, LoRA lightx2v, 812 LoRA keys, 40 forwards, 8-bit weights stored`."""
    work = recipe.get("work", {})
    counted = [human_count(work["lora_keys"], "LoRA key")] if "lora_keys" in work else []
    counted += [human_count(work["forwards"], "forward")] if "forwards" in work else []
    counted += [f"8-bit weights {work['eight_bit']}"] if work.get("eight_bit") else []
    return ", ".join([describe_denoising(_computed(recipe)), *counted])


def _computed(recipe: Mapping[str, Any]) -> Denoising:
    """As asked for, with the tier that the engine had in the end."""
    asked = denoising_of_recipe(recipe)
    return replace(asked, tier=recipe.get("engine", {}).get("tier", asked.tier))
