"""Attention kernels: which one is chosen, and that each agrees with the plain one."""

import pytest
import torch

from multitalk_cli import contract
from remote.deployment import image
from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels import attention as module
from remote.engine.kernels.attention import (
    AUTO,
    LOADERS,
    PROMISED,
    SDPA,
    AttentionBackend,
    attention,
    choose_backend,
    choose_promised,
    load_backend,
    seconds_of,
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


# The stack that promises kernels of its own


def choose(seconds, promised=("fa2", "xformers")):
    """The choice where each kernel takes so long; None does not run."""

    def load(name):
        if seconds[name] is None:
            raise BackendUnavailableError(f"no {name}")
        return AttentionBackend(name=name, kernel=SDPA.kernel)

    return choose_promised(promised, load, lambda backend: seconds[backend.name])


TORCH = {"sdpa-cudnn": 10.0, "sdpa-flash": 16.0, "sdpa": 17.0}


@pytest.mark.parametrize(
    ("fa2", "xformers", "chosen", "reason"),
    [
        (9.0, 9.0, "fa2", "preferred on this stack, 10 % faster than sdpa-cudnn"),
        (10.4, 9.0, "fa2", "preferred on this stack, 4 % slower than sdpa-cudnn"),
        (None, 10.0, "xformers", "preferred on this stack, 0 % faster than sdpa-cudnn"),
        (16.1, 10.2, "xformers", "preferred on this stack, 2 % slower than sdpa-cudnn"),
        (
            16.1,
            18.0,
            "sdpa-cudnn",
            "fa2: 61 % slower than sdpa-cudnn; xformers: 80 % slower than sdpa-cudnn",
        ),
        (None, None, "sdpa-cudnn", "fa2: no fa2; xformers: no xformers"),
    ],
)
def test_a_promised_kernel_goes_first_unless_it_is_slower(fa2, xformers, chosen, reason):
    found = choose({**TORCH, "fa2": fa2, "xformers": xformers})

    assert (found.name, found.reason) == (chosen, reason)


def test_the_fastest_of_torch_is_what_counts():
    found = choose({**TORCH, "sdpa-cudnn": None, "fa2": 16.5, "xformers": None})

    assert found.reason == "preferred on this stack, 3 % slower than sdpa-flash"
    assert found.refused == (("sdpa-cudnn", "no sdpa-cudnn"),)


def test_without_any_kernel_there_is_no_attention():
    with pytest.raises(BackendUnavailableError, match="no attention runs here"):
        choose(dict.fromkeys([*TORCH, "fa2", "xformers"]))


def test_kernels_are_timed_by_running_them():
    found = choose_promised(
        ["sdpa"],
        lambda name: load_backend(name, CPU, torch.float32, 16),
        lambda backend: seconds_of(backend, CPU, torch.float32, 16),
    )

    assert found.name in LOADERS


def test_a_wanted_kernel_is_taken_or_refused_by_name():
    found = choose_backend(CPU, torch.float32, 16, "sdpa-flash")

    assert (found.name, found.reason) == ("sdpa-flash", "as asked")
    with pytest.raises(BackendUnavailableError, match="attention fa2 does not run here: "):
        choose_backend(CPU, torch.float32, 16, "fa2")


def test_the_names_are_those_of_the_contract():
    assert set(LOADERS) == set(contract.ATTENTIONS)
    assert AUTO == contract.AUTO_ATTENTION
    older = contract.STACK_ATTENTIONS["cuda12.1"]
    assert older[: len(PROMISED["12.1"])] == PROMISED["12.1"]
    assert all(set(names) <= set(LOADERS) for names in contract.STACK_ATTENTIONS.values())


@pytest.mark.parametrize(
    ("name", "package"), [("fa2", "flash-attn"), ("fa3", "fa3-fwd"), ("xformers", "xformers")]
)
def test_a_stack_has_the_kernels_of_its_packages(name, package):
    for stack, names in contract.STACK_ATTENTIONS.items():
        packages = [pin for layer in image.STACKS[stack].layers for pin in layer.pins]
        assert (name in names) == any(pin.startswith(f"{package}==") for pin in packages)
