"""The table of `--plan`."""

from pathlib import Path

import pytest

from multitalk_cli.cli.layout import plain
from multitalk_cli.cli.views import plan as view
from multitalk_cli.generation.result import VideoPlan
from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import NOT_MEASURED, estimate_all
from multitalk_cli.planning.inputs import GenerateOptions
from multitalk_cli.planning.summary import PictureFacts, Summary
from tests.planning.plans import plan_of

RATES = rates.load()
OPTIONS = GenerateOptions(
    size="auto", fit="cover", background="white", fps=24, order="sequence", sample_steps=20,
    text_guidance=5.0, audio_guidance=4.0, shift=None, loudness=True, prompt="", negative_prompt="",
    embed_prompt=False, seed=0, seed_drawn=False,
)  # fmt: skip


def rows_of(seconds):
    plan = plan_of(seconds)
    summary = Summary(
        picture=PictureFacts(text="a.png", name="a.png", sha256="0", width_px=896, height_px=448),
        voices=(), people=(), crop=(), faces=(), plan=plan, shift=7.0, adjusted=(), warnings=(),
    )  # fmt: skip
    estimates = estimate_all(plan, RATES, first="h100")
    video = VideoPlan(
        summary=summary,
        options=OPTIONS,
        estimates=tuple(estimates),
        rates=RATES,
        inputs=None,
    )
    blocks = view.blocks(video, Path("a.plan.png"))
    return [line for block in blocks for line in plain(block, str)]


def test_each_window_is_shown_as_the_part_of_the_video_that_it_adds():
    assert rows_of(9.8)[0].startswith("windows     1: 0.0 to 3.4 s   2: 3.4 to 5.5 s")


def test_a_long_list_of_windows_is_shortened():
    entries = rows_of(600)[0].split("   ")

    assert entries[-2] == "..."
    assert entries[-1].endswith("600.0 s")
    assert sum(": " in entry for entry in entries) == 11


@pytest.mark.parametrize("gpu", RATES.gpus, ids=lambda gpu: gpu.name)
def test_each_gpu_has_a_row_that_tells_whether_it_was_measured(gpu):
    (row,) = (row for row in rows_of(10) if row.strip().startswith(f"{gpu.name} "))

    assert "$" in row
    assert row.endswith(NOT_MEASURED) is not gpu.measured
