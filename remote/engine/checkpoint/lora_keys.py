"""Names of a LoRA file's tensors, in every form that trainers and converters write.

A name is that of a layer, with a prefix or without, dots or underscores between its words, in the
published names or in those of diffusers; then an ending, which tells what the tensor is for.
"""

import re
from collections.abc import Iterable, Mapping

DOWN, UP, A, B = "lora_down.weight", "lora_up.weight", "lora_A.weight", "lora_B.weight"
ALPHA, DIFF, DIFF_B, DIFF_M = "alpha", "diff", "diff_b", "diff_m"
DIFF_MODULATION = "modulation.diff"
PREFIX = "diffusion_model."
_ENDINGS: Mapping[str, re.Pattern[str]] = {
    DOWN: re.compile(r"\.(lora_down(\.weight)?|lora(_linear_layer)?\.down\.weight)$"),
    UP: re.compile(r"\.(lora_up(\.weight)?|lora(_linear_layer)?\.up\.weight)$"),
    # An adapter's name may stand before the last word.
    A: re.compile(r"\.lora_A((\.\w+)?\.weight)?$"),
    B: re.compile(r"\.lora_B((\.\w+)?\.weight)?$"),
    ALPHA: re.compile(r"\.alpha$"),
    DIFF_MODULATION: re.compile(r"\.modulation\.diff$"),
    DIFF_M: re.compile(r"\.diff_m$"),
    DIFF_B: re.compile(r"\.diff_b$"),
    DIFF: re.compile(r"\.diff$"),
}
_KINDS: Mapping[str, re.Pattern[str]] = {
    "DoRA": re.compile(r"\.(dora_scale|lora_magnitude_vector\b.*)$"),
    "LoHa": re.compile(r"\.hada_\w+$"),
    "LoKr": re.compile(r"\.lokr_\w+$"),
    "OFT": re.compile(r"\.(oft|boft)_\w+(\.\w+)?$"),
    "LoCon with a core matrix": re.compile(r"\.lora_mid(\.weight)?$"),
    "control LoRA": re.compile(r"\.(set_weight|reshape_weight)$"),
}
_PREFIXES = re.compile(
    r"((base_model_model|model_diffusion_model|diffusion_model|transformer|pipe_dit|dit|unet"
    r"|module|lora_unet|lycoris)_+)+"
)
_ATTENTION = {"self_attn": "attn1", "cross_attn": "attn2"}
_OF_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_k_img": "norm_added_k",
}
_EMBEDDER = "condition_embedder."
_IN_DIFFUSERS = {
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",
    "text_embedding.0": f"{_EMBEDDER}text_embedder.linear_1",
    "text_embedding.2": f"{_EMBEDDER}text_embedder.linear_2",
    "time_embedding.0": f"{_EMBEDDER}time_embedder.linear_1",
    "time_embedding.2": f"{_EMBEDDER}time_embedder.linear_2",
    "time_projection.1": f"{_EMBEDDER}time_proj",
    "img_emb.proj.0": f"{_EMBEDDER}image_embedder.norm1",
    "img_emb.proj.1": f"{_EMBEDDER}image_embedder.ff.net.0.proj",
    "img_emb.proj.3": f"{_EMBEDDER}image_embedder.ff.net.2",
    "img_emb.proj.4": f"{_EMBEDDER}image_embedder.norm2",
    "head.head": "proj_out",
}


def is_lora_key(name: str) -> bool:
    """Whether a tensor's name has an ending of a LoRA, other than that of a factor."""
    return _ending(name) not in (None, ALPHA)


def find_kind(names: Iterable[str]) -> tuple[str, str] | None:
    """What a file is, if it is another kind of adapter than a LoRA, and a name that shows it."""
    for name in names:
        for kind, pattern in _KINDS.items():
            if pattern.search(name):
                return kind, name
    return None


def by_layer(names: Iterable[str], layers: Iterable[str]) -> dict[str, dict[str, str]]:
    """Layer -> ending -> name in the file; names of other layers are left out.

    Of a layer that is there under several names one is used, PREFIX and its own before the others.
    """
    aliases = _aliases(layers)
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in names:
        ending = _ending(name)
        if ending is None:
            continue
        stem = _ENDINGS[ending].sub("", name)
        layer = aliases.get(_PREFIXES.sub("", _flat(stem), count=1))
        if layer is not None:
            found.setdefault(layer, {}).setdefault(stem, {}).setdefault(ending, name)
    return {layer: _first(layer, stems) for layer, stems in sorted(found.items())}


def _first(layer: str, stems: Mapping[str, dict[str, str]]) -> dict[str, str]:
    order = {f"{PREFIX}{layer}": 0, layer: 1}
    return stems[min(stems, key=lambda s: (not _is_whole(stems[s]), order.get(s, 2), s))]


def _is_whole(endings: Mapping[str, str]) -> bool:
    """Whether there is more than an alpha, or half of a pair."""
    pairs = ({DOWN, UP}, {A, B})
    return any(pair <= endings.keys() for pair in pairs) or any("diff" in each for each in endings)


def _ending(name: str) -> str | None:
    return next((end for end, pattern in _ENDINGS.items() if pattern.search(name)), None)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _aliases(layers: Iterable[str]) -> dict[str, str]:
    """Every name of a layer, with underscores -> its own."""
    aliases = {}
    for layer in layers:
        aliases[_flat(_in_diffusers(layer))] = layer
        aliases[_flat(layer)] = layer
    return aliases


def _in_diffusers(layer: str) -> str:
    """The name of a layer in diffusers' copy of the model; its own where that is the same."""
    block = re.match(r"blocks\.\d+\.", layer)
    start = "" if block is None else block[0]
    rest = layer.removeprefix(start)
    group, _, part = rest.partition(".")
    if group in _ATTENTION:
        return f"{start}{_ATTENTION[group]}.{_OF_ATTENTION.get(part, part)}"
    return start + _IN_DIFFUSERS.get(rest, rest)
