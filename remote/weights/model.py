"""A pack on disk as a model that makes videos: loaded when first needed, kept between videos."""

import gc
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from multitalk_cli import __version__, contract
from multitalk_cli.errors import FileError, RefusedError, SetupError
from remote.engine.checkpoint.lora import Lora
from remote.engine.checkpoint.published import build
from remote.engine.errors import NotANumberError
from remote.engine.features import FeatureStore, MemoryStore
from remote.engine.kernels.attention import AUTO, AttentionBackend, choose_backend
from remote.engine.kernels.select import choose_operations
from remote.engine.kernels.select8 import TierKernels, choose_tier
from remote.engine.networks.dit import DiT
from remote.engine.networks.memory import (
    GpuTooSmallError,
    MemoryPlan,
    Workload,
    free_bytes,
    plan_memory,
    usable_bytes,
    workload,
)
from remote.engine.networks.offload import release_pinned, stream_blocks
from remote.engine.networks.text import load_tokenizer, tokenize
from remote.engine.pipeline import Engine, Networks
from remote.engine.request import (
    Event,
    LoraUse,
    Progress,
    RenderRequest,
    Resume,
    WindowFinished,
)
from remote.engine.sampling.guidance import Branch
from remote.engine.tiers import EXACT, TIERS, Tier, more_exact
from remote.weights import eight_bit, manifest, read
from remote.weights.allocator import ALLOCATOR
from remote.weights.config import PackConfig
from remote.weights.device import choose_device, computed_type, device_name, other_type
from remote.weights.machine import Machine

if TYPE_CHECKING:
    from remote.weights.loras import Lora as LoraFile

    FoundLora = tuple[LoraFile, float]  # and its strength

_SMALL_NETWORKS = ("vae", "clip", "wav2vec")
_REPORT_S = 0.2
_TEXT_WORK_BYTES = 2**30  # of the text encoder, in addition to its weights
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What decides the transformer's weights in memory."""

    tier: str = EXACT.name
    loras: tuple[LoraUse, ...] = ()


EXACT_MODEL = LoadedModel()


class _StoppedError(Exception):
    """Raised in the reading thread when loading was cancelled."""


class TextOnDemand:
    """The text encoder, read only for a new prompt, and released once that is encoded.

    It runs on the CPU if the GPU has no room for it.
    """

    def __init__(self, pack: read.Pack, device: torch.device, dtype: torch.dtype | None) -> None:
        self._pack, self._device, self._dtype = pack, device, dtype
        self._encoder: Any = None

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self._encoder is None:
            size = sum(file.size_bytes for file in self._pack.manifest.files_of("text"))
            device = self._device
            if device.type == "cuda" and free_bytes(device) < size + _TEXT_WORK_BYTES:
                device = torch.device("cpu")
            self._encoder = self._pack.load("text", device, self._dtype)
        place = self._encoder.token_embedding.weight.device
        return cast(Tensor, self._encoder(ids.to(place), mask.to(place)))

    def release(self) -> None:
        if self._encoder is not None:
            self._encoder = None
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


class PackedModel:
    """The model of one pack on one device, for `remote.service`."""

    def __init__(
        self,
        folder: Path,
        device: str,
        features: FeatureStore | None = None,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """device: auto, cuda or cpu. features: keeps outputs of the encoders beyond this process.

        refresh: shows files that were added next to the pack since this process began.

        Raises SetupError E_WEIGHTS where the folder is no complete pack, RefusedError E_CPU_ONLY.
        """
        # torch reads it when it first uses a GPU; containers have it from the start.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", ALLOCATOR)
        self._folder, self._refresh = folder, refresh
        self._features = MemoryStore() if features is None else features
        self._read_bytes, self._is_stopped = 0, False
        self._pack = open_weights(folder, self._note)
        self._device = choose_device(device, self._pack.manifest.size_bytes)
        self.revision = self._pack.manifest.revision
        self._tokenizer: Any = None
        self._text: TextOnDemand | None = None
        self._engine: Engine | None = None
        self._loaded = EXACT_MODEL
        self._others: dict[str, Any] = {}
        self._stored: read.Pack | None = None
        self._merged: tuple[str, ...] = ()
        self._merged_keys = 0
        self._left_out: tuple[str, ...] = ()
        self._tiers: dict[str, tuple[TierKernels, tuple[str, ...]]] = {}
        self.notes: tuple[str, ...] = ()
        self._work = self._workload(None)
        self._persistent_params: int | None = None
        self._backends: dict[str, AttentionBackend] = {}

    def tokenize(self, text: str) -> tuple[int, ...]:
        """A prompt's ids, the end included."""
        if self._tokenizer is None:
            tokens = self._pack.manifest.config.text.tokens
            self._tokenizer = load_tokenizer(self._folder, tokens)
        return tuple(tokenize(self._tokenizer, text))

    def load(
        self, request: RenderRequest | None = None, persistent_params: int | None = None
    ) -> Iterator[contract.Loading]:
        """Reads the weights unless they are loaded; closing the iterator stops it.

        request: decides the tier and the LoRAs, for which a transformer that is loaded otherwise is
        read again, the attention kernel, and the memory needed in addition to the weights; None for
        what is loaded, or the exact model, and the default size. persistent_params: at most so many
        of the transformer's parameters stay on the GPU, the others are streamed. Both may move
        weights off the GPU later, never back, until the transformer is read again. Raises
        RefusedError E_GPU_TOO_SMALL, FileError E_LORA, BackendUnavailableError.
        """
        self._work = self._workload(request)
        self._persistent_params = persistent_params
        wanted = self._loaded if request is None else request_model(request)
        attention = AUTO if request is None else request.attention
        self.notes = ()
        if wanted.loras:
            # One may have been added or replaced since this process began.
            self._refresh()
        kernels8 = self._kernels8(wanted.tier)
        is_loaded = self._loaded == replace(wanted, tier=kernels8.tier.name)
        if self._engine is not None and is_loaded and not self._is_replaced(wanted.loras):
            backend = self._backend(attention)
            if backend is not self._engine.backend:
                self._engine.attend_with(backend)
            self._leave_room(self._engine.networks.dit, kernels8.tier)
            self.notes = (*self.notes, *self._left_out)
            return
        if attention != AUTO:
            # It may be missing, which is known before anything is read.
            self._backend(attention)
        yield from self._load(attention, kernels8, wanted.loras)

    def _load(
        self, attention: str, kernels8: TierKernels, loras: tuple[LoraUse, ...]
    ) -> Iterator[contract.Loading]:
        """Reads the transformer, and before it the other networks unless they are loaded."""
        self._forget_transformer()
        found = self._find_loras(loras)
        self._stored = self._find_stored(kernels8.tier, found)
        of_networks = [] if self._others else [(self._pack, name) for name in _SMALL_NETWORKS]
        of_networks.append((self._stored or self._pack, "dit"))
        files = (file for pack, name in of_networks for file in pack.manifest.files_of(name))
        total = sum(file.size_bytes for file in files)
        self._pack.bytes_read, self._read_bytes, self._is_stopped = 0, 0, False
        with ThreadPoolExecutor(1, "weights") as pool:
            reading = pool.submit(self._read, attention, kernels8, found)
            try:
                while not wait([reading], timeout=_REPORT_S).done:
                    yield contract.Loading(
                        done_bytes=min(self._read_bytes, total), total_bytes=total
                    )
            finally:
                self._is_stopped = True
        self._engine = reading.result()
        self._loaded = LoadedModel(tier=kernels8.tier.name, loras=loras)
        yield contract.Loading(done_bytes=total, total_bytes=total)

    def _forget_transformer(self) -> None:
        """Frees the memory of the transformer, so that another one never lies next to it."""
        self._engine = None
        if self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            release_pinned()

    @property
    def engine(self) -> Engine:
        """The loaded engine."""
        return self._running()

    @property
    def machine(self) -> Machine:
        """The hardware and software of the loaded engine."""
        return Machine(
            gpu=device_name(self._device),
            stack=f"torch {torch.__version__}",
            attention=self._running().backend.name,
            kernels=self._running().operations.name,
            tier=self._loaded.tier,
            engine=__version__,
            loras=self._merged,
            lora_keys=self._merged_keys,
            eight_bit=self._eight_bit(),
        )

    def _eight_bit(self) -> str:
        if not self._running().kernels8.tier.layers:
            return ""
        return "computed" if self._stored is None else "stored"

    def render(self, request: RenderRequest, resume: Resume | None) -> Iterator[Event]:
        """Makes the frames; closing the iterator stops it after at most one more forward.

        Where 8 bits give values that are no numbers, the rest is made in the next more exact tier.
        """
        while True:
            try:
                for event in self._render(request, resume):
                    yield event
                    if isinstance(event, WindowFinished):
                        resume = Resume(window=event.window + 1, motion=event.motion)
                return
            except NotANumberError as error:
                if self._running().kernels8.tier.is_exact:
                    raise
                reason = str(error)
            # The error is gone, and with it what its frames held of the transformer.
            self._fall_back(request, reason)

    def velocities(self, request: RenderRequest) -> Iterator[tuple[int, Branch, Tensor]]:
        """As `Engine.velocities`, in the tier and with the kernel that are loaded."""
        prepared = self._running().prepare(request)
        if self._text is not None:
            self._text.release()
        yield from self._running().velocities(prepared)

    def _render(self, request: RenderRequest, resume: Resume | None) -> Iterator[Event]:
        with closing(self._running().run(request, resume)) as events:  # type: ignore[type-var]
            for event in events:
                is_encoding = isinstance(event, Progress) and event.stage == "encode"
                if is_encoding and self._text is not None:
                    # Prompts are encoded before the first window.
                    self._text.release()
                yield event

    def _fall_back(self, request: RenderRequest, reason: str) -> None:
        """Loads the next more exact tier."""
        failed = self._running().kernels8.tier
        kernels8 = self._kernels8(more_exact(failed).name)
        message = f"{failed.name} failed ({reason}): made in {kernels8.tier.name} from there on"
        _log.warning(message)
        self.notes = (*self.notes, message)
        for _ in self._load(request.attention, kernels8, request.loras):
            pass

    def _running(self) -> Engine:
        if self._engine is None:
            raise ValueError("the weights are not loaded")
        return self._engine

    def _note(self, done_bytes: int) -> None:
        self._read_bytes = done_bytes
        if self._is_stopped:
            raise _StoppedError

    def _backend(self, name: str) -> AttentionBackend:
        """The attention kernel of that name, or that suits the GPU; chosen once."""
        if name not in self._backends:
            dtype = computed_type(self._device) or torch.bfloat16
            head_dim = self._pack.manifest.config.dit.head_dim
            found = choose_backend(self._device, dtype, head_dim, name)
            _log.info("attention %s: %s", found.name, found.reason)
            self._backends[name] = found
        return self._backends[name]

    def _kernels8(self, tier: str) -> TierKernels:
        """The kernels of a tier, or of a more exact one that runs here, which is noted."""
        if tier not in self._tiers:
            config, dtype = self._pack.manifest.config.dit, self._dtype()
            self._tiers[tier] = choose_tier(TIERS[tier], self._device, dtype, config)
        found, reasons = self._tiers[tier]
        if reasons:
            self.notes = (*self.notes, f"made in {found.tier.name}: {'; '.join(reasons)}")
        return found

    def _dtype(self) -> torch.dtype:
        return computed_type(self._device) or torch.bfloat16

    def _read(self, attention: str, kernels8: TierKernels, loras: "list[FoundLora]") -> Engine:
        pack, device = self._pack, self._device
        config = pack.manifest.config
        with ExitStack() as files, ThreadPoolExecutor(2, "setup") as pool:
            plans = self._open_loras(loras, files)
            # Loading and compiling kernels takes seconds in which the disk would be idle.
            attending = pool.submit(self._backend, attention)
            choice = pool.submit(choose_operations, device, self._dtype(), config.dit)
            if not self._others:
                self._others = read_others(pack, device)
            dit = self._read_transformer(kernels8.tier, plans)
            backend, operations = attending.result(), choice.result()
        self._text = cast(TextOnDemand, self._others["text"])
        return Engine(
            Networks(config=config, dit=dit, **self._others),
            backend=backend,
            operations=operations,
            kernels8=kernels8,
            features=self._features,
        )

    def _is_replaced(self, loras: tuple[LoraUse, ...]) -> bool:
        """Whether the folder has another file now than the one that is merged under a name."""
        found = self._find_loras(loras)
        return self._merged != tuple(_merged_name(file, strength) for file, strength in found)

    def _find_loras(self, loras: tuple[LoraUse, ...]) -> "list[FoundLora]":
        """The files of LoRAs, each with the strength that is asked for."""
        if not loras:
            return []
        # The hub's client, which few jobs need.
        from remote.weights.loras import find

        return [(find(self._folder.parent, use.name), use.strength) for use in loras]

    def _find_stored(self, tier: Tier, loras: "list[FoundLora]") -> read.Pack | None:
        """The stored 8-bit weights; those that do not fit are noted."""
        if not tier.layers or self._pack.manifest.precision == "fp8":
            return None
        merged = [
            manifest.MergedLora(name=file.name, sha256=file.sha256, strength=strength)
            for file, strength in loras
        ]
        found = eight_bit.find(self._pack, tier, merged, self._note_stored)
        if found.reason:
            note = f"{found.folder} is not used ({found.reason}): made from the pack instead"
            self.notes = (*self.notes, note)
        return found.pack

    def _note_stored(self, done_bytes: int) -> None:
        self._note(self._pack.bytes_read + done_bytes)

    def _open_loras(self, loras: "list[FoundLora]", files: ExitStack) -> list[Lora]:
        """The LoRAs to merge, and the notes of what is left out of them."""
        if loras:
            from remote.weights.loras import describe_unused, opened

        folder, plans, names, left_out = self._folder.parent, [], [], []
        shapes = transformer_shapes(self._pack.manifest.config)
        for file, strength in loras:
            plan = files.enter_context(opened(folder, file, strength, shapes))
            plans.append(plan)
            names.append(_merged_name(file, strength))
            if plan.report.unused:
                left_out.append(f"LoRA {file.name}: {describe_unused(plan.report)}")
        self._merged, self._left_out = tuple(names), tuple(left_out)
        self.notes = (*self.notes, *left_out)
        self._merged_keys = sum(plan.report.used for plan in plans)
        return plans

    def _read_transformer(self, tier: Tier, loras: list[Lora]) -> DiT:
        place, dtype = self._place_of_blocks(tier), computed_type(self._device)
        load = partial(read.Pack.load_transformer, device=place, dtype=dtype, layers=tier.layers)
        dit = None
        if self._stored is not None:
            try:
                dit = load(self._stored, work=self._device)
            except SetupError as error:
                self._drop_stored(error.message)
        if dit is None:
            dit = load(self._pack, loras=loras, work=self._device)
        self._leave_room(dit, tier)
        return dit

    def _drop_stored(self, reason: str) -> None:
        """Goes on without 8-bit weights that turned out damaged, and frees their memory."""
        note = f"{reason}: made from the pack instead; multitalk download --repair mends them"
        self.notes = (*self.notes, note)
        self._stored = None
        self._forget_transformer()

    # Memory of the GPU

    def _workload(self, request: RenderRequest | None) -> Workload:
        dit = self._pack.manifest.config.dit
        if request is not None:
            return request.workload(dit)
        width, height = contract.DEFAULT_SIZE_PX
        return workload(dit, contract.DEFAULT_WINDOW_FRAMES, height, width)

    def _memory_plan(self, layers: Sequence[str]) -> MemoryPlan:
        """layers: those in 8 bits."""
        config = self._pack.manifest.config.dit
        usable = usable_bytes(self._device)
        try:
            return plan_memory(config, self._work, usable, self._persistent_params, layers)
        except GpuTooSmallError as error:
            raise RefusedError(str(error), code="E_GPU_TOO_SMALL") from error

    def _place_of_blocks(self, tier: Tier) -> torch.device:
        """The device that the transformer is read to; a streamed one does not fit on the GPU."""
        if self._device.type == "cuda" and self._memory_plan(tier.layers).is_streamed:
            return torch.device("cpu")
        return self._device

    def _leave_room(self, dit: DiT, tier: Tier) -> None:
        """Moves blocks to the host until the largest window fits on the GPU."""
        if self._device.type == "cuda":
            plan = self._memory_plan(tier.layers)
            if plan.is_streamed:
                stream_blocks(dit, plan, self._device)


def _merged_name(file: "LoraFile", strength: float) -> str:
    """A LoRA as results name it: by its content too, since another file may take its name."""
    return f"{file.name}:{strength:g} {file.sha256[:12]}"


def request_model(request: RenderRequest) -> LoadedModel:
    """The model that a request needs."""
    return LoadedModel(tier=request.tier, loras=request.loras)


def transformer_shapes(config: PackConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the transformer's weights."""
    return {name: tuple(each.shape) for name, each in build("dit", config).state_dict().items()}


def read_networks(pack: read.Pack, device: torch.device, read_dit: Callable[[], DiT]) -> Networks:
    """The networks of a pack. read_dit: reads the transformer, after the smaller ones."""
    others = read_others(pack, device)
    return Networks(config=pack.manifest.config, dit=read_dit(), **others)


def read_others(pack: read.Pack, device: torch.device) -> dict[str, Any]:
    """All networks of a pack but the transformer, and the name of the weights."""
    dtype = other_type(computed_type(device))
    vae, image, wav2vec = (pack.load(name, device, dtype) for name in _SMALL_NETWORKS)
    return {
        "vae": vae,
        "image": image,
        "wav2vec": wav2vec,
        "text": TextOnDemand(open_weights(pack.folder), device, dtype),
        # A CPU and a GPU encode in other types: features of one are not for the other.
        "revision": f"{pack.manifest.revision}-{device.type}",
    }


def open_weights(folder: Path, progress: Callable[[int], None] | None = None) -> read.Pack:
    """Opens a pack. Raises SetupError E_WEIGHTS where the folder is no complete one."""
    try:
        opened = read.open_pack(folder, progress)
        if opened.manifest.changes is not None:
            raise ValueError("they are 8-bit weights alone, use the pack that they are made from")
        return opened
    except FileNotFoundError:
        message = (
            f"{str(folder)!r} holds no {manifest.MANIFEST_FILE}: it is not a folder of weights"
        )
        raise SetupError(message, code="E_WEIGHTS") from None
    except (PermissionError, NotADirectoryError, ValueError) as error:
        message = f"the weights in {str(folder)!r} cannot be used: {error}"
        raise SetupError(message, code="E_WEIGHTS") from error
    except OSError as error:
        # A disk or network that failed once; nothing is wrong with the pack.
        message = f"the weights in {str(folder)!r} cannot be read: {error}"
        raise FileError(message, code="E_FILE_UNREADABLE") from error
