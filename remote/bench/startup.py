"""Times of a new process until its first step: `python -m remote.bench.startup`.

Without a pack, one of random weights in full size is written, which leaves it in the file cache.
The pack is read to the device with several readers and pieces, each in turn with a plain parallel
read of the same files into memory. Then three processes are timed: one without
any cache, one with compiled kernels, one with the prompts' features too.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multitalk_cli import contract
from remote.engine.checkpoint import published
from remote.engine.checkpoint.reading import ParallelReader
from remote.engine.config import ModelConfig
from remote.weights.config import PUBLISHED, PackConfig
from remote.weights.manifest import Manifest, PackedFile, load_manifest
from remote.weights.pack import PlannedFile, index_of, plan_files, write_file, write_manifest

READERS, PIECES_MIB = (12, 8, 16), (8, 16)
RUNS, DISK_RUNS = 5, 3
_MIB = 2**20
_WRITERS = 8
_FILES = 4  # that are read with each choice


def main(argv: Sequence[str]) -> int:
    """Measures, prints a line for each figure, writes the report."""
    parser = argparse.ArgumentParser(prog="python -m remote.bench.startup", description=__doc__)
    parser.add_argument("--weights", type=Path, help="a pack; random weights without it")
    parser.add_argument("--size", default="896x448")
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--gpu-gib", type=float, help="start as on a GPU with less memory")
    parser.add_argument("--json", type=Path, help="where to write the whole report")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # began, folder of features
    given = parser.parse_args(argv)
    if given.child is not None:
        print(json.dumps(_start(given, float(given.child[0]), Path(given.child[1]))))
        return 0
    with tempfile.TemporaryDirectory(prefix="multitalk-startup-") as scratch:
        pack = given.weights
        if pack is None:
            pack = Path(scratch) / "pack"
            write_random_pack(pack, PUBLISHED, _device())
        report: dict[str, Any] = {"reading": measure_reading(pack, _device())}
        report["link"] = measure_link(_device())
        words = ["--size", given.size, "--frames", str(given.frames)]
        words += [] if given.gpu_gib is None else ["--gpu-gib", str(given.gpu_gib)]
        report["starts"] = measure_starts(pack, Path(scratch), words)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1), "utf-8")
    print("\n".join(lines(report)))
    return 0


def lines(report: dict[str, Any]) -> list[str]:
    """The report for a reader."""
    starts = [
        f"{name}: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row.items()) + " s"
        for name, row in report["starts"].items()
    ]
    reading = [
        "{source}: {readers} readers, pieces of {mib} MiB: {ours:.1f} GB/s ({ours_least:.1f} to "
        "{ours_most:.1f}), plain read {plain:.1f} ({plain_least:.1f} to {plain_most:.1f}), "
        "ratio {ratio:.2f}".format(**row)
        for row in report["reading"]
    ]
    return [*reading, f"pinned memory to the device: {report['link']:.1f} GB/s", *starts]


def _device() -> torch.device:
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


# A pack


def write_random_pack(target: Path, config: PackConfig, device: torch.device) -> None:
    """Writes a bf16 pack of random weights; norms are ones, so that outputs stay finite."""
    target.mkdir(parents=True)
    plans = [
        plan
        for component in published.COMPONENTS
        for plan in plan_files(component, _shapes(component, config), "bf16")
    ]

    def write(plan: PlannedFile) -> PackedFile:
        return write_file(target, plan, _random_tensors(plan, device))

    with ThreadPoolExecutor(_WRITERS) as pool:
        files = tuple(pool.map(write, plans))
    write_manifest(
        target,
        Manifest(
            format_version=contract.PACK_FORMAT,
            precision="bf16",
            config=config,
            files=files,
            index=index_of(plans),
            sources=(),
        ),
    )


def _shapes(component: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    state = published.build(component, config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _random_tensors(plan: PlannedFile, device: torch.device) -> Iterator[Tensor]:
    from remote.bench.networks import fill_randomly

    for name, info in plan.infos.items():
        weight = torch.empty(info.shape, dtype=info.dtype, device=device)
        yield fill_randomly(name, weight).cpu()


# Reading


def measure_reading(
    pack: Path,
    device: torch.device,
    readers: Sequence[int] = READERS,
    pieces_mib: Sequence[int] = PIECES_MIB,
) -> list[dict[str, Any]]:
    """GB/s of our reader and of a plain one over the transformer's first files, in turn."""
    files = sorted(pack.glob("dit-*.safetensors"))[:_FILES]
    choices = list(itertools.product(readers, pieces_mib))
    _plain_read(files, *choices[0])  # into the file cache
    rows = [_compare("file cache", files, device, *choice, RUNS) for choice in choices]
    # A disk's rate depends only on how much is requested at once.
    return [*rows, _compare("disk", files[:1], device, *choices[0], DISK_RUNS)]


def _compare(
    source: str, files: Sequence[Path], device: torch.device, readers: int, mib: int, runs: int
) -> dict[str, Any]:
    forget = _forget if source == "disk" else _keep
    ours, plain = [], []
    with ParallelReader(device, readers, mib * _MIB) as reader:
        _our_read(reader, files[:1])
        for _ in range(runs):
            forget(files)
            ours.append(_our_read(reader, files))
            forget(files)
            plain.append(_plain_read(files, readers, mib))
    middle, plain_middle = statistics.median(ours), statistics.median(plain)
    return {
        "source": source,
        "readers": readers,
        "mib": mib,
        "ours": middle,
        "ours_least": min(ours),
        "ours_most": max(ours),
        "plain": plain_middle,
        "plain_least": min(plain),
        "plain_most": max(plain),
        "ratio": middle / plain_middle,
    }


def _keep(_files: Sequence[Path]) -> None:
    """Leaves the file cache alone."""


def _forget(files: Sequence[Path]) -> None:
    """Drops files from the file cache."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_link(device: torch.device) -> float:
    """GB/s of one large copy from pinned memory to the GPU."""
    if device.type != "cuda":
        return 0.0
    source = torch.empty(2**30, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(source, device=device)
    seconds = []
    for _ in range(RUNS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return source.numel() / statistics.median(seconds) / 1e9


def _our_read(reader: ParallelReader, files: Sequence[Path]) -> float:
    began = time.perf_counter()
    for path in files:
        reader.read(path, 0, path.stat().st_size, lambda _: None)
    return _gb_per_s(files, began)


def _plain_read(files: Sequence[Path], readers: int, mib: int) -> float:
    """Reads with the same pieces, each reader into a piece of memory of its own."""
    buffers = [bytearray(mib * _MIB) for _ in range(readers)]
    began = time.perf_counter()
    for path in files:
        starts = iter(list(range(0, path.stat().st_size, mib * _MIB)))
        with path.open("rb", buffering=0) as file, ThreadPoolExecutor(readers) as pool:

            def read(buffer: bytearray, number: int, starts: Iterator[int]) -> None:
                for start in starts:
                    os.preadv(number, [buffer], start)

            jobs = [pool.submit(read, buffer, file.fileno(), starts) for buffer in buffers]
            for job in jobs:
                job.result()
    return _gb_per_s(files, began)


def _gb_per_s(files: Sequence[Path], began: float) -> float:
    seconds = time.perf_counter() - began
    return sum(path.stat().st_size for path in files) / seconds / 1e9


# Starting


def measure_starts(pack: Path, scratch: Path, words: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds of each stage of new processes, from the start of the process on."""
    kernels, features = scratch / "kernels", scratch / "features"
    rows = {}
    for name, is_kept in (("nothing kept", False), ("kernels kept", False), ("all kept", True)):
        if not is_kept:
            _empty(features)
        child = ["--child", repr(time.time()), str(features), "--weights", str(pack)]
        ran = subprocess.run(
            [sys.executable, "-m", "remote.bench.startup", *child, *words],
            env={**os.environ, "TRITON_CACHE_DIR": str(kernels)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        rows[name] = json.loads(ran.stdout.splitlines()[-1])
    return rows


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()


def _shrink_gpu(gpu_gib: float) -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(gpu_gib * 2**30 / total)


def _start(given: argparse.Namespace, began_s: float, features: Path) -> dict[str, float]:
    """Loads the pack and begins a video as a container does; seconds since the start."""
    from remote.bench.measure import make_request
    from remote.bench.options import BenchOptions
    from remote.engine.request import Progress, StepFinished
    from remote.weights.feature_cache import FeatureFolder
    from remote.weights.model import PackedModel

    def passed_s() -> float:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return time.time() - began_s

    stages = {"imports": passed_s()}
    model = PackedModel(given.weights, "auto", FeatureFolder(features))
    if given.gpu_gib is not None:
        _shrink_gpu(given.gpu_gib)
    width, height = map(int, given.size.split("x"))
    options = BenchOptions(
        width_px=width, height_px=height, frames=given.frames, measured_steps=2, device="any"
    )
    request = make_request(options, 1, 1, load_manifest(given.weights).config)
    for _ in model.load(request):
        pass
    stages["weights"] = passed_s()
    with closing(model.render(request, None)) as events:  # type: ignore[type-var]
        for event in events:
            if isinstance(event, StepFinished):
                stages["first step"] = passed_s()
                break
            # The first step begins where the window's picture is encoded.
            if isinstance(event, Progress) and event.done == event.total:
                stages[event.stage] = passed_s()
            if isinstance(event, Progress) and event.stage == "denoise" and event.done == 1:
                stages["first forward"] = passed_s()
    return stages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
