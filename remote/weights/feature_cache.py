"""A cache of text and image features on disk."""

import logging
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from multitalk_cli.errors import FileError
from multitalk_cli.files import partial_file
from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo, write_tensor_file

_log = logging.getLogger(__name__)


class FeatureFolder:
    """Features as safetensors files, the `limit` most recently used.

    It only saves time: a folder that is full, read-only or broken is logged, and no reason to fail.
    """

    def __init__(self, folder: Path, limit: int = 256) -> None:
        self._folder, self._limit = folder, limit

    def load(self, name: str) -> Tensor | None:
        path = self._path(name)
        try:
            if not path.is_file():
                return None
            with TensorFile(path) as file:
                features = file.read("features")
        except (OSError, ValueError, KeyError) as error:
            _log.warning("kept features %s cannot be used: %s", name, error)
            return None
        with suppress(OSError):
            path.touch()
        return features

    def save(self, name: str, features: Tensor) -> None:
        path = self._path(name)
        info = TensorInfo(dtype=features.dtype, shape=tuple(features.shape))
        content = features.cpu()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial_file(path, overwrite=True) as part:
                write_tensor_file(part, {"features": info}, [content])
            self._forget_oldest()
        except (OSError, FileError) as error:
            _log.warning("features %s cannot be kept: %s", name, error)

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"{name!r} is not a name of features")
        return self._folder / f"{name}.safetensors"

    def _forget_oldest(self) -> None:
        kept = list(self._folder.glob("*.safetensors"))
        if len(kept) > self._limit:
            kept.sort(key=lambda path: path.stat().st_mtime_ns)
            for path in kept[: -self._limit]:
                path.unlink(missing_ok=True)
