"""LoRA files as they are found in the field: every form of names, other adapters, broken files."""

import json
import math
import struct
from collections.abc import Mapping

import torch
from safetensors.torch import save

LAYER = "blocks.0.self_attn.q"
WIDTH = 8
WEIGHTS: Mapping[str, tuple[int, ...]] = {
    f"{LAYER}.weight": (WIDTH, WIDTH),
    f"{LAYER}.bias": (WIDTH,),
    "blocks.0.cross_attn.k_img.weight": (WIDTH, WIDTH),
    "blocks.0.ffn.0.weight": (WIDTH, WIDTH),
    "time_projection.1.weight": (WIDTH, WIDTH),
    "head.head.weight": (WIDTH, WIDTH),
}
DOWN, UP = "lora_down.weight", "lora_up.weight"


def pair(layer=f"diffusion_model.{LAYER}", down=DOWN, up=UP, dtype=torch.float32, **others):
    """The tensors of one layer. others: ending -> tensor."""
    tensors = {f"{layer}.{down}": torch.full((2, WIDTH), 0.5)}
    tensors[f"{layer}.{up}"] = torch.full((WIDTH, 2), 0.5)
    made = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    return made | {f"{layer}.{ending}": tensor for ending, tensor in others.items()}


A, B = "lora_A.weight", "lora_B.weight"
FORMS = {
    "comfy": pair(),
    "bare": pair(LAYER),
    "whole checkpoint": pair(f"model.diffusion_model.{LAYER}"),
    "transformer": pair(f"transformer.{LAYER}"),
    "peft": pair(f"base_model.model.{LAYER}", A, B),
    "diffsynth": pair(LAYER, "lora_A.default.weight", "lora_B.default.weight"),
    "unianimate": pair(f"pipe.dit.{LAYER}"),
    "kohya": pair("lora_unet_blocks_0_self_attn_q", alpha=torch.tensor(2.0)),
    "fun": pair("lora_unet__blocks_0_self_attn_q", alpha=torch.tensor(2.0)),
    "half of kohya": pair("lora_unet_blocks_0.self_attn.q"),
    "lycoris": pair("lycoris_blocks_0_attn1_to_q"),
    "diffusers": pair("transformer.blocks.0.attn1.to_q", A, B),
    "old diffusers": pair(f"unet.{LAYER}", "lora.down.weight", "lora.up.weight"),
    "bare matrices": pair(LAYER, "lora_A", "lora_B"),
    "e4m3": pair(dtype=torch.float8_e4m3fn),
    "e5m2": pair(dtype=torch.float8_e5m2),
    "f64": pair(dtype=torch.float64),
    "a whole number as alpha": pair(alpha=torch.tensor(2)),
    "alpha of one": pair(alpha=torch.tensor([2.0])),
    "half a pair before the name without prefix": {
        **pair(LAYER),
        f"diffusion_model.{LAYER}.alpha": torch.tensor(1.0),
    },
}
"""Each adds 0.5 to the layer's weight."""


def _with_value(value):
    tensors = pair()
    tensors[f"diffusion_model.{LAYER}.{UP}"][1, 1] = value
    return tensors


UNUSABLE = {
    "dora": (pair(dora_scale=torch.ones(WIDTH, 1)), "DoRA"),
    "peft dora": (pair(LAYER, A, B, **{"lora_magnitude_vector.weight": torch.ones(8)}), "DoRA"),
    "loha": ({f"{LAYER}.hada_w1_a": torch.ones(8, 2)}, "LoHa"),
    "lokr": (pair(LAYER) | {"blocks.1.ffn.0.lokr_w1": torch.ones(2, 2)}, "LoKr"),
    "tucker": (pair(**{"lora_mid.weight": torch.ones(2, 2, 1)}), "core matrix"),
    "control": (pair() | {"head.head.set_weight": torch.ones(8, 8)}, "control LoRA"),
    "alphas": (pair(alpha=torch.ones(2)), "not one number"),
    "nan alpha": (pair(alpha=torch.tensor(math.nan)), "no numbers"),
    "infinite alpha": (pair(alpha=torch.tensor(math.inf)), "no numbers"),
    "zero alpha": (pair(alpha=torch.tensor(0.0)), "changes nothing"),
    "untrained": ({k: v * (UP not in k) for k, v in pair().items()}, "changes nothing"),
    "nan": (_with_value(math.nan), "no numbers"),
    "infinity": (_with_value(-math.inf), "no numbers"),
    "no rank": ({f"{LAYER}.{A}": torch.ones(0, 8), f"{LAYER}.{B}": torch.ones(8, 0)}, "fit"),
    "transposed": ({f"{LAYER}.{A}": torch.ones(8, 2), f"{LAYER}.{B}": torch.ones(2, 8)}, "fit"),
    "ranks": ({f"{LAYER}.{A}": torch.ones(2, 8), f"{LAYER}.{B}": torch.ones(8, 3)}, "fit"),
    "a smaller model": (
        {f"{LAYER}.{A}": torch.ones(2, 6), f"{LAYER}.{B}": torch.ones(6, 2)},
        "fit",
    ),
    "bytes": (pair(dtype=torch.uint8), "floating point"),
    "truths": (pair(dtype=torch.bool), "floating point"),
    "half": ({f"{LAYER}.{UP}": torch.ones(8, 2)}, "none of the 1 keys"),
    "escapes": ({f"\x1b[31m{LAYER}.{UP}": torch.ones(8, 2)}, r"'\x1b[31mblocks"),
    "long": ({"k" * 10_000 + f".{UP}": torch.ones(8, 2)}, "kkk..."),
    "another network": (pair("lora_unet_down_blocks_0_attentions_0_to_q"), "none of the 2 keys"),
    "a checkpoint": ({f"{LAYER}.weight": torch.ones(8, 8)}, "none of the 1 keys"),
}
"""Tensors, and a part of the reason why they cannot be merged."""


def with_header(header, data=b"", length=None):
    """A file with this header. length: what it says of itself."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(**fields):
    return with_header({f"{LAYER}.{UP}": {"dtype": "F32", "shape": [], **fields}}, b"\0" * 4)


WHOLE = save(pair())
BROKEN = {
    "a few bytes": (b"1234567", "ends early"),
    "cut": (WHOLE[:-10], "its header lists"),
    "cut header": (WHOLE[:60], "a header of"),
    "padded": (WHOLE + bytes(64), "its header lists"),
    "zeros": (bytes(1000), "cannot be read"),
    "huge header": (with_header(b"{}", length=2**63), "a header of"),
    "deep": (with_header(b'{"a":' + b"[" * 100_000), "RecursionError"),
    "a list": (with_header(b"[1]"), "cannot be read"),
    "nothing at all": (with_header(b"null"), "cannot be read"),
    "utf-16": (with_header('{"a": 1}'.encode("utf-16")), "cannot be read"),
    "no text": (
        with_header(b'{"\\ud800":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'),
        "read",
    ),
    "infinite": (with_header(b'{"a":{"dtype":"F32","shape":[1e999]}}'), "OverflowError"),
    "digits": (with_header(b'{"a":{"dtype":"F32","shape":[%s]}}' % (b"9" * 5000)), "read"),
    "below zero": (_tensor(shape=[-1, -1], data_offsets=[0, 4]), "lies at"),
    "shared": (_tensor(data_offsets=[0, 2]), "lies at"),
    "four bits": (_tensor(dtype="F4", data_offsets=[0, 4]), "type 'F4'"),
    "no type": (_tensor(dtype=["F32"], data_offsets=[0, 4]), "not supported"),
    "page": (b"\n<!DOCTYPE html><title>Civitai | Log in</title>" + bytes(99), "a web page"),
    "refusal": (b'{"error":"Unauthorized","message":"log in to download"}', "an answer in JSON"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs"),
    "archive": (b"PK\x03\x04" + bytes(99), "pickle"),
    "pickle": (b"\x80\x04K\x01.", "pickle"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(99), "GGUF"),
}
"""Bytes, and a part of what is said of them."""
