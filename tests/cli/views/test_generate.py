"""The results of `generate`: the JSON that programs read, and the lines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.cli.views import generate as view
from multitalk_cli.generation.result import DetachedJob, Video

MADE = contract.Result(
    job_id="7f3a7f3a7f3a7f3a",
    backend="modal",
    model_output=True,
    frames=48,
    fps=24,
    width_px=896,
    height_px=448,
    size_bytes=1_500_000,
    seed=0,
    recipe=json.dumps(
        {
            "sample_steps": 4,
            "tier": "near",
            "lora": "lightx2v",
            "work": {
                "forwards": 1200,
                "forwards_gated": 10,
                "lora_keys": 812,
                "eight_bit": "stored",
            },
        }
    ),
    gpu="h100",
    gpu_seconds=30.0,
    price_usd=0.04,
    quality=contract.Quality(
        av_offset_frames=0.4,
        mouth_correlation=(0.9, None),
        color_drift=(0.0, 1.5),
        correlation_floor=(0.4, None),
        color_spread=(1.0, 2.0),
        sharpness=(0.1, -0.1),
        face_stretch=(0.01, None),
    ),
)
VIDEO = Video(
    path=Path("/home/me/talk.mp4"),
    stored=None,
    backend="modal",
    model_output=True,
    frames=48,
    fps=24,
    duration_s=2.0,
    seed=0,
    price_usd=0.04,
    adjusted=("cropped",),
    warnings=(),
    made=MADE,
)
COMMON = {
    "output": "/home/me/talk.mp4",
    "stored": None,
    "backend": "modal",
    "model_output": True,
    "frames": 48,
    "fps": 24,
    "seconds": 2.0,
    "seed": 0,
    "adjusted": ["cropped"],
}


def test_the_json_of_a_video_that_was_made():
    assert view.data(VIDEO) == {
        **COMMON,
        "price_usd": 0.04,
        "already_made": False,
        "job": "7f3a7f3a7f3a7f3a",
        "width": 896,
        "height": 448,
        "gpu": "h100",
        "gpu_seconds": 30.0,
        "usd_per_second": 0.02,
        "sample_steps": 4,
        "tier": "near",
        "lora": "lightx2v",
        "forwards": 1200,
        "forwards_gated": 10,
        "lora_keys": 812,
        "eight_bit": "stored",
        "quality": {
            "av_offset_frames": 0.4,
            "mouth_correlation": [0.9, None],
            "correlation_floor": [0.4, None],
            "color_drift": [0.0, 1.5],
            "color_spread": [1.0, 2.0],
            "sharpness": [0.1, -0.1],
            "face_stretch": [0.01, None],
        },
    }


def test_the_json_of_a_video_that_existed():
    existing = replace(VIDEO, made=None, price_usd=0.0)

    assert view.data(existing) == {**COMMON, "price_usd": 0.0, "already_made": True}
    assert view.facts(existing) == []


def test_the_price_of_a_video_that_is_only_fetched_is_that_of_before():
    (_, text), _ = view.facts(replace(VIDEO, price_usd=0.0))

    assert "$0.04 paid before" in text


def test_the_json_of_a_job_that_is_still_running():
    job = DetachedJob(job_id="7f3a7f3a7f3a7f3a")

    assert view.data(job) == {"job": "7f3a7f3a7f3a7f3a", "detached": True}
    assert (view.lines(job), view.facts(job)) == (["7f3a7f3a7f3a7f3a"], [])


def test_a_person_sees_length_size_and_price():
    (name, text), work = view.facts(VIDEO)

    assert name == "talk.mp4"
    for part in ("2.00 s", "896x448", "24 fps", "1.5 MB", "$0.04", "sound in sync"):
        assert part in text
    assert work == (
        "work",
        "4 steps, tier near, LoRA lightx2v, 1,200 forwards, 8-bit weights stored, "
        "30 s of GPU, $0.02 a second of video",
    )


@pytest.mark.parametrize(
    ("path", "stored", "output", "labels"),
    [
        (
            Path("/home/me/talk.mp4"),
            "s3://b/talk.mp4",
            "/home/me/talk.mp4",
            ["talk.mp4", "work", "stored"],
        ),
        (None, "s3://b/far.mp4", "s3://b/far.mp4", ["far.mp4", "work"]),
    ],
)
def test_a_stored_video_is_named_by_its_file_or_else_by_its_address(path, stored, output, labels):
    video = replace(VIDEO, path=path, stored=stored)

    assert (view.lines(video), view.data(video)["output"]) == ([output], output)
    assert view.data(video)["stored"] == stored
    assert [label for label, _ in view.facts(video)] == labels
