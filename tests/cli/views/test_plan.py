"""The table of `--plan`."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli import contract
from multitalk_cli.cli.layout import plain
from multitalk_cli.cli.views import plan as view
from multitalk_cli.generation.result import VideoPlan
from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import DEFAULT_SETUP, Setup, estimate_all, estimate_presets
from multitalk_cli.planning.inputs import GenerateOptions
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.planning.summary import PictureFacts, Summary
from tests.planning.plans import plan_of

RATES = rates.load()
OPTIONS = GenerateOptions(
    size="auto", fit="cover", background="white", fps=24, order="sequence", sample_steps=20,
    text_guidance=5.0, audio_guidance=4.0, shift=None, loudness=True, prompt="", negative_prompt="",
    embed_prompt=False, seed=0, seed_drawn=False,
)  # fmt: skip


def rows_of(seconds, gpu="h100", size=(896, 448), steps=20, asked=DEFAULT_SETUP, lora=""):
    plan, options = plan_of(seconds, size=size, steps=steps), replace(OPTIONS, sample_steps=steps)
    options = replace(options, lora=lora)
    summary = Summary(
        picture=PictureFacts(text="a.png", name="a.png", sha256="0", width_px=896, height_px=448),
        voices=(), people=(), crop=(), faces=(), plan=plan, shift=7.0, adjusted=(), warnings=(),
    )  # fmt: skip
    estimates = estimate_all(plan, RATES, first=gpu, asked=asked)
    video = VideoPlan(
        summary=summary,
        options=options,
        estimates=tuple(estimates),
        presets=estimate_presets(plan, RATES, gpu, options.denoising, asked=asked),
        rates=RATES,
        inputs=None,
    )
    blocks = view.blocks(video, Path("a.plan.png"))
    return [line for block in blocks for line in plain(block, str)]


def test_each_window_is_shown_as_the_part_of_the_video_that_it_adds():
    assert rows_of(9.8)[0].startswith("windows     1: 0.0 to 3.4 s   2: 3.4 to 5.5 s")


def test_a_stack_that_was_not_measured_is_named():
    rows = rows_of(9.8, asked=Setup(stack="cuda12.1"))

    (h100,) = (row for row in rows if row.strip().startswith("h100 "))
    (meaning,) = (row for row in rows if row.startswith("estimate"))
    assert h100.rstrip().endswith(", estimate")
    assert "not measured with the stack cuda12.1: planned with the speed of" in meaning


def test_a_long_list_of_windows_is_shortened():
    entries = rows_of(600)[0].split("   ")

    assert entries[-2] == "..."
    assert entries[-1].endswith("600.0 s")
    assert sum(": " in entry for entry in entries) == 11


@pytest.mark.parametrize("gpu", RATES.gpus, ids=lambda gpu: gpu.name)
def test_each_gpu_has_a_row_that_tells_whether_it_was_measured(gpu):
    (row,) = (row for row in rows_of(10) if row.strip().startswith(f"{gpu.name} "))

    assert "$" in row
    assert row.endswith("estimate") is not gpu.measured


def gpu_rows(rows):
    """Those of the table of GPUs, which follows that of presets."""
    (start,) = (number for number, row in enumerate(rows) if row.startswith("GPU "))
    return [row for row in rows[start:] if "$" in row]


def marks_of(rows):
    """The marks of each GPU, in the order of the table."""
    cells = [re.split(" {2,}", row) for row in gpu_rows(rows)]
    return {name: set(marks.split(", ")) for name, _, _, marks in cells}


@pytest.mark.parametrize("gpu", RATES.gpus, ids=lambda gpu: gpu.name)
def test_the_chosen_the_default_and_the_cheapest_gpu_are_marked(gpu):
    marks = marks_of(rows_of(10, gpu.name))

    assert next(iter(marks)) == gpu.name
    assert [name for name in marks if "default" in marks[name]] == ["h100"]
    assert [name for name in marks if "chosen" in marks[name]] == (
        [] if gpu.name == "h100" else [gpu.name]
    )
    (cheapest,) = (name for name in marks if "cheapest" in marks[name])
    estimates = estimate_all(plan_of(10), RATES)
    assert cheapest == min(estimates, key=lambda estimate: estimate.price_usd).gpu


@pytest.mark.parametrize("steps", [20, 10])
def test_what_cheapest_means_is_said_only_where_another_gpu_may_cost_less(steps):
    rows = rows_of(4.9, steps=steps)

    prices = {row.split()[0]: re.findall(r"\$([\d.]+)", row) for row in gpu_rows(rows)}
    (cheapest,) = (name for name, marks in marks_of(rows).items() if "cheapest" in marks)
    is_lowest = all(float(prices[cheapest][0]) <= float(price[0]) for price in prices.values())
    is_said = any(row.startswith("cheapest ") and "--max-cost" in row for row in rows)
    assert is_said is not is_lowest


def test_a_gpu_that_cannot_run_the_plan_has_no_price():
    rows = rows_of(10, size=(2048, 2048))

    (left_out,) = (row for row in rows if row.startswith("not listed"))
    assert {"t4", "l4", "a10g"} <= set(re.findall(r"[a-z0-9-]+", left_out))
    assert marks_of(rows).keys().isdisjoint({"t4", "l4", "a10g"})


def test_each_preset_has_a_row_and_the_chosen_one_is_marked():
    rows = [re.split(" {2,}", row) for row in rows_of(10)]
    found = {row[0]: row[-1].split(", ") for row in rows if row[0] in PRESETS}

    assert list(found) == list(PRESETS)
    assert found["standard"] == ["exact", "chosen"]
    assert found["fast"] == ["lossy"]


def test_a_preset_that_the_gpu_cannot_run_has_no_price():
    (fastest,) = (row for row in rows_of(10, "l40s") if row.startswith("fastest "))

    assert "not on l40s" in fastest
    assert "$" not in fastest


def test_a_lora_is_named_with_the_command_that_fetches_it():
    (row,) = (row for row in rows_of(10, steps=4, lora="lightx2v:0.8") if row.startswith("LoRA "))

    assert row.endswith("lightx2v, if it is not there yet: multitalk download --lora lightx2v")
    assert not any(row.startswith("LoRA ") for row in rows_of(10))


def test_options_that_are_no_preset_have_the_first_row():
    rows = rows_of(10, steps=30)
    (first,) = (number for number, row in enumerate(rows) if row.startswith("preset "))

    assert rows[first + 1].startswith("as asked ")
    assert rows[first + 1].endswith("exact, chosen")


def test_the_date_of_the_rates_is_named_once():
    assert "\n".join(rows_of(10)).count(RATES.prices.date.isoformat()) == 1


@given(st.floats(contract.MIN_SPEECH_S, contract.MAX_SPEECH_S))
def test_the_frames_add_up(seconds):
    *parts, made = re.findall(r"\d[\d,]*(?= )", view.describe_frames(plan_of(seconds)))

    parts = parts if parts else [made]
    assert sum(int(part.replace(",", "")) for part in parts) == int(made.replace(",", ""))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (3.375, "81 generated, all of the video"),
        (3.1, "75 of the video + 2 cut at the end = 77 generated"),
        (
            400,
            "9,600 of the video + 4,250 repeated where windows overlap + 1 cut at the end "
            "= 13,851 generated",
        ),
    ],
)
def test_a_sum_of_frames_names_only_what_there_is(seconds, shown):
    assert view.describe_frames(plan_of(seconds)) == shown
