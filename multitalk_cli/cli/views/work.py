"""How the frames of a video were computed: steps, tier, LoRA, forwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from multitalk_cli.planning.describe import describe_denoising
from multitalk_cli.planning.presets import Denoising, denoising_of_recipe
from multitalk_cli.reporting.formatting import human_count, human_duration, human_rate

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
    """`4 steps, tier near, LoRA lightx2v, 40 forwards, 8-bit weights stored`."""
    work = recipe.get("work", {})
    counted = [human_count(work["forwards"], "forward")] if "forwards" in work else []
    counted += [f"8-bit weights {work['eight_bit']}"] if work.get("eight_bit") else []
    return ", ".join([describe_denoising(_computed(recipe)), *counted])


def describe_run(
    recipe: Mapping[str, Any],
    gpu_seconds: float | None,
    price_usd: float | None,
    duration_s: float,
) -> str:
    """`20 steps, 300 forwards, 12 min of GPU, $0.075 a second of video`, as far as it is known."""
    parts = [describe_work(recipe)]
    parts += [] if gpu_seconds is None else [f"{human_duration(gpu_seconds)} of GPU"]
    per_s = usd_per_second(price_usd, duration_s)
    return ", ".join(parts if per_s is None else [*parts, f"{human_rate(per_s)} a second of video"])


def usd_per_second(price_usd: float | None, duration_s: float) -> float | None:
    """Dollars for a second of video; None where the price is unknown."""
    return None if price_usd is None or not duration_s else round(price_usd / duration_s, 6)


def _computed(recipe: Mapping[str, Any]) -> Denoising:
    """As asked for, with the tier that the engine had in the end."""
    asked = denoising_of_recipe(recipe)
    return replace(asked, tier=recipe.get("engine", {}).get("tier", asked.tier))
