"""Attention kernels on a GPU: timed, chosen, forced, and exchanged in a loaded transformer."""

import re

import pytest
import torch

from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels.attention import (
    LOADERS,
    choose_backend,
    choose_promised,
    load_backend,
    seconds_of,
)
from remote.engine.kernels.select import choose_operations
from tests.gpu.test_kernels import CONFIG, _velocity, device, dit  # noqa: F401 - fixtures

pytestmark = pytest.mark.gpu
BF16 = torch.bfloat16


def _load(device, name):  # noqa: F811
    return load_backend(name, device, BF16)


def _runs(device):  # noqa: F811
    found = []
    for name in LOADERS:
        try:
            found.append(_load(device, name).name)
        except BackendUnavailableError:
            continue
    return found


def test_a_slower_kernel_is_passed_over_with_its_figure(device):  # noqa: F811
    chosen = choose_promised(
        ("sdpa-flash", "fa2"),
        lambda name: _load(device, name),
        lambda backend: seconds_of(backend, device, BF16, 128),
    )

    assert re.search(r"sdpa-flash: \d+ % slower than sdpa|preferred on this stack", chosen.reason)
    assert chosen.name in _runs(device)


def test_times_are_stable_enough_to_choose_by(device):  # noqa: F811
    backend = _load(device, "sdpa")
    times = [seconds_of(backend, device, BF16, 128) for _ in range(5)]

    assert max(times) < 1.1 * min(times)


@torch.inference_mode()
def test_a_loaded_transformer_takes_another_kernel(device, dit):  # noqa: F811
    operations = choose_operations(device, BF16, CONFIG)
    exact = None
    for name in ("sdpa", *_runs(device), "sdpa"):
        dit.fuse(operations, choose_backend(device, BF16, CONFIG.head_dim, name))
        velocity = _velocity(dit, 2)
        exact = velocity if exact is None else exact
        assert ((velocity - exact).norm() / exact.norm()).item() < 2e-2, name
    assert torch.equal(velocity, exact)
