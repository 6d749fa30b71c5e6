"""Checks of a container: its bucket, its GPU, its sound, and the speed of a test video."""

from __future__ import annotations

import importlib
import itertools
import logging
import secrets
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from remote.worker.failures import as_answer
from remote.worker.surroundings import describe_surroundings
from remote.worker.upload import open_bucket
from remote.worker.volume_store import Volume

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from remote.service.run import Model

CANARY_STEPS, USUAL_STEPS = 4, 20
CARD_PX, CPU_PX = (896, 448), (64, 32)
_SEED = 7
_DRIVER_S = 20.0
_FIRST_WITH_BF16 = (8, 0)
_CROSS_RATE_HZ = 44_100

_log = logging.getLogger(__name__)


@as_answer()
def check_storage(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Stores, reads and deletes a small object in the bucket that the secret names.

    Nothing of this needs torch, which takes seconds to import.
    """
    from multitalk_cli.storage.probe import try_bucket

    began_s = time.monotonic()
    contract.check_version(wire)
    bucket = open_bucket()
    try_bucket(bucket.storage, bucket.require_name())
    return {"bucket": bucket.name, "seconds": time.monotonic() - began_s}


@as_answer()
def examine(model: Model, wire: Mapping[str, Any], jobs: Path, volume: Volume) -> dict[str, Any]:
    """Reports the machine, loads the weights unless they are there, and makes a short video.

    wire: contract and client versions, and the two prompts. jobs: where the Volume is mounted.
    """
    import torch

    body = contract.check_version(wire)
    machine, load = describe_machine(), _load(model)
    size = CARD_PX if torch.cuda.is_available() else CPU_PX
    request = canary_request(size, str(body["prompt"]), str(body["negative_prompt"]))
    with TemporaryDirectory(prefix="multitalk-") as folder:
        canary = _make(model, request, Path(folder))
    chosen = {
        "attention": model.machine.attention,
        "attention_reason": model.engine.backend.reason,
        "kernels": model.machine.kernels,
    }
    # Last: by then the process held as much memory as it needs.
    surroundings = describe_surroundings(jobs, volume)
    return {**machine, **load, **chosen, "canary": canary, "surroundings": surroundings}


def describe_machine() -> dict[str, Any]:
    """The GPU, its memory, and every attention kernel: "", or the reason why it does not run."""
    import torch

    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if not torch.cuda.is_available():
        facts["driver"] = _driver()
        return {**facts, "gpu": "cpu", "backends": _backends(torch.device("cpu"), torch.float32)}
    device = torch.device("cuda")
    capability = torch.cuda.get_device_capability(device)
    # Older GPUs emulate bf16, and claim support.
    has_bf16 = capability >= _FIRST_WITH_BF16
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    return {
        **facts,
        "gpu": torch.cuda.get_device_name(device),
        "driver": _driver(),
        "capability": ".".join(map(str, capability)),
        "bf16": has_bf16,
        "free_bytes": free_bytes,
        "total_bytes": total_bytes,
        "backends": _backends(device, torch.bfloat16 if has_bf16 else torch.float16),
    }


def _driver() -> str:
    """The version of the GPU's driver; empty where it is not known."""
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        ran = subprocess.run(query, capture_output=True, text=True, timeout=_DRIVER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.partition("\n")[0].strip()


def _backends(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    from remote.engine.errors import BackendUnavailableError
    from remote.engine.kernels.attention import LOADERS, load_backend

    found = {}
    for name in LOADERS:
        try:
            load_backend(name, device, dtype)
            found[name] = ""
        except BackendUnavailableError as reason:
            found[name] = str(reason)
    return found


def _load(model: Model) -> dict[str, Any]:
    """Bytes and seconds of loading; 0 bytes for weights that were loaded."""
    began_s, count = time.monotonic(), 0
    for event in model.load():
        count = event.total_bytes
    seconds = time.monotonic() - began_s
    _log.info("loaded %d bytes in %.1f s", count, seconds)
    return {"load_bytes": count, "load_s": seconds}


def canary_request(
    size: tuple[int, int], prompt: str, negative_prompt: str
) -> contract.GenerateRequest:
    """The example picture and voice as a request of one window and few steps."""
    from multitalk_cli.planning.inputs import GenerateOptions, InputRef
    from multitalk_cli.planning.prepare import prepare
    from multitalk_cli.planning.request import make_request

    options = GenerateOptions(
        size="x".join(map(str, size)),
        fit="cover",
        background="white",
        fps=contract.DEFAULT_FPS,
        order="sequence",
        sample_steps=CANARY_STEPS,
        text_guidance=5.0,
        audio_guidance=4.0,
        shift=None,
        loudness=True,
        prompt=prompt,
        negative_prompt=negative_prompt,
        embed_prompt=False,
        seed=_SEED,
        seed_drawn=False,
    )
    with example("portrait.png") as portrait, example("voice.wav") as voice:
        inputs = [InputRef(text=path.name, file=str(path)) for path in (portrait, voice)]
        prepared = prepare(inputs[0], inputs[1:], options)
        request, _ = make_request(prepared, secrets.token_hex(8), {"seed": _SEED})
    return request


@contextmanager
def example(name: str) -> Iterator[Path]:
    """A file of the included examples."""
    with resources.as_file(resources.files("multitalk_cli") / "examples" / name) as path:
        yield path


def _make(model: Model, request: contract.GenerateRequest, folder: Path) -> dict[str, Any]:
    """Makes the canary and times its steps; "event" is how it ended."""
    from remote.service import run
    from remote.service.store import DirectoryStore

    began_s = time.monotonic()
    steps: dict[int, float] = {}
    last: contract.Event | None = None
    with closing(run.run(request, model, DirectoryStore(folder))) as events:  # type: ignore[type-var]
        for last in events:
            if isinstance(last, contract.Step):
                # The newest step is reported repeatedly.
                steps.setdefault(last.step, time.monotonic())
    total_s = time.monotonic() - began_s
    if not isinstance(last, contract.Done):
        return {"event": None if last is None else contract.to_wire(last)}
    times = [steps[number] for number in sorted(steps)]
    each = [after - before for before, after in itertools.pairwise(times)]
    # The first step compiles kernels, so only the others are timed.
    step_s = statistics.median(each)
    around_s = max(0.0, total_s - (times[-1] - times[0]) - step_s)
    duration_s = contract.seconds_from_frames(request.frames, request.fps)
    return {
        "event": contract.to_wire(last),
        "size": [request.width_px, request.height_px],
        "frames": request.frames,
        "duration_s": duration_s,
        "steps": request.sample_steps,
        "step_s": step_s,
        "around_s": around_s,
        "total_s": total_s,
        "s_per_video_s": (USUAL_STEPS * step_s + around_s) / duration_s,
    }


@as_answer()
def check_sound(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Compares our decoding and resampling with librosa's, of the example voice at another rate.

    Importing librosa takes seconds: it runs in a function of its own, without a GPU.
    "difference": root-mean-square, relative to the voice; None, and why, without librosa.
    """
    import numpy as np

    contract.check_version(wire)
    try:
        librosa: Any = importlib.import_module("librosa")
    except ImportError as error:
        return {"difference": None, "reason": str(error)}
    ours, theirs = compare_sound("voice.wav", _CROSS_RATE_HZ)
    gap = np.sqrt(np.mean((ours - theirs) ** 2))
    return {"difference": float(gap / np.sqrt(np.mean(theirs**2))), "version": librosa.__version__}


def compare_sound(name: str, rate_hz: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The example voice from a stereo file of that name and rate, by us and by librosa.

    Where one has fewer samples, the others are compared with silence.
    """
    import numpy as np
    import soundfile

    from multitalk_cli.media.audio.voice import load_voice

    librosa: Any = importlib.import_module("librosa")
    with example("voice.wav") as voice, TemporaryDirectory(prefix="multitalk-") as folder:
        path = Path(folder) / name
        samples, example_hz = soundfile.read(voice, dtype="float32")
        other = librosa.resample(samples, orig_sr=example_hz, target_sr=rate_hz)
        subtype = "FLOAT" if path.suffix == ".wav" else None
        soundfile.write(path, np.stack([other, other / 2], axis=1), rate_hz, subtype=subtype)
        ours = load_voice(path).speech
        theirs, _ = librosa.load(path, sr=contract.MODEL_RATE_HZ, mono=True)
    most = max(len(ours), len(theirs))
    ours, theirs = (np.pad(each, (0, most - len(each))) for each in (ours, theirs))
    return ours, theirs
