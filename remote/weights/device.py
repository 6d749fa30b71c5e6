"""The device of a model, and the types in which it computes."""

import torch

from multitalk_cli.errors import RefusedError

_BFLOAT16_CAPABILITY = (8, 0)
_CPU_BYTES = 2 * 1024**3  # a pack above this takes hours for a second of video without a GPU


def computed_type(device: torch.device) -> torch.dtype | None:
    """The type in which the transformer computes; None for bfloat16, in which it is stored.

    Most CPUs have no 16-bit arithmetic; float32 is faster there, and exact. GPUs before Ampere
    have float16 only.
    """
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _BFLOAT16_CAPABILITY:
        return torch.float16
    return None


def other_type(dtype: torch.dtype | None) -> torch.dtype | None:
    """The type of the other networks: values of the text encoder overflow float16."""
    return None if dtype == torch.float16 else dtype


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def choose_device(wanted: str, size_bytes: int) -> torch.device:
    """The device for "auto", "cuda" or "cpu".

    size_bytes: of the pack. "auto" never takes a full-size pack to a CPU; only "cpu" itself does.
    Raises RefusedError E_CPU_ONLY if a GPU is needed and absent.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", 0)  # memory is queried of a numbered GPU
    if wanted == "cuda":
        raise RefusedError(_describe_no_gpu(), code="E_CPU_ONLY")
    if size_bytes > _CPU_BYTES:
        size = f"{size_bytes / 1e9:.0f} GB"
        raise RefusedError(
            f"{_describe_no_gpu()}, and weights of {size} would take a CPU hours for each second "
            "of video",
            code="E_CPU_ONLY",
        )
    return torch.device("cpu")


def _describe_no_gpu() -> str:
    """A sentence with what torch says of it: no driver, one that is too old, an unknown error."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        return f"torch finds no GPU on this machine ({reason})"
    return "torch finds no GPU on this machine"
