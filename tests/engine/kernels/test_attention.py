"""Attention kernels: which one is chosen, and that each agrees with the plain one."""

import pytest
import torch

from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels import attention as module
from remote.engine.kernels.attention import (
    LOADERS,
    SDPA,
    AttentionBackend,
    attention,
    choose_backend,
    load_backend,
)

CPU = torch.device("cpu")


def _tensors(dtype=torch.float32, value_channels=16):
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(2, 10, 3, 16, generator=generator)
    k = torch.randn(2, 7, 3, 16, generator=generator)
    v = torch.randn(2, 7, 3, value_channels, generator=generator)
    return q.to(dtype), k.to(dtype), v.to(dtype)


def test_attention_is_softmax_of_scaled_products():
    q, k, v = _tensors()
    weights = (torch.einsum("blhd,bmhd->bhlm", q, k) / 4).softmax(-1)
    wanted = torch.einsum("bhlm,bmhd->blhd", weights, v)
    torch.testing.assert_close(attention(q, k, v), wanted, atol=1e-6, rtol=0)


def test_on_a_cpu_the_plain_kernel_is_chosen():
    chosen = choose_backend(CPU, torch.float32, head_dim=16)
    assert chosen.name == "sdpa"
    assert 0 < chosen.error < 1e-5


@pytest.mark.parametrize("name", LOADERS)
def test_every_kernel_that_runs_here_agrees_with_the_plain_one(name):
    try:
        backend = load_backend(name, CPU, torch.bfloat16, head_dim=16)
    except BackendUnavailableError as reason:
        pytest.skip(f"needs a GPU: {name}: {reason}")
    q, k, v = _tensors(torch.bfloat16)
    given, plain = attention(q, k, v, backend).float(), attention(q, k, v).float()
    assert (given - plain).norm() / plain.norm() < 1e-2


def test_values_of_another_width_go_through_the_plain_kernel():
    def broken(*_):
        raise AssertionError("this kernel takes equal widths only")

    q, k, v = _tensors(value_channels=8)
    given = attention(q, k, v, AttentionBackend(name="broken", kernel=broken))
    assert torch.equal(given, attention(q, k, v, SDPA))


def test_a_wrong_kernel_is_refused_with_its_error(monkeypatch):
    monkeypatch.setitem(LOADERS, "fa3", lambda: lambda q, *_: q * 0)
    with pytest.raises(BackendUnavailableError, match=r"error 1\.0e"):
        load_backend("fa3", CPU, torch.float32)


def test_a_kernel_that_fails_is_passed_over_with_its_reason(monkeypatch):
    def absent():
        raise ImportError("no such kernel")

    monkeypatch.setattr(module, "LOADERS", {"sdpa": absent})
    with pytest.raises(BackendUnavailableError, match="no such kernel"):
        choose_backend(CPU, torch.float32)
