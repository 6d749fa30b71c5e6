"""Uploaded source files, and images that are remembered instead of built."""

import asyncio
import hashlib
import shutil
import time
from typing import Any

from modal_proto import api_pb2 as pb

from tests.modal_plane.faults import Faults
from tests.modal_plane.state import IMAGE_BUILDER, Image, Mount, State, failure

SUCCESS = pb.GenericResult.GENERIC_STATUS_SUCCESS
BUILD_FAILED = pb.GenericResult.GENERIC_STATUS_FAILURE


class FileService:
    """Uploaded source files, and images that are remembered instead of built."""

    def __init__(self, state: State, faults: Faults) -> None:
        self._state, self._faults = state, faults

    async def MountBatchedCheckExistence(self, request: Any, _caller: str) -> Any:
        files = self._state.root / "files"
        missing = [name for name in request.sha256_hex_hashes if not (files / name).exists()]
        return pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: Any, _caller: str) -> Any:
        target = self._state.root / "files" / request.sha256_hex
        source = request.WhichOneof("data_oneof")
        if source == "data":
            target.write_bytes(request.data)
        elif source == "data_blob_id":
            shutil.copyfile(self._state.root / "blobs" / request.data_blob_id, target)
        return pb.MountPutFileResponse(exists=target.exists())

    async def MountGetOrCreate(self, request: Any, _caller: str) -> Any:
        """A named mount holds Modal's own client, which the container's Python already has."""
        files = {item.filename: (item.sha256_hex, item.mode) for item in request.files}
        content = repr((request.deployment_name, sorted(files.items()))).encode()
        mount_id = "mo-" + hashlib.sha256(content).hexdigest()[:22]
        self._state.mounts[mount_id] = Mount({} if request.deployment_name else files)
        handle = pb.MountHandleMetadata(content_checksum_sha256_hex=mount_id)
        return pb.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=handle)

    async def ImageGetOrCreate(self, request: Any, _caller: str) -> Any:
        """A new layer is "built" by ImageJoinStreaming; a known one is there at once."""
        content = request.image.SerializeToString(deterministic=True)
        image_id = "im-" + hashlib.sha256(content).hexdigest()[:22]
        image = self._state.images.setdefault(
            image_id, Image(request.image, request.builder_version)
        )
        if not image.built:
            return pb.ImageGetOrCreateResponse(image_id=image_id)
        return pb.ImageGetOrCreateResponse(
            image_id=image_id, result=pb.GenericResult(status=SUCCESS), metadata=_image_metadata()
        )

    async def ImageJoinStreaming(self, request: Any, _caller: str) -> Any:
        """Shows each command of the layer as build output, then the outcome."""
        image = self._state.images[request.image_id]
        commands = image.definition.dockerfile_commands
        is_failing = any(self._faults.failing_builds in one for one in commands)
        problem = self._faults.image_build_failure if is_failing else None
        log = [f"=> {command}" for command in commands]
        log += [] if problem is None else self._faults.image_build_log
        for number, text in enumerate(log, 1):
            line = pb.TaskLogs(
                data=f"{text}\n",
                timestamp=time.time(),
                file_descriptor=pb.FILE_DESCRIPTOR_STDOUT,
            )
            yield pb.ImageJoinStreamingResponse(entry_id=str(number), task_logs=[line])
        await asyncio.sleep(0)
        image.built = problem is None
        result = pb.GenericResult(status=SUCCESS)
        if problem is not None:
            result = failure(BUILD_FAILED, problem)
        yield pb.ImageJoinStreamingResponse(result=result, eof=True, metadata=_image_metadata())


def _image_metadata() -> pb.ImageMetadata:
    return pb.ImageMetadata(
        image_builder_version=IMAGE_BUILDER, python_version_info="Python 3.11.7"
    )
