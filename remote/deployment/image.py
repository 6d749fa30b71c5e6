"""The container images, one a stack: data first, so that a deploy can show them without building.

The slowest layers come first: a change of our code rebuilds none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from remote.deployment import pins

if TYPE_CHECKING:
    import modal

from remote.weights.allocator import ALLOCATOR

PYTHON = "3.11"
BUILDER = "2025.06"
"""Modal's builder of images, so that the default of a workspace changes nothing of ours."""
CODE_FOLDER = "/root"
CACHES = "/caches"
"""The mount point of the Volume of caches."""
PACKAGES = ("multitalk_cli", "remote")
_NOT_CODE = ["**/__pycache__", "**/*.pyc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """Packages that are installed together. options: for pip."""

    pins: tuple[str, ...]
    options: str = "--no-deps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One image.

    adds_python: whether the base comes without the Python that we need. has_entrypoint: whether it
    starts every process by a script of its own, which prints into the output of ours.
    """

    base: str
    adds_python: bool
    has_entrypoint: bool
    layers: tuple[ImageLayer, ...]
    variables: Mapping[str, str]


def _variables(stack: str) -> dict[str, str]:
    return {
        "PYTHONUNBUFFERED": "1",
        "PYTORCH_CUDA_ALLOC_CONF": ALLOCATOR,
        # The matrices of the face finder are small, and a host has more cores than we reserve.
        "OPENBLAS_NUM_THREADS": "1",
        # Compiled kernels are shared by all containers.
        "TRITON_CACHE_DIR": f"{CACHES}/{stack}/triton",
    }


_CURRENT = Stack(
    base="python:3.11.13-bookworm",
    adds_python=False,
    has_entrypoint=False,
    layers=(
        ImageLayer(pins=tuple(pins.CURRENT_TORCH.split())),
        ImageLayer(pins=tuple(pins.CURRENT_REST.split())),
    ),
    variables=_variables("current"),
)
STACKS = {
    "current": _CURRENT,
    # For comparisons alone. Its other layers are built already, for `current`.
    "proof": replace(
        _CURRENT, layers=(*_CURRENT.layers, ImageLayer(pins=tuple(pins.PROOF.split())))
    ),
    "cuda12.1": Stack(
        base="nvidia/cuda:12.1.1-devel-ubuntu22.04",
        adds_python=True,
        has_entrypoint=True,
        layers=(
            ImageLayer(pins=tuple(pins.CUDA121_TORCH.split())),
            # Compiled against the torch of the layer below, for many minutes.
            ImageLayer(
                pins=tuple(pins.CUDA121_FLASH.split()), options="--no-deps --no-build-isolation"
            ),
            ImageLayer(pins=tuple(pins.CUDA121_REST.split())),
        ),
        variables=_variables("cuda12.1"),
    ),
}


def describe(stack: str, variables: Mapping[str, str]) -> list[str]:
    """The recipe as lines to read, the base first."""
    chosen = STACKS[stack]
    python = f" with Python {PYTHON}" if chosen.adds_python else ""
    steps = [f"from {chosen.base}{python}"]
    steps += [f"pip install {layer.options} {' '.join(layer.pins)}" for layer in chosen.layers]
    steps += ["entrypoint []"] if chosen.has_entrypoint else []
    steps += [f"env {name}={value}" for name, value in {**chosen.variables, **variables}.items()]
    return [*steps, *(f"add {package} to {CODE_FOLDER}/{package}" for package in PACKAGES)]


def build(stack: str, variables: Mapping[str, str]) -> modal.Image:
    """The image of a stack, with these variables and our own packages, data files included."""
    import modal

    chosen = STACKS[stack]
    image = modal.Image.from_registry(
        chosen.base, add_python=PYTHON if chosen.adds_python else None
    )
    for layer in chosen.layers:
        image = image.pip_install(*layer.pins, extra_options=layer.options)
    # After the packages: no image of an earlier deploy has to be built again.
    image = image.entrypoint([]) if chosen.has_entrypoint else image
    image = image.env({**chosen.variables, **variables})
    folder = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        # The whole folder: a helper of Modal's for Python packages would leave data files out.
        image = image.add_local_dir(folder / package, f"{CODE_FOLDER}/{package}", ignore=_NOT_CODE)
    return image
