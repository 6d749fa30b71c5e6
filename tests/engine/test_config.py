"""Sizes: to JSON and back, and refusal of what does not fit."""

import json

import pytest

from remote.engine.config import PUBLISHED, DiTConfig, ModelConfig
from tests.engine.tiny import description, tensors, tiny_model_config


def test_sizes_survive_json():
    assert ModelConfig.from_dict(json.loads(json.dumps(PUBLISHED.to_dict()))) == PUBLISHED


def test_tiny_sizes_survive_json(golden_dir):
    tiny = tiny_model_config(golden_dir)
    assert ModelConfig.from_dict(json.loads(json.dumps(tiny.to_dict()))) == tiny


def test_published_latent_statistics_are_the_recorded_ones(golden_dir):
    recorded = tensors(golden_dir, "vae")
    assert PUBLISHED.vae.mean == pytest.approx(recorded["const/mean"].tolist())
    assert PUBLISHED.vae.std == pytest.approx(recorded["const/std"].tolist())


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
        (("dit", "dim"), 5121, "dim 5121"),
        (("dit", "layers"), 0, "layers is 0"),
        (("dit", "layers"), "40", "layers is '40', not int"),
        (("dit", "layers"), True, "not int"),
        (("dit", "patch"), [1, 2], "has 2 values, not 3"),
        (("dit", "image_dim"), 64, "image features"),
        (("vae", "mean"), [0.0], "1 values of mean"),
        (("vae", "std"), 3, "not a list"),
        (("clip", "eps"), float("nan"), "eps is nan"),
        (("wav2vec", "do_stable_layer_norm"), True, "norms after each layer"),
        (("wav2vec", "feat_extract_norm"), "layer", "one group norm"),
        (("wav2vec", "hidden_act"), "relu", "wav2vec2 with GELU"),
        (("wav2vec", "conv_bias"), True, "without bias"),
        (("buckets", "480"), [], "no picture sizes for tier 480"),
        (("surprise", "x"), 1, "unknown"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(path, value, message):
    plain = PUBLISHED.to_dict()
    plain.setdefault(path[0], {})[path[1]] = value
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(plain)


def test_a_missing_size_is_named():
    plain = DiTConfig().to_dict()
    del plain["heads"]
    with pytest.raises(ValueError, match=r"lacks.*heads"):
        DiTConfig.from_dict(plain)
