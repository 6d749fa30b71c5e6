"""Sizes in a pack's manifest: to JSON and back, and refusal of what does not fit."""

import json

import pytest

from multitalk_cli.contract.codec import from_plain, to_plain
from remote.weights.config import PUBLISHED, PackConfig
from tests.engine.tiny import description, tiny_model_config


def test_sizes_survive_json():
    assert from_plain(PackConfig, json.loads(json.dumps(to_plain(PUBLISHED)))) == PUBLISHED


def test_tiny_sizes_survive_json(golden_dir):
    tiny = tiny_model_config(golden_dir)
    assert from_plain(PackConfig, json.loads(json.dumps(to_plain(tiny)))) == tiny


def test_the_stored_form_of_the_sizes_never_changes():
    plain = to_plain(PUBLISHED)
    assert list(plain) == ["dit", "vae", "text", "clip", "wav2vec", "buckets"]
    assert plain["buckets"]["480"][2] == {"ratio": 0.5, "height_px": 448, "width_px": 896}
    assert plain["dit"]["patch"] == [1, 2, 2]


@pytest.mark.parametrize(
    ("tier", "table"), [("480", "ASPECT_RATIO_627"), ("720", "ASPECT_RATIO_960")]
)
def test_published_buckets_are_the_recorded_ones(golden_dir, tier, table):
    recorded = description(golden_dir, "masks")[table].values()
    ours = [(b.ratio, b.height_px, b.width_px) for b in PUBLISHED.buckets[tier]]
    assert ours == [(row["ratio"], row["height"], row["width"]) for row in recorded]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("dit", "layers"), 0, "layers is 0"),
        (("dit", "layers"), "40", "layers must be int, not str"),
        (("dit", "layers"), True, "must be int, not bool"),
        (("dit", "patch"), [1, 2], "must have 3 values, not 2"),
        (("vae", "std"), 3, "must be a list"),
        (("clip", "eps"), float("nan"), "eps must be a finite number"),
        (("clip", "eps"), 10**400, "that a float can hold"),
        (("buckets", "480"), [], "no video sizes for 480"),
        (
            ("buckets", "480"),
            [{"ratio": 1, "height_px": 50, "width_px": 64}],
            "64x50 px are no multiples of 16",
        ),
        (("buckets", "480"), {}, "must be a list"),
        (("surprise", "x"), 1, "unknown"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(path, value, message):
    plain = to_plain(PUBLISHED)
    plain.setdefault(path[0], {})[path[1]] = value
    with pytest.raises(ValueError, match=message):
        from_plain(PackConfig, plain)


def test_a_missing_size_is_named_even_where_it_has_a_default():
    plain = to_plain(PUBLISHED)
    del plain["dit"]["heads"]
    with pytest.raises(ValueError, match=r"dit lacks: heads"):
        from_plain(PackConfig, plain)
