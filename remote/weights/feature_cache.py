"""Text and image features kept on disk."""

import threading
from pathlib import Path

from torch import Tensor

from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo, write_tensor_file
from remote.weights.model import _log


class FeatureFolder:
    """Keeps features as safetensors files, the newest `limit` of them."""

    def __init__(self, folder: Path, limit: int = 256) -> None:
        self._folder, self._limit = folder, limit

    def load(self, name: str) -> Tensor | None:
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with TensorFile(path) as file:
                features = file.read("features")
        except (ValueError, KeyError) as error:
            _log.warning("kept features %s cannot be used: %s", name, error)
            return None
        path.touch()
        return features

    def save(self, name: str, features: Tensor) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        part = path.with_name(f"{path.name}.{threading.get_native_id()}.part")
        info = TensorInfo(dtype=features.dtype, shape=tuple(features.shape))
        try:
            write_tensor_file(part, {"features": info}, [features.cpu()])
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._forget_oldest()

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"{name!r} is no name of features")
        return self._folder / f"{name}.safetensors"

    def _forget_oldest(self) -> None:
        kept = list(self._folder.glob("*.safetensors"))
        if len(kept) > self._limit:
            kept.sort(key=lambda path: path.stat().st_mtime_ns)
            for path in kept[: -self._limit]:
                path.unlink(missing_ok=True)
