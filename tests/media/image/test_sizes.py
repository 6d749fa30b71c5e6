"""Sizes of the video: the published buckets, and sizes that can be requested."""

import json

import pytest
from PIL import Image

from multitalk_cli.media.image.sizes import BUCKETS_480P, BUCKETS_720P, nearest_bucket, resolve_size
from tests.media.image.pictures import to_picture


def test_tables_are_the_published_ones(golden_dir):
    golden = json.loads((golden_dir / "masks.json").read_text())
    for name, buckets in (("ASPECT_RATIO_627", BUCKETS_480P), ("ASPECT_RATIO_960", BUCKETS_720P)):
        rows = [(float(k), v["height"], v["width"]) for k, v in golden[name].items()]
        assert [(b.ratio, b.height_px, b.width_px) for b in buckets] == rows


@pytest.mark.parametrize(("name", "buckets"), [("480", BUCKETS_480P), ("720", BUCKETS_720P)])
def test_nearest_bucket_is_the_models_choice(golden_dir, name, buckets):
    cases = json.loads((golden_dir / "masks.json").read_text())["buckets"][name]
    for case in cases:
        bucket = nearest_bucket(case["w"], case["h"], buckets)
        assert [bucket.height_px, bucket.width_px] == case["target_hw"], case


@pytest.mark.parametrize(
    ("option", "size", "expected", "warned"),
    [
        ("896x448", (300, 900), (896, 448), False),
        ("auto", (900, 450), (896, 448), False),
        ("auto", (450, 900), (448, 896), False),
        ("AUTO", (700, 700), (640, 640), False),
        ("720p", (1280, 720), (1280, 704), False),
        ("1280X704", (100, 100), (1280, 704), False),
        (" 640×384 ", (100, 100), (640, 384), True),  # noqa: RUF001
        ("32x32", (100, 100), (32, 32), True),
    ],
)
def test_sizes_that_can_be_asked_for(option, size, expected, warned):
    width, height, warnings = resolve_size(option, to_picture(Image.new("RGB", size)))
    assert (width, height) == expected
    assert len(warnings) == warned


@pytest.mark.parametrize(
    "option",
    ["", "big", "896", "896x", "896x449", "16x448", "4096x448", "-896x448", "0x0", "1e3x4"],
)
def test_sizes_that_cannot_be_made_are_refused(option):
    with pytest.raises(ValueError, match="must "):
        resolve_size(option, to_picture(Image.new("RGB", (100, 100))))


def test_refused_size_names_one_that_would_do():
    with pytest.raises(ValueError, match="the nearest is 896x448"):
        resolve_size("900x450", to_picture(Image.new("RGB", (100, 100))))
