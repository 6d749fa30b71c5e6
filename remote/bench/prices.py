"""Seconds and dollars of planned videos, from measured forwards."""

from multitalk_cli import contract
from multitalk_cli.planning import cost
from multitalk_cli.planning import rates as rating
from multitalk_cli.planning import windows as planning
from multitalk_cli.planning.presets import Denoising
from remote.bench.options import BenchOptions, Report

_SPEECH_S = (3.3, 10.0, 60.0)
_COLD_SPEECH_S = 5.0


def prices(row: Report, options: BenchOptions, device: str) -> list[Report]:
    """Seconds and dollars of planned videos on this GPU, from the times measured on it.

    Windows of other lengths are scaled by the formula of the rates; cold starts are its longest.
    """
    rates = rating.load()
    gpu = next((gpu for gpu in rates.gpus if _is_gpu(gpu.name, device)), None)
    per_s = None if gpu is None else rates.price_per_s_usd(gpu)
    jobs = [(speech_s, False) for speech_s in _SPEECH_S] + [(_COLD_SPEECH_S, True)]
    rows = []
    for speech_s, is_cold in jobs:
        plan = planning.make_plan(
            round(speech_s * options.fps),
            options.fps,
            size=(options.width_px, options.height_px),
            persons=row["persons"],
            denoising=Denoising(sample_steps=options.steps),
            window_frames=max(options.frames, contract.MIN_WINDOW_FRAMES),
            motion_frames=options.motion_frames,
        )
        seconds = _plan_seconds(plan, row, options, rates)
        if is_cold:
            seconds += rates.start.most_s
        rows.append(
            {
                "speech_s": speech_s,
                "is_cold": is_cold,
                "seconds": seconds,
                "seconds_per_s": seconds / speech_s,
                "usd_per_s": None if per_s is None else seconds * per_s / speech_s,
            }
        )
    return rows


def _plan_seconds(
    plan: planning.Plan, row: Report, options: BenchOptions, rates: rating.Rates
) -> float:
    reference = rates.gpus[0]
    whole = plan.tokens(contract.Window(start=0, frames=options.frames))
    persons = plan.persons
    total = row["stages"].get("prepare", 0.0)
    for index, window in enumerate(plan.windows):
        share = cost.seconds_per_forward(
            plan.tokens(window), persons, reference, rates
        ) / cost.seconds_per_forward(whole, persons, reference, rates)
        key = "forward" if index == 0 else "forward_later"
        total += plan.forwards_per_window * row[key]["median"] * share
        around = row["clip_first_s"] - plan.forwards_per_window * row["forward"]["median"]
        total += max(around, 0.0) * window.frames / options.frames
    return float(total)


def _is_gpu(name: str, device: str) -> bool:
    return all(part in device.lower().replace(" ", "-") for part in name.split("-"))
