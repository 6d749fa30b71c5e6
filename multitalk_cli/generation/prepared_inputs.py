"""Inputs that are ready to become a video: prepared on this machine, or where they are stored."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from multitalk_cli.contract import GenerateRequest

if TYPE_CHECKING:
    from multitalk_cli.cloud.remote_storage import CloudStore
    from multitalk_cli.generation.backends.base import Backend
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.planning.request import EncodedMedia
    from multitalk_cli.planning.summary import Summary
    from multitalk_cli.storage.upload import ObjectStatus, UploadTarget


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltRequest:
    """A request.

    request: None where the cloud keeps it. fingerprints: its names, the newest first. notes: what
    was adjusted in the sound.
    """

    request: GenerateRequest | None
    fingerprints: tuple[str, ...]
    notes: tuple[str, ...]


class PreparedInputs(Protocol):
    """Inputs that were read, checked and planned."""

    @property
    def summary(self) -> Summary:
        """What was found."""

    def identify(self, backend: Backend) -> tuple[str, dict[str, Any]]:
        """The job's id, and the recipe with the seed that the job has."""

    def begin(self) -> None:
        """Begins what a request needs, beside what is asked of the backend meanwhile."""

    def spot(self, job_id: str) -> ObjectStatus | None:
        """What stands where the video will be stored; None where it will not be."""

    def make(self, job_id: str, recipe: dict[str, Any]) -> BuiltRequest:
        """The request."""

    def drawing(self) -> bytes:
        """The plan's picture, a PNG."""

    def keep(self) -> None:
        """Says that a call was made that needs what is kept in the cloud."""

    def close(self) -> None:
        """Forgets what no call needs."""


class LocalInputs:
    """Inputs that were prepared on this machine."""

    def __init__(
        self,
        wanted: GenerateSpec,
        store: CloudStore | None = None,
        upload: UploadTarget | None = None,
    ) -> None:
        """Raises what is wrong with the inputs."""
        from multitalk_cli.planning.prepare import prepare, summarize

        self._store, self._upload = store, upload
        self._options = wanted.options
        self._prepared = prepare(wanted.image, wanted.voices, wanted.options)
        self.summary = summarize(self._prepared)
        self._packing: EncodedMedia | None = None

    def identify(self, backend: Backend) -> tuple[str, dict[str, Any]]:
        from multitalk_cli.planning.request import make_recipe

        recipe = make_recipe(
            self.summary, self._options, backend.name, model_output=backend.model_output
        )
        job_id, recipe["seed"] = backend.identify(recipe)
        return job_id, recipe

    def begin(self) -> None:
        from multitalk_cli.planning.request import begin_encoding

        self._packing = begin_encoding(self._prepared)

    def spot(self, job_id: str) -> ObjectStatus | None:
        if self._store is None or self._upload is None:
            return None
        return self._store.look(self._upload, job_id)

    def make(self, job_id: str, recipe: dict[str, Any]) -> BuiltRequest:
        from multitalk_cli.planning.fingerprint import fingerprints
        from multitalk_cli.planning.request import make_request

        request, notes = make_request(self._prepared, job_id, recipe, self._packing)
        return BuiltRequest(request=request, fingerprints=fingerprints(request), notes=notes)

    def drawing(self) -> bytes:
        from multitalk_cli.planning.plan_image import draw

        return draw(self._prepared)

    def keep(self) -> None:
        """Nothing is kept elsewhere."""

    def close(self) -> None:
        """Nothing is kept elsewhere."""


class RemoteInputs:
    """Inputs that a function of the app fetched and prepared, some of them from a store."""

    def __init__(
        self,
        wanted: GenerateSpec,
        store: CloudStore,
        upload: UploadTarget | None,
        *,
        for_plan: bool,
    ) -> None:
        """Raises what is wrong with the inputs, what is not set up, or what the store says."""
        self._store, self._job_id = store, secrets.token_hex(8)
        self._is_needed = for_plan
        self._outcome = store.prepare(wanted, upload, self._job_id, for_plan=for_plan)

    @property
    def summary(self) -> Summary:
        return self._outcome.summary

    def identify(self, backend: Backend) -> tuple[str, dict[str, Any]]:
        del backend
        return self._job_id, dict(json.loads(self._outcome.recipe))

    def begin(self) -> None:
        """The cloud has made it."""

    def spot(self, job_id: str) -> ObjectStatus | None:
        del job_id
        return self._outcome.spot

    def make(self, job_id: str, recipe: dict[str, Any]) -> BuiltRequest:
        del job_id, recipe
        outcome = self._outcome
        names = tuple(outcome.fingerprint.split())
        return BuiltRequest(request=None, fingerprints=names, notes=outcome.notes)

    def drawing(self) -> bytes:
        return self._outcome.drawing or b""

    def keep(self) -> None:
        self._is_needed = True

    def close(self) -> None:
        if not self._is_needed:
            self._store.discard(self._job_id)
