"""The VAE in half precision, and what happens to values that do not fit into it."""

import pytest
import torch

from remote.engine.kernels.norm_silu import norm_silu
from remote.engine.networks.halfvae import HalfVAE
from tests.engine.tiny import tiny_module


@pytest.fixture
def whole(golden_dir):
    return tiny_module(golden_dir, "vae")


@pytest.fixture
def half(whole):
    return HalfVAE(whole, norm_silu)


@pytest.fixture
def latents(whole):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, whole.config.latent_channels, 3, 4, 4, generator=generator)


@pytest.fixture
def video():
    return torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1


def _overflow(half):
    half._half.decoder.conv_in.bias.data.fill_(torch.inf)
    half._half.encoder.conv_in.bias.data.fill_(torch.inf)


def test_half_precision_is_near_the_whole(whole, half, latents, video):
    torch.testing.assert_close(half.decode(latents), whole.decode(latents), atol=2e-2, rtol=0)
    torch.testing.assert_close(half.encode(video), whole.encode(video), atol=2e-2, rtol=2e-2)


def test_what_overflows_is_done_again_in_float32(whole, half, latents, video):
    _overflow(half)
    assert torch.equal(half.decode(latents), whole.decode(latents))
    assert torch.equal(half.encode(video), whole.encode(video))


def test_chunks_before_an_overflow_are_kept(whole, half, latents):
    chunks = half.decode_chunks(latents, latents_per_chunk=1)
    first = next(chunks)
    _overflow(half)
    rest = torch.cat(list(chunks), dim=2)
    wanted = whole.decode(latents, latents_per_chunk=1)
    assert torch.equal(rest, wanted[:, :, first.shape[2] :])


def test_the_whole_weights_are_not_changed(whole, half):
    _overflow(half)
    assert all(parameter.isfinite().all() for parameter in whole.parameters())
    assert next(whole.parameters()).dtype == torch.float32
