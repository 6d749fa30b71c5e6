"""The user's store, reached through functions of the app: inputs prepared, videos stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import as_answer, read_answer
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import deploy_facts
from multitalk_cli.cloud.secrets import account
from multitalk_cli.errors import MultitalkError, SetupError
from multitalk_cli.planning.remote_task import PrepareRequest, PrepareResult
from multitalk_cli.storage.upload import ObjectStatus, UploadRequest, UploadTarget

if TYPE_CHECKING:
    from multitalk_cli.planning.inputs import GenerateSpec

T = TypeVar("T")


class CloudStore:
    """The store whose secret the app has; this machine needs no credentials for it.

    Raises SetupError where it is not set up, and the store's own errors with the E_S3 codes.
    """

    def __init__(self, connect: Callable[[], Cloud]) -> None:
        """connect: returns a cloud in which the app is deployed."""
        self._connect = connect

    def prepare(
        self, wanted: GenerateSpec, upload: UploadTarget | None, job_id: str, *, for_plan: bool
    ) -> PrepareResult:
        """Prepares inputs in the cloud, and keeps the request unless only a plan is wanted."""
        _check_files(wanted)
        cloud = self._ready()
        files = {
            f"input-{number}": one.path
            for number, one in enumerate(wanted.inputs)
            if one.address is None
        }
        if files:
            cloud.put_files(contract.JOBS_VOLUME, files, job_id)
        image, *voices = (
            one if one.address is not None else replace(one, file=f"input-{number}")
            for number, one in enumerate(wanted.inputs)
        )
        task = PrepareRequest(
            job_id=job_id,
            image=image,
            voices=tuple(voices),
            options=wanted.options,
            upload=upload,
            keeps=not for_plan,
            draws=for_plan,
        )
        try:
            return self._ask(PrepareResult, contract.PREPARE_FUNCTION, task)
        except BaseException:
            if files:
                self.discard(job_id)
            raise

    def find_object(self, upload: UploadTarget, job_id: str) -> ObjectStatus:
        """The object at the place where a job's video will be stored."""
        self._ready()
        storing = UploadRequest(job_id=job_id, upload=upload, looks=True)
        return self._ask(ObjectStatus, contract.STORE_FUNCTION, storing)

    def put(self, upload: UploadTarget, job_id: str, video: bytes | None = None) -> str:
        """Stores a video, by default the one that the job kept, and returns its address."""
        self._ready()
        storing = UploadRequest(job_id=job_id, upload=upload, looks=False, video=video)
        return self._ask(ObjectStatus, contract.STORE_FUNCTION, storing).address

    def discard(self, job_id: str) -> None:
        """Removes the prepared inputs of a job; if that fails, they expire after 7 days."""
        with suppress(MultitalkError):
            self._connect().remove_folder(contract.JOBS_VOLUME, job_id)

    def _ready(self) -> Cloud:
        cloud = self._connect()
        record = cloud.deployment()
        if record is None or contract.AWS_SECRET not in record.get("secrets", ()):
            raise _no_secret(cloud)
        return cloud

    def _ask(self, kind: type[T], function: str, what: object) -> T:
        cloud = self._connect()
        answer = cloud.call(function, contract.to_wire(what))
        return read_answer(kind, as_answer(answer, cloud.place.facts))


def _check_files(wanted: GenerateSpec) -> None:
    """Raises FileError for an input on this machine that cannot be read."""
    from multitalk_cli.files import open_input

    for one in wanted.inputs:
        if one.address is None:
            open_input(one.path).close()


def _no_secret(cloud: Cloud) -> SetupError:
    """The error if the app has no store: the secret is absent, or newer than the deploy."""
    if account.find_keys(cloud.place, contract.AWS_SECRET, ()) is None:
        return SetupError(
            f"s3:// needs the Modal secret {contract.AWS_SECRET}, which is not set up",
            code="E_NO_SECRET",
            facts={"is_set_up": False, **deploy_facts(cloud.place)},
        )
    return SetupError(
        f"the app was deployed before the Modal secret {contract.AWS_SECRET} was set up",
        code="E_NO_SECRET",
        facts={"is_set_up": True, **deploy_facts(cloud.place, cloud.deployment())},
    )
