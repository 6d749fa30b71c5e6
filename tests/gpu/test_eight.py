"""Work in 8 bits on a GPU: kernels, attention and tiers."""

import copy

import pytest
import torch

from remote.engine.kernels.attention import choose_backend
from remote.engine.kernels.attention8 import choose_attention8
from remote.engine.kernels.convolve import convolve
from remote.engine.kernels.select import choose_operations
from remote.engine.kernels.select8 import (
    choose_convolve,
    choose_eight,
    choose_tier,
    convolution_error,
    probe,
)
from remote.engine.networks.eight import quantize_blocks
from remote.engine.tiers import NEAR, TURBO
from tests.gpu.test_kernels import CONFIG, _velocity, device, dit  # noqa: F401 - fixtures

pytestmark = pytest.mark.gpu
BF16 = torch.bfloat16


@pytest.mark.parametrize("dim", [640, 5120])
def test_every_step_gives_what_plain_torch_gives(device, dim):  # noqa: F811
    error, step = probe(choose_eight(device, BF16, dim), device, BF16, dim)
    assert error < 1e-2, step


def test_attention_keeps_what_differs_between_tokens(device):  # noqa: F811
    found = choose_attention8(device, BF16, 128, choose_eight(device, BF16, 640))
    assert (found.name, found.error < 0.12) == ("fa3 fp8", True)


def test_the_convolution_gives_what_torch_gives(device):  # noqa: F811
    chosen = choose_convolve(device)
    assert chosen is not convolve
    error = convolution_error(chosen, device, torch.float16)
    assert error < 1.2 * convolution_error(convolve, device, torch.float16)


@pytest.mark.parametrize("persons", [1, 2])
@torch.inference_mode()
def test_tiers_are_close_to_exact(device, dit, persons):  # noqa: F811
    dit = copy.deepcopy(dit)  # which is changed below
    operations = choose_operations(device, BF16, CONFIG)
    backend = choose_backend(device, BF16, CONFIG.head_dim)
    dit.fuse(operations, backend)
    exact, errors = _velocity(dit, persons), []
    for tier in (NEAR, TURBO):
        kernels, reasons = choose_tier(tier, device, BF16, CONFIG)
        assert reasons == ()
        quantize_blocks(dit.blocks, tier.layers)
        dit.fuse(operations, backend, kernels.operations, kernels.attention)
        errors.append(((_velocity(dit, persons) - exact).norm() / exact.norm()).item())
    assert all(1e-3 < error < 0.15 for error in errors)
    assert errors[0] != errors[1]
