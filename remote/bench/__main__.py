"""Times the engine on this machine: `python -m remote.bench`.

Without a pack the weights are random and of full size, so times and memory are those of the real
model, and pictures are noise. Times are host seconds around synchronised work.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from remote.bench.measure import measure
from remote.bench.options import BenchOptions
from remote.bench.report import table
from remote.bench.tiers import measure_tiers
from remote.weights.config import PUBLISHED
from remote.weights.read import open_pack


def _options(argv: Sequence[str]) -> tuple[BenchOptions, Path | None, Path | None]:
    default = BenchOptions()
    parser = argparse.ArgumentParser(prog="python -m remote.bench", description=__doc__)
    parser.add_argument("--size", default=f"{default.width_px}x{default.height_px}")
    parser.add_argument("--frames", type=int, default=default.frames)
    parser.add_argument("--motion-frames", type=int, default=default.motion_frames)
    parser.add_argument("--steps", type=int, default=default.steps, help="of a planned clip")
    parser.add_argument("--measured-steps", type=int, default=default.measured_steps)
    parser.add_argument("--persons", type=int, nargs="+", default=list(default.persons))
    parser.add_argument("--weights", type=Path, help="a pack; random weights without it")
    parser.add_argument("--json", type=Path, help="where to write the whole report")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--gpu-gib", type=float, help="measure as on a GPU with less memory")
    parser.add_argument("--float16", action="store_true", help="as on GPUs without bfloat16")
    parser.add_argument(
        "--tiers", action="store_true", help="compare the tiers, and measure nothing else"
    )
    given = parser.parse_args(argv)
    width, _, height = given.size.partition("x")
    options = BenchOptions(
        width_px=int(width),
        height_px=int(height),
        frames=given.frames,
        motion_frames=given.motion_frames,
        steps=given.steps,
        measured_steps=given.measured_steps,
        persons=tuple(given.persons),
        device="cuda" if torch.cuda.is_available() else "cpu",
        profile=given.profile,
        gpu_gib=given.gpu_gib,
        float16=given.float16,
        tiers=given.tiers,
    )
    return options, given.weights, given.json


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    options, weights, json_path = _options(argv)
    config = PUBLISHED if weights is None else open_pack(weights).manifest.config
    if options.tiers:
        report = measure_tiers(config, options, weights, _print_lines)
    else:
        report = measure(config, options, weights)
        _print_lines([table(report)])
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=1), "utf-8")
    return 0


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
