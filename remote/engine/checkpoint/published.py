"""The published checkpoint: its files, its key names, and what of it is not used.

Nowhere else in the engine does a published key name appear that is not also ours.
"""

import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from remote.engine.checkpoint.joined import JoinedFile
from remote.engine.checkpoint.tensorfile import TensorFile
from remote.engine.config import ModelConfig
from remote.engine.networks.dit import DiT
from remote.engine.networks.image import ImageEncoder
from remote.engine.networks.text import TextEncoder
from remote.engine.networks.vae import VAE
from remote.engine.networks.wav2vec import VoiceEncoder

COMPONENTS = ("dit", "vae", "clip", "wav2vec", "text")

BASE_INDEX = "diffusion_pytorch_model.safetensors.index.json"
AUDIO_FILE = "multitalk.safetensors"
VAE_FILE = "Wan2.1_VAE.pth"
TEXT_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
CLIP_FILE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
TOKENIZER_FOLDER = "google/umt5-xxl"
WAV2VEC_FOLDER = "chinese-wav2vec2-base"
WAV2VEC_FILE = "model.safetensors"

_COPIED_BYTES = 8 * 1024**2
# The rest of torch's text is about loading a file that is trusted.
_UNPICKLING = re.compile(r"WeightsUnpickler error: (.+?)(?: was not an allowed|\n|$)")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_RENAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "dit": (),
    "vae": (
        (r"^conv1\.", "to_moments."),
        (r"^conv2\.", "from_latents."),
        (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
        (r"^(encoder|decoder)\.head\.0\.gamma$", r"\1.norm_out"),
        (r"^(encoder|decoder)\.head\.2\.", r"\1.conv_out."),
        (r"\.residual\.0\.gamma$", ".norm1"),
        (r"\.residual\.2\.", ".conv1."),
        (r"\.residual\.3\.gamma$", ".norm2"),
        (r"\.residual\.6\.", ".conv2."),
        (r"\.resample\.1\.", ".conv."),
        (r"\.norm\.gamma$", ".norm"),
        (r"\.to_qkv\.", ".qkv."),
        (r"\.proj\.", ".out."),
    ),
    "clip": (
        (r"^visual\.", ""),
        (r"^transformer\.", "blocks."),
        (r"\.attn\.to_qkv\.", ".attn.qkv."),
        (r"\.attn\.proj\.", ".attn.out."),
        (r"\.mlp\.0\.", ".fc1."),
        (r"\.mlp\.2\.", ".fc2."),
    ),
    "wav2vec": (
        (r"^wav2vec2\.", ""),
        (r"^feature_extractor\.conv_layers\.0\.layer_norm\.", "conv_norm."),
        (r"^feature_extractor\.conv_layers\.(\d+)\.conv\.", r"convs.\1."),
        (r"^feature_projection\.layer_norm\.", "features_norm."),
        (r"^feature_projection\.projection\.", "project."),
        (r"^encoder\.pos_conv_embed\.conv\.", "position."),
        (r"^position\.(weight_g|parametrizations\.weight\.original0)$", "position.length"),
        (r"^position\.(weight_v|parametrizations\.weight\.original1)$", "position.direction"),
        (r"^encoder\.layer_norm\.", "norm."),
        (r"^encoder\.layers\.", "layers."),
        (r"\.attention\.(q|k|v|out)_proj\.", r".\1."),
        (r"\.layer_norm\.", ".norm1."),
        (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
        (r"\.feed_forward\.output_dense\.", ".fc2."),
        (r"\.final_layer_norm\.", ".norm2."),
    ),
    "text": (
        (r"\.ffn\.gate\.0\.", ".ffn.gate."),
        (r"\.pos_embedding\.embedding\.", ".position_bias."),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Published keys that are left out on purpose; {last} is the tower's last block."""

    component: str
    pattern: str
    reason: str


DROPPED = (
    Dropped(
        component="clip",
        pattern=r"(textual\..*|log_scale)",
        reason="CLIP's text tower and its temperature: the prompt is read by umT5",
    ),
    Dropped(
        component="clip",
        pattern=r"visual\.transformer\.{last}\..*",
        reason="the last visual block: the model takes the states before it",
    ),
    Dropped(
        component="clip",
        pattern=r"visual\.(post_norm\..*|head)",
        reason="the visual tower's projection, after the states that the model takes",
    ),
    Dropped(
        component="wav2vec",
        pattern=r"(quantizer|project_q|project_hid|dropout_features|lm_head)\..*",
        reason="heads of wav2vec2's training",
    ),
    Dropped(
        component="wav2vec",
        pattern=r"(wav2vec2\.)?masked_spec_embed",
        reason="what hides steps of a wave in wav2vec2's training",
    ),
)


def rename(component: str, key: str, config: ModelConfig) -> str | None:
    """Our name of a published key, or None if the key is dropped on purpose."""
    for dropped in DROPPED:
        pattern = dropped.pattern.replace("{last}", str(config.clip.layers - 1))
        if dropped.component == component and re.fullmatch(pattern, key):
            return None
    for pattern, replacement in _RENAMES[component]:
        key = re.sub(pattern, replacement, key)
    return _flat_stage(key, config) if component == "vae" else key


def _flat_stage(key: str, config: ModelConfig) -> str:
    """Numbers the VAE's stages in the order of use: the middle after, or before, the others."""
    coder, kind, *rest = key.split(".")
    if kind not in ("downsamples", "upsamples", "middle"):
        return key
    levels = len(config.vae.dim_multipliers)
    middle_start = levels * (config.vae.res_blocks + 1) - 1 if coder == "encoder" else 0
    offset = {"downsamples": 0, "upsamples": 3, "middle": middle_start}[kind]
    return ".".join([coder, "stages", str(int(rest[0]) + offset), *rest[1:]])


def build(component: str, config: ModelConfig) -> nn.Module:
    """Builds a network without memory for its weights: on the meta device, to be loaded."""
    builders: dict[str, Callable[[], nn.Module]] = {
        "dit": partial(DiT, config.dit),
        "vae": partial(VAE, config.vae),
        "clip": partial(ImageEncoder, config.clip),
        "wav2vec": partial(VoiceEncoder, config.wav2vec),
        "text": partial(TextEncoder, config.text),
    }
    with torch.device("meta"):
        return builders[component]().eval()


def load_module(
    module: nn.Module, tensors: Iterable[tuple[str, Tensor]], device: torch.device
) -> None:
    """Loads weights into a module built on the meta device, each moved as soon as it is read.

    Raises ValueError naming every key that is missing or unexpected, or whose shape differs.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    seen: set[str] = set()
    for name, tensor in tensors:
        seen.add(name)
        if name in expected:
            _require_shape(name, tensor.shape, expected[name])
            _assign(module, name, tensor.to(device))
    require_same_keys(seen, expected, type(module).__name__)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    is_parameter = leaf in owner._parameters
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)


def _require_shape(name: str, given: Iterable[int], wanted: Iterable[int]) -> None:
    if tuple(given) != tuple(wanted):
        raise ValueError(f"{name} has shape {tuple(given)}, the model takes {tuple(wanted)}")


def require_same_keys(given: Iterable[str], wanted: Iterable[str], what: str) -> None:
    """Raises ValueError naming the keys that are missing and those that are unexpected."""
    missing, unexpected = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or unexpected:
        raise ValueError(f"{what}: missing keys {missing}, unexpected keys {unexpected}")


class PublishedWeights:
    """The tensors of one network in the published files, under our names, read one by one."""

    def __init__(
        self,
        folder: Path,
        component: str,
        config: ModelConfig,
        parts: Mapping[str, Sequence[Path]] | None = None,
    ) -> None:
        """Opens the files and compares all names and shapes with what the network takes.

        parts: path in the folder -> the files that hold its content, for those in parts.
        """
        self._files = ExitStack()
        try:
            self._tensors = self._rename_all(
                _open(folder, component, parts or {}, self._files), component, config
            )
            expected = build(component, config).state_dict()
            require_same_keys(self._tensors, expected, f"published {component} weights")
            for name in self._tensors:
                _require_shape(name, self._tensors[name].shape, expected[name].shape)
        except BaseException:
            self._files.close()
            raise
        self._order = list(expected)

    def _rename_all(
        self, tensors: Iterable[tuple[str, "_Stored"]], component: str, config: ModelConfig
    ) -> dict[str, "_Stored"]:
        renamed: dict[str, _Stored] = {}
        for key, stored in tensors:
            name = rename(component, key, config)
            if name is None:
                continue
            if name in renamed:
                raise ValueError(f"{name} is in the published {component} files twice, as {key}")
            renamed[name] = stored
        return renamed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.close()

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yields names and tensors in the order in which the network uses them."""
        for name in self._order:
            yield name, self.read(name)

    def names(self) -> list[str]:
        """The names in the order in which the network uses them."""
        return list(self._order)

    def dtype(self, name: str) -> torch.dtype:
        return self._tensors[name].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def read(self, name: str) -> Tensor:
        return self._tensors[name].read()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A tensor of a file, not read yet."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


def _open(
    folder: Path, component: str, parts: Mapping[str, Sequence[Path]], files: ExitStack
) -> Iterator[tuple[str, _Stored]]:
    """Yields published keys and tensors of a network; the files stay open in `files`."""
    if component == "dit":
        names = shard_names((folder / BASE_INDEX).read_text("utf-8"))
    elif component == "wav2vec":
        names = [f"{WAV2VEC_FOLDER}/{WAV2VEC_FILE}"]
    else:
        name = {"vae": VAE_FILE, "clip": CLIP_FILE, "text": TEXT_FILE}[component]
        yield from _open_pickle(folder / name, parts.get(name, ()))
        return
    for name in names:
        yield from _open_safetensors(folder / name, parts.get(name, ()), files)


def shard_names(index_json: str) -> list[str]:
    """The files that the index names, and the audio layers' file, which it may name."""
    index: Any = json.loads(index_json)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise ValueError(f"{BASE_INDEX} has no weight_map")
    names = {str(name) for name in weight_map.values()} | {AUDIO_FILE}
    for name in names:
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"{BASE_INDEX} names {name!r}, which is no plain file name")
    return sorted(names)


def _open_safetensors(
    path: Path, parts: Sequence[Path], files: ExitStack
) -> Iterator[tuple[str, _Stored]]:
    file = files.enter_context(TensorFile(path, parts))
    for key, info in file.infos.items():
        yield key, _Stored(shape=info.shape, dtype=info.dtype, read=partial(file.read, key))


def _open_pickle(path: Path, parts: Sequence[Path]) -> Iterator[tuple[str, _Stored]]:
    """Maps a .pth file of tensors into memory; code in it is refused, not run."""
    if parts:
        # Only one file can be mapped; the mapping outlives its name.
        with TemporaryDirectory() as temporary, JoinedFile(parts) as joined:
            whole = Path(temporary) / path.name
            with whole.open("wb") as file:
                shutil.copyfileobj(joined, file, _COPIED_BYTES)
            yield from _open_pickle(whole, ())
        return
    is_mapped = zipfile.is_zipfile(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        found = _UNPICKLING.search(str(error))
        reason = found[1] if found else str(error).partition("\n")[0]
        raise ValueError(f"{path.name} is damaged or holds more than tensors: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path.name} holds {type(state).__name__}, not a table of tensors")
    for key, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{path.name}: {key} is {type(tensor).__name__}, not a tensor")
        shape, dtype = tuple(tensor.shape), tensor.dtype
        yield key, _Stored(shape=shape, dtype=dtype, read=partial(_keep, tensor))


def _keep(tensor: Tensor) -> Tensor:
    return tensor
