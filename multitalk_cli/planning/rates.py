"""Dated prices and measured speeds, read from rates.toml in this folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import lru_cache
from typing import Any, TypeVar

from multitalk_cli.contract import EXACT_TIER, TIERS

RATES_VERSION = 2
REFERENCE_STACK = "current"
T = TypeVar("T")


class RatesError(ValueError):
    """The table contradicts itself or lacks something; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The price of a container's cores and memory, with the date and source of all prices."""

    date: date
    source: str
    core_per_s_usd: float
    gib_per_s_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedWork:
    """Seconds of work around the denoising on the reference GPU, and the size of that run."""

    source: str
    vae_s: float
    vae_frames: int
    vae_width_px: int
    vae_height_px: int
    text_s: float
    image_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds of one forward on the reference GPU: per_token_s * L + per_token_pair_s * L * L.

    attention: the kernel that it was measured with.
    """

    reference_gpu: str
    attention: str
    source: str
    per_token_s: float
    per_token_pair_s: float
    two_person_factor: float
    two_person_source: str
    fixed: FixedWork

    def seconds_per_forward(self, tokens: int, persons: int) -> float:
        """One pass through the model on the reference GPU, longer for two people."""
        seconds = self.per_token_s * tokens + self.per_token_pair_s * tokens**2
        return seconds * (self.two_person_factor if persons > 1 else 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRate:
    """A forward in another tier: its share of one in the exact tier.

    measured: whether that was timed with this engine.
    """

    source: str
    factor: float
    measured: bool


EXACT_RATE = TierRate(source="what the speeds are of", factor=1.0, measured=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The time of a cold container until its first step: no less and no more than this."""

    source: str
    least_s: float
    most_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The time that a container is kept, and paid for, after its last call."""

    source: str
    scaledown_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRate:
    """One GPU: its price, its speed, and the cores and memory of its container.

    slowness: how many times longer than on the reference GPU the same work takes.
    measured: whether the exact tier was timed on this GPU.
    price_lists: how many independent public copies of the price list show the price.
    """

    name: str
    price_per_s_usd: float
    price_lists: int
    cores: float
    memory_gib: float
    slowness: float
    speed_source: str
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The whole table. speeds: stack -> its speed, for those that were measured. tiers: but the
    exact one."""

    prices: Prices
    speeds: Mapping[str, Speed]
    tiers: Mapping[str, TierRate]
    start: Start
    idle: Idle
    gpus: tuple[GpuRate, ...]

    @property
    def speed(self) -> Speed:
        """That of the default stack."""
        return self.speeds[REFERENCE_STACK]

    def speed_of(self, stack: str) -> Speed:
        """The speed of a stack; that of the default one, if it was not measured."""
        return self.speeds.get(stack, self.speed)

    def tier(self, name: str) -> TierRate:
        """The speed of a tier; KeyError for an unknown one."""
        return EXACT_RATE if name == EXACT_TIER else self.tiers[name]

    def gpu(self, name: str) -> GpuRate:
        """The rate of the GPU of that name; KeyError for any other."""
        for gpu in self.gpus:
            if gpu.name == name:
                return gpu
        raise KeyError(name)

    def price_per_s_usd(self, gpu: GpuRate, memory_gib: float | None = None) -> float:
        """The price of a second in a container with that GPU: GPU, cores and memory.

        memory_gib: main memory that is billed; None for what is reserved.
        """
        billed_gib = gpu.memory_gib if memory_gib is None else memory_gib
        return (
            gpu.price_per_s_usd
            + gpu.cores * self.prices.core_per_s_usd
            + billed_gib * self.prices.gib_per_s_usd
        )


@lru_cache(maxsize=1)
def load() -> Rates:
    """The rates that are included in the package."""
    from importlib import resources

    table = resources.files("multitalk_cli.planning").joinpath("rates.toml")
    return parse(table.read_text(encoding="utf-8"))


def parse(text: str) -> Rates:
    """Reads and checks a table of rates; RatesError names the first field that is wrong."""
    import tomllib

    body = tomllib.loads(text)
    version = body.pop("version", None)
    if version != RATES_VERSION:
        raise RatesError(f"version must be {RATES_VERSION}, not {version!r}")
    _require_keys(body, {"prices", "speed", "tier", "start", "idle", "gpu"}, "rates")
    speeds = {stack: _read_speed(rows, f"speed.{stack}") for stack, rows in body["speed"].items()}
    if REFERENCE_STACK not in speeds:
        raise RatesError(f"speed lacks: {REFERENCE_STACK}")
    _require_keys(body["tier"], {*TIERS} - {EXACT_TIER}, "tier")
    return Rates(
        prices=_build(Prices, body["prices"], "prices"),
        speeds=speeds,
        tiers={name: _build(TierRate, row, f"tier.{name}") for name, row in body["tier"].items()},
        start=_build(Start, body["start"], "start"),
        idle=_build(Idle, body["idle"], "idle"),
        gpus=_read_gpus(body["gpu"], speeds),
    )


def _read_speed(rows: Mapping[str, Any], where: str) -> Speed:
    rest = dict(rows)
    fixed = _build(FixedWork, rest.pop("fixed", {}), f"{where}.fixed")
    _require_keys(rest, {field.name for field in fields(Speed)} - {"fixed"}, where)
    _check_numbers(rest, where)
    return Speed(fixed=fixed, **rest)


def _read_gpus(rows: list[dict[str, Any]], speeds: Mapping[str, Speed]) -> tuple[GpuRate, ...]:
    """All speeds are scaled from one GPU."""
    names = [str(row.get("name")) for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RatesError(f"gpu {twice[0]} is in the table twice")
    reference_name = speeds[REFERENCE_STACK].reference_gpu
    for stack, speed in speeds.items():
        if speed.reference_gpu not in names:
            where = f"speed.{stack}.reference_gpu {speed.reference_gpu!r}"
            raise RatesError(f"{where} is no gpu of the table")
        if speed.reference_gpu != reference_name:
            raise RatesError(f"speed.{stack} is not of {reference_name}")
    reference = rows[names.index(reference_name)].get("bf16_tflops")
    if reference is None:
        raise RatesError(f"gpu.{reference_name} lacks: bf16_tflops")
    return tuple(_read_gpu(row, reference) for row in rows)


def _read_gpu(row: Mapping[str, Any], reference_tflops: float) -> GpuRate:
    """A row has the GPU's published bf16 rate or its measured relative speed, not both."""
    where = f"gpu.{row.get('name')}"
    _check_numbers(row, where)
    rest = dict(row)
    tflops, relative = rest.pop("bf16_tflops", None), rest.pop("relative_speed", None)
    if (tflops is None) == (relative is None):
        raise RatesError(f"{where} needs either bf16_tflops or relative_speed")
    slowness = reference_tflops / tflops if relative is None else 1 / relative
    return _build(GpuRate, {**rest, "slowness": slowness}, where)


def _build(kind: type[T], body: Mapping[str, Any], where: str) -> T:
    _require_keys(body, {field.name for field in fields(kind)}, where)  # type: ignore[arg-type]
    _check_numbers(body, where)
    return kind(**body)


def _require_keys(body: Mapping[str, Any], names: set[str], where: str) -> None:
    if unknown := sorted(set(body) - names):
        raise RatesError(f"{where} has unknown fields: {', '.join(unknown)}")
    if missing := sorted(names - set(body)):
        raise RatesError(f"{where} lacks: {', '.join(missing)}")


def _check_numbers(body: Mapping[str, Any], where: str) -> None:
    for name, value in body.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not (math.isfinite(value) and value > 0):
            raise RatesError(f"{where}.{name} must be above 0, not {value!r}")
        if isinstance(value, str) and not value.strip():
            raise RatesError(f"{where}.{name} must not be empty")
        if name.endswith("_usd") and not is_number:
            raise RatesError(f"{where}.{name} must be a number, not {value!r}")
