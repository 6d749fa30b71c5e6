"""The Triton kernels against their plain forms, interpreted on a CPU; tests/gpu runs them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROBE = """
import dataclasses

import torch
from remote.engine.config import DiTConfig
from remote.engine.kernels.triton import TRITON
from remote.engine.kernels.operations import PLAIN
from remote.engine.kernels.select import probe

# the library's own kernel has another GELU on a CPU
kernels = dataclasses.replace(TRITON, linear_gelu=PLAIN.linear_gelu)
config = DiTConfig(dim=96, heads=3, layers=1, ffn_dim=64, audio_tokens=8)
print(*probe(kernels, torch.device("cpu"), torch.float32, config))
"""


PROBE_8 = """
import torch
from remote.engine.kernels.select8 import probe
from remote.engine.kernels.triton8 import TRITON_EIGHT

print(*probe(TRITON_EIGHT, torch.device("cpu"), torch.float32, 96))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="needs a GPU: triton is installed with torch for one",
)
def test_every_kernel_gives_what_plain_torch_gives():
    # The interpreter loses the carry where a value is rounded up to 8 bits.
    for script, limit in ((PROBE, 1e-5), (PROBE_8, 0.1)):
        result = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"TRITON_INTERPRET": "1", "PYTHONPATH": ":".join([str(ROOT), *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        )
        error, step = result.stdout.split(maxsplit=1)
        assert float(error) < limit, step
