"""Sizes of the networks: those of the recordings, and those that do not fit together."""

from dataclasses import replace

import pytest

from remote.engine.config import ModelConfig
from tests.engine.tiny import tensors


def test_published_latent_statistics_are_the_recorded_ones(golden_dir):
    recorded = tensors(golden_dir, "vae")
    vae = ModelConfig().vae
    assert vae.mean == pytest.approx(recorded["const/mean"].tolist())
    assert vae.std == pytest.approx(recorded["const/std"].tolist())


@pytest.mark.parametrize(
    ("network", "field", "value", "message"),
    [
        ("dit", "dim", 5121, "dim 5121"),
        ("dit", "layers", 0, "layers is 0"),
        ("vae", "mean", (0.0,), "1 values of mean"),
        ("wav2vec", "do_stable_layer_norm", True, "norms after each layer"),
        ("wav2vec", "feat_extract_norm", "layer", "one group norm"),
        ("wav2vec", "hidden_act", "relu", "wav2vec2 with GELU"),
        ("wav2vec", "conv_bias", True, "without bias"),
    ],
)
def test_sizes_of_a_network_that_do_not_fit_are_refused(network, field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(getattr(ModelConfig(), network), **{field: value})


def test_networks_that_do_not_fit_together_are_refused():
    published = ModelConfig()
    with pytest.raises(ValueError, match="image features"):
        replace(published, dit=replace(published.dit, image_dim=64))
