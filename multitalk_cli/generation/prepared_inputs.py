"""Inputs that are ready to become a video: prepared on this machine, or in the cloud."""

from __future__ import annotations

import copy
import json
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from multitalk_cli import contract
from multitalk_cli.errors import UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud.remote_storage import CloudStore
    from multitalk_cli.generation.backends.base import Backend
    from multitalk_cli.media.faces.detect import Face
    from multitalk_cli.planning.inputs import GenerateOptions, GenerateSpec
    from multitalk_cli.planning.request import EncodedMedia
    from multitalk_cli.planning.summary import Summary
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.storage.upload import ObjectStatus, UploadTarget


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltRequest:
    """A request, and what was adjusted in the sound track.

    request: None where the cloud keeps it. fingerprints: its names, the newest first. faces: of
    each speaker, if the inputs were prepared on this machine.
    """

    request: contract.GenerateRequest | None
    fingerprints: tuple[str, ...]
    notes: tuple[str, ...]
    faces: tuple[Face | None, ...] = ()


class PreparedInputs(Protocol):
    """Inputs that were read, checked and planned."""

    @property
    def summary(self) -> Summary:
        """The inputs as read, and the plan."""

    def identify(self, backend: Backend) -> tuple[str, dict[str, Any]]:
        """The job's id, and the recipe with the job's seed."""

    def with_options(self, options: GenerateOptions) -> PreparedInputs:
        """The same inputs for another seed; nothing is read or encoded once more."""

    def start_encoding(self) -> None:
        """Starts to encode what a request needs, in other threads."""

    def object_status(self, job_id: str) -> ObjectStatus | None:
        """The object at the place where the video will be stored; None for a video that is not."""

    def build_request(self, job_id: str, recipe: dict[str, Any]) -> BuiltRequest:
        """The request."""

    def draw_plan(self) -> bytes:
        """The plan's picture, a PNG."""

    def keep(self) -> None:
        """Keeps what the cloud holds of these inputs, because a call needs it."""

    def close(self) -> None:
        """Removes what no call needs."""


class LocalInputs:
    """Inputs that were prepared on this machine."""

    def __init__(
        self,
        spec: GenerateSpec,
        store: CloudStore | None = None,
        upload: UploadTarget | None = None,
    ) -> None:
        """Raises what is wrong with the inputs."""
        from multitalk_cli.planning.prepare import prepare, summarize

        self._store, self._upload = store, upload
        self._options = spec.options
        self._prepared = prepare(spec.image, spec.voices, spec.options)
        self.summary = summarize(self._prepared)
        self._encoded: EncodedMedia | None = None

    def with_options(self, options: GenerateOptions) -> LocalInputs:
        same = copy.copy(self)
        same._options, same._prepared = options, replace(self._prepared, options=options)
        return same

    def identify(self, backend: Backend) -> tuple[str, dict[str, Any]]:
        from multitalk_cli.planning.request import make_recipe

        recipe = make_recipe(
            self.summary, self._options, backend.name, model_output=backend.model_output
        )
        job_id, recipe["seed"] = backend.identify(recipe)
        return job_id, recipe

    def start_encoding(self) -> None:
        from multitalk_cli.planning.request import begin_encoding

        if self._encoded is None:
            self._encoded = begin_encoding(self._prepared)

    def object_status(self, job_id: str) -> ObjectStatus | None:
        if self._store is None or self._upload is None:
            return None
        return self._store.find_object(self._upload, job_id)

    def build_request(self, job_id: str, recipe: dict[str, Any]) -> BuiltRequest:
        from multitalk_cli.planning.fingerprint import fingerprints
        from multitalk_cli.planning.request import make_request

        request, notes = make_request(self._prepared, job_id, recipe, self._encoded)
        return BuiltRequest(
            request=request,
            fingerprints=fingerprints(request),
            notes=notes,
            faces=tuple(person.face for person in self._prepared.people),
        )

    def draw_plan(self) -> bytes:
        from multitalk_cli.planning.plan_image import draw

        return draw(self._prepared)

    def keep(self) -> None:
        """The cloud holds nothing."""

    def close(self) -> None:
        """The cloud holds nothing."""


class RemoteInputs:
    """Inputs, some of them in a store, that a function of the app fetched and prepared."""

    def __init__(
        self,
        spec: GenerateSpec,
        store: CloudStore,
        upload: UploadTarget | None,
        *,
        for_plan: bool,
    ) -> None:
        """Raises what is wrong with the inputs, the set-up or the store."""
        self._store, self._job_id = store, secrets.token_hex(8)
        self._is_needed = for_plan
        self._result = store.prepare(spec, upload, self._job_id, for_plan=for_plan)

    def with_options(self, options: GenerateOptions) -> RemoteInputs:
        del options
        raise UsageError(
            "--seeds needs inputs on this machine: fetch them with multitalk s3 get",
            code="E_CONFLICT",
        )

    @property
    def summary(self) -> Summary:
        return self._result.summary

    def identify(self, backend: Backend) -> tuple[str, dict[str, Any]]:
        del backend
        return self._job_id, dict(json.loads(self._result.recipe))

    def start_encoding(self) -> None:
        """The cloud has encoded everything."""

    def object_status(self, job_id: str) -> ObjectStatus | None:
        del job_id
        return self._result.spot

    def build_request(self, job_id: str, recipe: dict[str, Any]) -> BuiltRequest:
        del job_id, recipe
        names = tuple(self._result.fingerprint.split())
        return BuiltRequest(request=None, fingerprints=names, notes=self._result.notes)

    def draw_plan(self) -> bytes:
        if self._result.drawing is None:
            raise ValueError("the plan's picture was not asked for when the inputs were prepared")
        return self._result.drawing

    def keep(self) -> None:
        self._is_needed = True

    def close(self) -> None:
        if not self._is_needed:
            self._store.discard(self._job_id)


def prepare_in_cloud(
    spec: GenerateSpec,
    store: CloudStore,
    upload: UploadTarget | None,
    reporter: Reporter,
    *,
    for_plan: bool,
) -> RemoteInputs:
    """Prepares inputs in the cloud while progress is shown."""
    with reporter.progress() as progress:
        progress.show(contract.Stage(name="preparing"))
        return RemoteInputs(spec, store, upload, for_plan=for_plan)
