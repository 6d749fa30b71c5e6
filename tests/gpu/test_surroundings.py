"""What a container reports of the machine under a GPU, from a process of its own."""

import json
import os
import subprocess
import sys

import pytest
import torch

from remote.weights.allocator import ALLOCATOR

pytestmark = pytest.mark.gpu

SCRIPT = """
import json, os, sys
from pathlib import Path
from remote.worker.surroundings import describe_surroundings

class Volume:
    def commit(self):
        os.sync()

print(json.dumps(describe_surroundings(Path(sys.argv[1]), Volume())))
"""


def surroundings(folder, allocator):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": allocator},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.fixture(autouse=True)
def _needs_gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")


def test_pinned_memory_and_segments_work_with_our_settings(tmp_path):
    found = surroundings(tmp_path, ALLOCATOR)

    assert found["segments"] == {"works": True}
    assert found["pinned"]["works"]
    assert found["pinned"]["copy_gb_per_s"] > 5
    assert found["volume"]["bytes"] == 64 * 2**20


def test_segments_without_our_settings_are_not_tried(tmp_path):
    found = surroundings(tmp_path, "max_split_size_mb:512")

    assert found["segments"]["works"] is None
