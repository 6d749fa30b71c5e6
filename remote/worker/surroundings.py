"""What the machine under a container can do, which only a run shows: memory, kernel, Volume."""

from __future__ import annotations

import logging
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remote.worker.volume_store import Volume

if TYPE_CHECKING:
    import torch

NO_GPU = "no GPU"
_PINNED_BYTES = 256 * 2**20
_SEGMENT_BYTES = 64 * 2**20
_WRITTEN_BYTES, _WRITTEN_ON_CPU_BYTES = 64 * 2**20, 2**20
_TIMED_FILE = ".commit-speed"
ALLOCATOR_VARIABLE = "PYTORCH_CUDA_ALLOC_CONF"

_log = logging.getLogger(__name__)

Facts = dict[str, Any]


def describe_surroundings(folder: Path, volume: Volume) -> dict[str, Facts]:
    """Each fact with "works": True, False with a "reason", or None with the reason why it is open.

    folder: where the Volume is mounted.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    size = _WRITTEN_BYTES if has_gpu else _WRITTEN_ON_CPU_BYTES
    tries: Mapping[str, Callable[[], Facts]] = {
        "volume": lambda: time_commit(folder, volume, size),
        "memory": _describe_memory,
    }
    on_gpu: Mapping[str, Callable[[], Facts]] = {
        "pinned": try_pinned_memory,
        "segments": try_expandable_segments,
    }
    found = {name: _tried(name, work) for name, work in tries.items()}
    for name, work in on_gpu.items():
        found[name] = _tried(name, work) if has_gpu else {"works": None, "reason": NO_GPU}
    return found


def _tried(name: str, work: Callable[[], Facts]) -> Facts:
    """The facts, or why there are none: a check must not keep the others from being reported."""
    try:
        return work()
    except (OSError, RuntimeError, ValueError, AttributeError, KeyError) as error:
        _log.warning("%s: %s", name, error)
        reason = str(error).strip().partition("\n")[0]
        return {"works": False, "reason": reason or type(error).__name__}


def try_pinned_memory() -> Facts:
    """Registers host memory with the driver as the loader does, and copies from it to the GPU."""
    import torch

    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    source = torch.zeros(_PINNED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source, device="cuda")
    began_s = time.monotonic()
    status = int(runtime.cudaHostRegister(source.data_ptr(), source.numel(), 0))
    register_s = time.monotonic() - began_s
    if status != 0:
        return {"works": False, "reason": f"cudaHostRegister returned {status}"}
    try:
        seconds = min(_copy_s(source, target) for _ in range(3))
    finally:
        runtime.cudaHostUnregister(source.data_ptr())
    return {
        "works": True,
        "register_gb_per_s": source.numel() / max(register_s, 1e-9) / 1e9,
        "copy_gb_per_s": source.numel() / max(seconds, 1e-9) / 1e9,
    }


def _copy_s(source: torch.Tensor, target: torch.Tensor) -> float:
    import torch

    torch.cuda.synchronize()
    began_s = time.monotonic()
    target.copy_(source, non_blocking=True)
    torch.cuda.synchronize()
    return time.monotonic() - began_s


def try_expandable_segments() -> Facts:
    """Whether torch's allocator really makes the segments that its settings ask for."""
    import torch

    if "expandable_segments:True" not in os.environ.get(ALLOCATOR_VARIABLE, ""):
        return {"works": None, "reason": f"{ALLOCATOR_VARIABLE} does not ask for them"}
    kept = torch.empty(_SEGMENT_BYTES, dtype=torch.uint8, device="cuda")
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
    place = kept.data_ptr()
    own = [each for each in segments if 0 <= place - each["address"] < each["total_size"]]
    if any(each.get("is_expandable") for each in own):
        return {"works": True}
    return {"works": False, "reason": "the allocator made a plain segment"}


def time_commit(folder: Path, volume: Volume, size_bytes: int) -> Facts:
    """Writes a file of random bytes to the Volume, commits it, and removes it again."""
    path = folder / _TIMED_FILE
    content = os.urandom(size_bytes)
    try:
        began_s = time.monotonic()
        path.write_bytes(content)
        written_s = time.monotonic()
        volume.commit()
        committed_s = time.monotonic()
    finally:
        with suppress(OSError):
            path.unlink()
        volume.commit()
    return {
        "works": True,
        "bytes": size_bytes,
        "write_s": written_s - began_s,
        "commit_s": committed_s - written_s,
    }


def _describe_memory() -> Facts:
    """The kernel, which tells a sandbox, and the most host memory that this process held."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"works": True, "kernel": platform.release(), "peak_bytes": 1024 * peak_kib}
