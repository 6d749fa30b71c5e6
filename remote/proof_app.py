"""The Modal app of `multitalk doctor --model`: wiring only, with an image of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import modal

from multitalk_cli import contract
from multitalk_cli.contract import proof
from remote.deployment import image

MINUTES = 60
WEIGHTS = Path("/weights")

app = modal.App(contract.APP_NAME + contract.PROOF_SUFFIX, include_source=False)
weights = modal.Volume.from_name(contract.WEIGHTS_VOLUME)


@app.function(
    # torch would start a thread for each core of the host.
    image=image.build("proof", {"OMP_NUM_THREADS": f"{proof.CORES:.0f}"}),
    cpu=proof.CORES,
    memory=proof.MEMORY_MIB,
    volumes={str(WEIGHTS): weights.with_mount_options(read_only=True)},
    timeout=30 * MINUTES,
    startup_timeout=10 * MINUTES,
    scaledown_window=2,
    max_containers=1,
    retries=0,
)
def prove_encoders(wire: dict[str, Any]) -> dict[str, Any]:
    """Compares sound, tokenizer, encoders and VAE with librosa, transformers and diffusers."""
    from remote.worker.prove_encoders import prove_encoders as prove

    return prove(WEIGHTS / contract.PACK_FOLDER, wire)
