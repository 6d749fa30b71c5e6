"""Reading of a pack to the device."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from multitalk_cli.errors import FileError, SetupError
from remote.engine.checkpoint.lora import Lora, merged
from remote.engine.checkpoint.published import build, load_module, require_same_keys
from remote.engine.checkpoint.reading import ParallelReader, read_tensors
from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo
from remote.engine.kernels import quantize
from remote.engine.networks.dit import DiT
from remote.engine.networks.eight import make_room, quantized
from remote.weights.manifest import Manifest, PackedFile, load_manifest

_log = logging.getLogger(__name__)


def open_pack(folder: Path, progress: Callable[[int], None] | None = None) -> "Pack":
    """Opens a pack: reads its manifest and compares the sizes of its files.

    progress: called now and then with the bytes read so far; raising from it stops the read.
    """
    manifest = load_manifest(folder)
    for file in manifest.files:
        path = folder / file.name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size_bytes:
            found = "is absent" if size is None else f"has {size} bytes"
            raise ValueError(f"{file.name} {found}, the pack's manifest lists {file.size_bytes}")
    return Pack(folder, manifest, progress)


class Pack:
    """The networks of a pack, read file by file straight to the device."""

    def __init__(
        self, folder: Path, manifest: Manifest, progress: Callable[[int], None] | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.bytes_read = 0
        self._progress = progress
        self._counting = threading.Lock()

    def tensors(
        self, component: str, device: torch.device, dtype: torch.dtype | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields a network's tensors in the order of its weights, each moved once it is read.

        8-bit weights come as they are, each after its scales. dtype: of all others; as stored
        where None. Every byte of the network's files is read once. Raises SetupError E_WEIGHTS for
        scales that no weights have, such as the zeros of a file that lost its content.
        """
        with ParallelReader(device if device.type == "cuda" else torch.device("cpu")) as reader:
            for packed in self.manifest.files_of(component):
                start, before = time.monotonic(), self.bytes_read
                for name, tensor in self._read_file(packed, reader):
                    if name.endswith(".scale") and not _are_scales(tensor):
                        raise self._damaged(f"{packed.name} has no valid {name}")
                    yield name, _moved(name, tensor, device, dtype)
                    del tensor  # before the next one is read
                size, seconds = self.bytes_read - before, time.monotonic() - start
                _log.info("loaded %s: %d bytes in %.1f s", packed.name, size, seconds)

    def _read_file(
        self, packed: PackedFile, reader: ParallelReader
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields a file's tensors, which arrived on the reader's device together."""
        with self._opened(packed) as file:
            self._note(file.bytes_read)
            yield from read_tensors(reader, file, self._note)

    def _note(self, size: int) -> None:
        with self._counting:  # networks are read in parallel
            self.bytes_read += size
        if self._progress is not None:
            self._progress(self.bytes_read)

    def load(
        self, component: str, device: torch.device, dtype: torch.dtype | None = None
    ) -> nn.Module:
        """Builds a network with its weights on the device; 8-bit weights are turned back.

        dtype: of all weights; as stored where None, bf16 for those stored in 8 bits.
        """
        module = build(component, self.manifest.config)
        tensors = _dequantized(self.tensors(component, device, dtype), dtype or torch.bfloat16)
        load_module(module, tensors, device)
        return module

    def load_transformer(
        self,
        device: torch.device,
        dtype: torch.dtype | None = None,
        *,
        layers: Sequence[str] = (),
        loras: Sequence[Lora] = (),
        work: torch.device | None = None,
    ) -> DiT:
        """Builds the transformer with LoRAs merged, and those layers of its blocks in 8 bits.

        dtype: as of load. work: where weights are changed, the device where None. Every change is
        made while reading, so that no weight is held twice, and in the types of the pack, whatever
        dtype is: a pack that stores the changed weights has the same. Raises FileError E_LORA for
        LoRAs with a pack in 8 bits.
        """
        if loras and self.manifest.precision == "fp8":
            message = "a LoRA is merged into 16-bit weights, this pack has 8-bit ones"
            raise FileError(message, code="E_LORA", hint="multitalk download")
        module = cast(DiT, build("dit", self.manifest.config))
        with torch.device("meta"):
            make_room(cast(nn.ModuleList, module.blocks), layers)
        tensors = _dequantized(self.tensors("dit", device), dtype or torch.bfloat16, layers)
        changed = change_weights(tensors, loras, layers, work or device)
        moved = ((name, _moved(name, tensor, device, dtype)) for name, tensor in changed)
        load_module(module, moved, device)
        return module

    def load_start(self, blocks: int, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
        """Builds the transformer with its first blocks only, and reads no others."""
        config = self.manifest.config
        few = replace(config.dit, layers=min(blocks, config.dit.layers))
        module = build("dit", replace(config, dit=few))
        kept = set(module.state_dict())
        names = (n for n in self.manifest.index["dit"] if n.removesuffix(".scale") in kept)
        tensors = ((name, _moved(name, self.tensor("dit", name), device, dtype)) for name in names)
        load_module(module, _dequantized(tensors, dtype or torch.bfloat16), device)
        return module

    def infos(self, component: str) -> dict[str, TensorInfo]:
        """Types and shapes of a network's tensors, in the order of its weights."""
        found: dict[str, TensorInfo] = {}
        for packed in self.manifest.files_of(component):
            with self._opened(packed) as file:
                found |= file.infos
        return found

    def tensor(self, component: str, name: str) -> Tensor:
        """One tensor of a network, in memory of its own."""
        with TensorFile(self.folder / self.manifest.index[component][name]) as file:
            return file.read(name)

    @contextmanager
    def _opened(self, packed: PackedFile) -> Iterator[TensorFile]:
        """A file of the pack, with the tensors that its index lists.

        Raises SetupError E_WEIGHTS for another, which has the size that the manifest lists.
        """
        index = self.manifest.index[packed.component]
        names = [name for name, place in index.items() if place == packed.name]
        with ExitStack() as stack:
            try:
                file = stack.enter_context(TensorFile(self.folder / packed.name))
                require_same_keys(file.infos, names, packed.name)
            except ValueError as error:
                raise self._damaged(str(error)) from error
            yield file

    def _damaged(self, what: str) -> SetupError:
        return SetupError(
            f"the weights in {str(self.folder)!r} are damaged: {what}",
            code="E_WEIGHTS",
            hint="multitalk download --repair",
            facts={"damaged": 1, "weights_folder": str(self.folder.parent)},
        )


def _are_scales(tensor: Tensor) -> bool:
    """Whether these can be the scales of 8-bit weights; `quantize_rows` gives rows of zeros 1."""
    return bool(((tensor > 0) & tensor.isfinite()).all())


def change_weights(
    tensors: Iterator[tuple[str, Tensor]],
    loras: Sequence[Lora],
    layers: Sequence[str],
    work: torch.device,
    *,
    are_all: bool = True,
) -> Iterator[tuple[str, Tensor]]:
    """The transformer's tensors with LoRAs merged, then those layers in 8 bits.

    work: does it, before each tensor goes back to its own device. are_all: as of `merged`.
    """
    if loras:
        tensors = merged(tensors, loras, work, are_all=are_all)
    return quantized(tensors, layers, work) if layers else tensors


def _moved(name: str, tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    if tensor.dtype == quantize.FP8 or name.endswith(".scale"):
        return tensor.to(device)
    return tensor.to(device=device, dtype=dtype)


def _dequantized(
    tensors: Iterator[tuple[str, Tensor]], dtype: torch.dtype, kept: Sequence[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Tensors with 8-bit weights turned back, but for those of the kept layers."""
    scale: Tensor | None = None
    for name, tensor in tensors:
        if name.endswith(".scale"):
            scale = tensor
        elif tensor.dtype == quantize.FP8:
            if scale is None or scale.shape != (tensor.shape[0], 1):
                raise ValueError(f"{name} has no scales")
            if quantize.is_fp8_weight(name, kept):
                yield quantize.scale_name(name), scale
                yield name, tensor
            else:
                yield name, quantize.dequantize_rows(tensor, scale).to(dtype)
            scale = None
        else:
            yield name, tensor
