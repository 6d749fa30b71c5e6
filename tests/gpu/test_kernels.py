"""The Triton kernels and the fused blocks on a GPU, at sizes that fill no tile exactly."""

import pytest
import torch

from remote.engine.config import DiTConfig
from remote.engine.kernels.attention import SDPA, choose_backend
from remote.engine.kernels.operations import PLAIN
from remote.engine.kernels.select import choose_operations, probe
from remote.engine.networks.dit import Condition, DiT

pytestmark = pytest.mark.gpu

CONFIG = DiTConfig(dim=640, ffn_dim=1024, heads=5, layers=3, text_dim=64, image_dim=32)


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    return torch.device("cuda")


@pytest.fixture(scope="module")
def dit(device):
    torch.manual_seed(3)
    with device:
        dit = DiT(CONFIG)
    for parameter in dit.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return dit.bfloat16().requires_grad_(False)


def _velocity(dit, persons):
    generator = torch.Generator("cuda").manual_seed(5)

    def normal(*shape):
        return torch.randn(shape, generator=generator, device="cuda")

    masks = torch.zeros(3, 7, 6, device="cuda")
    masks[0, :, :2], masks[1, :, 4:], masks[2, :, 2:4] = 1, 1, 1
    inputs = normal(16, 3, 14, 12), normal(20, 3, 14, 12)
    condition = Condition(
        text=dit.text_keys(normal(37, 64)),
        image=dit.image_keys(normal(1, 257, 32)),
        audio=dit.audio_keys(normal(persons, 9, 5, 12, 768)),
        regions=dit.regions(masks) if persons > 1 else None,
    )
    return dit(*inputs, torch.tensor([700.0], device="cuda"), condition)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_kernel_gives_what_plain_torch_gives(device, dtype):
    operations = choose_operations(device, dtype, CONFIG)
    assert operations.name != PLAIN.name, operations.refused
    error, step = probe(operations, device, dtype, DiTConfig())
    assert error < {torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype], step


@pytest.mark.parametrize("persons", [1, 2])
@torch.inference_mode()
def test_fused_blocks_are_as_exact_as_plain_ones(device, dit, persons):
    dit.backend, dit.fused = SDPA, None
    plain = _velocity(dit, persons)
    exact = _velocity(dit.float(), persons)
    dit.bfloat16()
    backend = choose_backend(device, torch.bfloat16, CONFIG.head_dim)
    dit.fuse(choose_operations(device, torch.bfloat16, CONFIG), backend)
    fused = _velocity(dit, persons)
    errors = [((each - exact).norm() / exact.norm()).item() for each in (fused, plain)]
    assert errors[0] < 1.15 * errors[1]


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 1000])
def test_any_number_of_tokens_is_normalised(device, tokens):
    operations = choose_operations(device, torch.bfloat16, CONFIG)
    x = torch.randn(tokens, 640, device=device, dtype=torch.bfloat16)
    weight = torch.randn(640, device=device)
    torch.testing.assert_close(
        operations.norm(x, weight, weight, 1e-6), PLAIN.norm(x, weight, weight, 1e-6),
        atol=0.05, rtol=0.02,
    )  # fmt: skip
