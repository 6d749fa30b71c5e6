"""The GPU part of the proof with a pack of random weights in full size, 51 GB on the disk."""

import pytest
import torch

from multitalk_cli import __version__, contract
from remote.bench.startup import write_random_pack
from remote.weights.config import PUBLISHED
from remote.worker.prove_step import prove_step
from tests.engine.published import build_tokenizer

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    folder = tmp_path_factory.mktemp("random") / "pack"
    write_random_pack(folder, PUBLISHED, torch.device("cuda"))
    build_tokenizer(64, {}).save(str(folder / "tokenizer.json"))
    return folder


def test_a_step_and_every_kernel_agree_with_float32(pack):
    wire = {"contract": contract.CONTRACT_VERSION, "client": __version__}
    answer = prove_step(pack, {**wire, "prompt": "A person talks", "negative_prompt": "blurred"})

    print(answer.get("event") or answer["facts"])
    for row in answer["rows"]:
        print(row)
    assert not [row for row in answer["rows"] if row["is_within"] is False]
    ran = {row["part"] for row in answer["rows"] if row["is_within"]}
    assert ran >= {"one step, 1 voice", "one step, 2 voices", "attention sdpa"}
    assert ran >= {"CLIP on GPU", "VAE encoder on GPU", "VAE decoder on GPU"}
