"""The cost of preparing a picture, in processor seconds of one process. Prints a table; no check.

Run with: make bench
"""

import time

import numpy as np
import pytest
from PIL import Image

from multitalk_cli.media.drawing.plan_sheet import PlanSheet, SheetSource, SheetTrack, encode_plan
from multitalk_cli.media.faces.detect import find_faces
from multitalk_cli.media.image.frame import frame_picture
from multitalk_cli.media.image.load import load_picture
from multitalk_cli.planning.windows import plan_windows
from tests.media.image.pictures import photograph

pytestmark = pytest.mark.bench

THIRTY_MINUTES = 43_200


def _seconds(work, runs=5):
    times = []
    for _ in range(runs):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return times


def _sheet():
    pixels = np.asarray(photograph("astronaut.png").resize((4000, 3000)))
    levels = np.abs(np.sin(np.arange(THIRTY_MINUTES) / 7)).astype(np.float32)
    return PlanSheet(
        frame=pixels[:448, :896],
        persons=(),
        tracks=[SheetTrack(name=name, levels=levels) for name in ("a", "b")],
        windows=plan_windows(THIRTY_MINUTES),
        frames=THIRTY_MINUTES,
        fps=24,
        title="Plan",
        source=SheetSource(pixels=pixels, crop=(0, 0, 4000, 2000), size_text="4000x3000"),
    )


def test_picture_costs(tmp_path):
    path = tmp_path / "photograph.jpg"
    photograph("astronaut.png").resize((4032, 3024), Image.Resampling.BICUBIC).save(path)
    picture = load_picture(path)
    framed = frame_picture(picture, 896, 448, "cover", find_faces(picture.pixels))
    sheet = _sheet()
    rows = {
        "load and frame a 12 MP photograph": lambda: frame_picture(
            load_picture(path), 896, 448, "cover", ()
        ),
        "find faces in 896x448": lambda: find_faces(framed.pixels),
        "draw a plan of 30 minutes": lambda: encode_plan(sheet),
    }
    print()
    for what, work in rows.items():
        times = sorted(_seconds(work))
        print(f"{what:<36}{times[0]:.3f} to {times[-1]:.3f} s, median {times[2]:.3f} s")
