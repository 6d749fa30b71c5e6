"""wav2vec2: against transformers' own, taken in pieces, at any frame rate."""

import pytest
import torch

from multitalk_cli.contract.codec import to_plain
from remote.engine.checkpoint.published import build, load_module, rename
from remote.engine.config import Wav2VecConfig
from remote.engine.networks.audio import normalize_wave
from remote.engine.networks.wav2vec import VoiceEncoder, embed_voice, resample_features
from remote.weights.config import PUBLISHED
from tests.engine.tiny import description, tiny_module, weights


def _random_pair(**changes):
    """transformers' network with random weights, and ours with the same ones."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2VecConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        conv_dim=(16,) * 7, num_conv_pos_embedding_groups=4, **changes,
    )  # fmt: skip
    torch.manual_seed(5)
    theirs = Wav2Vec2Model(Wav2Vec2Config(**to_plain(config))).eval()
    published = ((rename("wav2vec", key, PUBLISHED), t) for key, t in theirs.state_dict().items())
    with torch.device("meta"):
        ours = VoiceEncoder(config)
    kept = [(name, tensor) for name, tensor in published if name is not None]
    load_module(ours, kept, torch.device("cpu"))
    return theirs, ours


def _wave(samples, seed=4):
    return normalize_wave(torch.randn(samples, generator=torch.Generator().manual_seed(seed)) + 0.3)


@pytest.mark.parametrize("window", [5, 16, 128])
@torch.inference_mode()
def test_gives_what_transformers_wav2vec2_gives(window):
    theirs, ours = _random_pair(num_conv_pos_embeddings=window)
    wave = _wave(6400)
    hidden = theirs(wave[None], output_hidden_states=True).hidden_states[1:]
    heard = embed_voice(ours, wave, hidden[0].shape[1])
    torch.testing.assert_close(heard, torch.stack(hidden, dim=2)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps_per_chunk", [1, 7, 1500])
@torch.inference_mode()
def test_a_wave_taken_in_pieces_gives_what_transformers_gives_for_the_whole(steps_per_chunk):
    theirs, ours = _random_pair()
    wave = _wave(5555, seed=6)
    whole = theirs.feature_extractor(wave[None])[0].T
    torch.testing.assert_close(ours.features(wave, steps_per_chunk), whole, atol=1e-5, rtol=0)


def test_a_wave_shorter_than_a_step_is_refused(golden_dir):
    with pytest.raises(ValueError, match="399 samples is shorter than 400"):
        tiny_module(golden_dir, "wav2vec").features(torch.zeros(399))


@torch.inference_mode()
def test_the_recorded_rate_is_not_the_only_one(golden_dir):
    wav2vec, wave = tiny_module(golden_dir, "wav2vec"), _wave(16000)
    assert embed_voice(wav2vec, wave, 24).shape[0] == 24
    assert embed_voice(wav2vec, wave, 30).shape[0] == 30


@pytest.mark.parametrize("fps", [24, 25])
def test_features_keep_step_with_the_sound_at_any_rate(fps):
    """A ramp over time, at 50 Hz, is still a ramp from end to end after resampling."""
    ramp = torch.linspace(0, 1, 200)[:, None]
    frames = 4 * fps
    wanted = torch.linspace(0, 1, frames)[:, None]
    torch.testing.assert_close(resample_features(ramp, frames), wanted, atol=1e-6, rtol=0)


def test_what_hides_steps_in_training_is_left_out(golden_dir):
    assert "masked_spec_embed" in weights(golden_dir, "audio_embedding")
    names = set(build("wav2vec", PUBLISHED).state_dict())
    recorded = description(golden_dir, "full_size_keys")
    keys = recorded["wav2vec2_base_architecture_default_config"]["n_keys"]
    assert len(names) == keys - 1
    assert not any("masked" in name for name in names)
