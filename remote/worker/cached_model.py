"""The model that stays in a warm container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.errors import SetupError
from remote.worker.failures import gpu_expected

if TYPE_CHECKING:
    from torch import Tensor

    from remote.engine.pipeline import Engine
    from remote.engine.request import Event, RenderRequest, Resume
    from remote.engine.sampling.guidance import Branch
    from remote.service.run import Model
    from remote.weights.machine import Machine


class CachedModel:
    """A model that is opened by the first job.

    A failure that only set-up can mend is kept: loading again would fail again, on a GPU that is
    paid for. Every other failure may have passed when the next job comes.
    """

    def __init__(self, open_model: Callable[[], Model]) -> None:
        self._open = open_model
        self._model: Model | None = None
        self._failure: SetupError | None = None

    @property
    def revision(self) -> str:
        return self._opened().revision

    @property
    def engine(self) -> Engine:
        return self._opened().engine

    @property
    def machine(self) -> Machine:
        return self._opened().machine

    @property
    def notes(self) -> tuple[str, ...]:
        return self._opened().notes

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._opened().tokenize(text)

    def load(
        self, request: RenderRequest | None = None, persistent_params: int | None = None
    ) -> Iterator[contract.Loading]:
        model = self._opened()
        try:
            yield from model.load(request, persistent_params)
        except SetupError as error:
            self._failure = error
            raise

    def render(self, request: RenderRequest, resume: Resume | None) -> Iterator[Event]:
        return self._opened().render(request, resume)

    def velocities(self, request: RenderRequest) -> Iterator[tuple[int, Branch, Tensor]]:
        return self._opened().velocities(request)

    def forget(self) -> None:
        """Frees the memory of the model; the next job opens it again."""
        self._model = None

    def _opened(self) -> Model:
        if self._failure is not None:
            raise self._failure
        if self._model is None:
            try:
                self._model = self._open()
            except SetupError as error:
                self._failure = error
                raise
        return self._model


def open_model(pack: Path, caches: Path, refresh: Callable[[], None] = lambda: None) -> Model:
    """The model of the pack, on the GPU; without a GPU only a tiny pack is accepted.

    refresh: shows LoRAs that were added since the container began.
    """
    from remote.weights.feature_cache import FeatureFolder
    from remote.weights.model import PackedModel

    with gpu_expected():
        return PackedModel(pack, "auto", FeatureFolder(caches / "features"), refresh)
