"""Volumes and blobs as the protocol moves them; the bytes travel over HTTP (`blobs`)."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_plane.blobs import BLOCK_BYTES, Store
from tests.modal_plane.faults import Faults
from tests.modal_plane.state import State, new_id, not_found
from tests.modal_plane.volumes import View, Volume


class BlobService:
    """Payloads too large for a message."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def BlobCreate(self, _request: Any, caller: str) -> Any:
        blob_id = new_id("bl")
        urls = pb.UploadUrlList(items=[self._store.url(caller, f"blob/{blob_id}")])
        return pb.BlobCreateResponse(blob_id=blob_id, blob_ids=[blob_id], upload_urls=urls)

    async def BlobGet(self, request: Any, caller: str) -> Any:
        url = self._store.url(caller, f"blob/{request.blob_id}")
        return pb.BlobGetResponse(download_url=url)


class VolumeService:
    """Clients change the committed files directly; containers commit and reload views."""

    def __init__(self, state: State, store: Store, faults: Faults) -> None:
        self._state, self._store, self._faults = state, store, faults

    def _volume(self, request: Any) -> Volume:
        volume: Volume = self._state.volumes[request.volume_id]
        return volume

    async def VolumeGetOrCreate(self, request: Any, _caller: str) -> Any:
        def make(name: str) -> Volume:
            folder = self._state.root / "volumes" / new_id("vf")
            folder.mkdir(parents=True)
            return Volume(name, request.version or pb.VOLUME_FS_VERSION_V1, folder)

        volume_id = self._state.volumes.get_or_create(
            self._state.environment(request.environment_name),
            request.deployment_name,
            request.object_creation_type,
            make,
        )
        volume = self._state.volumes[volume_id]
        return pb.VolumeGetOrCreateResponse(
            volume_id=volume_id, version=volume.version, metadata=_metadata(volume)
        )

    async def VolumeGetById(self, request: Any, _caller: str) -> Any:
        metadata = _metadata(self._volume(request))
        return pb.VolumeGetByIdResponse(volume_id=request.volume_id, metadata=metadata)

    async def VolumeList(self, request: Any, _caller: str) -> Any:
        reply = pb.VolumeListResponse()
        environment = self._state.environment(request.environment_name)
        for name, volume_id, volume in self._state.volumes.named(environment):
            reply.items.add(label=name, volume_id=volume_id, metadata=_metadata(volume))
        return reply

    async def VolumeHeartbeat(self, _request: Any, _caller: str) -> Any:
        return Empty()

    async def VolumePutFiles(self, request: Any, _caller: str) -> Any:
        volume = self._volume(request)
        targets = [volume.path(item.filename) for item in request.files]
        _refuse_existing(targets, refuse=request.disallow_overwrite_existing_files)
        for item, target in zip(request.files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._state.root / "files" / item.sha256_hex, target)
        return Empty()

    async def VolumePutFiles2(self, request: Any, caller: str) -> Any:
        """Names the blocks that are missing; called again without any, puts the files in place."""
        volume = self._volume(request)
        targets = [volume.path(item.path) for item in request.files]
        _refuse_existing(targets, refuse=request.disallow_overwrite_existing_files)
        missing = list(self._missing_blocks(request.files, caller))
        if not missing:
            for item, target in zip(request.files, targets, strict=True):
                await asyncio.to_thread(self._assemble, item, target)
        return pb.VolumePutFiles2Response(missing_blocks=missing)

    def _missing_blocks(
        self, files: Any, caller: str
    ) -> Iterator[pb.VolumePutFiles2Response.MissingBlock]:
        for file_index, item in enumerate(files):
            for block_index, block in enumerate(item.blocks):
                digest = block.contents_sha256.hex()
                if not (self._store.blocks / digest).exists():
                    yield pb.VolumePutFiles2Response.MissingBlock(
                        file_index=file_index,
                        block_index=block_index,
                        put_url=self._store.url(caller, f"block/{digest}"),
                    )

    def _assemble(self, item: Any, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            for number, block in enumerate(item.blocks):
                data = (self._store.blocks / block.contents_sha256.hex()).read_bytes()
                # A block's trailing zeros are not sent.
                out.write(data.ljust(min(BLOCK_BYTES, item.size - number * BLOCK_BYTES), b"\0"))

    async def VolumeGetFile2(self, request: Any, caller: str) -> Any:
        path = self._volume(request).path(request.path)
        if not path.is_file():
            raise not_found(f"{request.path}: no such file")
        size = path.stat().st_size
        name = path.relative_to((self._state.root / "volumes").resolve())
        urls = [
            self._store.url(caller, f"volume/{name}?offset={offset}&size={BLOCK_BYTES}")
            for offset in range(0, size, BLOCK_BYTES)
        ]
        return pb.VolumeGetFile2Response(size=size, start=0, len=size, get_urls=urls)

    async def VolumeListFiles(self, request: Any, _caller: str) -> Any:
        yield pb.VolumeListFilesResponse(entries=self._entries(request))

    async def VolumeListFiles2(self, request: Any, _caller: str) -> Any:
        yield pb.VolumeListFiles2Response(entries=self._entries(request))

    def _entries(self, request: Any) -> list[pb.FileEntry]:
        volume = self._volume(request)
        start = volume.path(request.path)
        if not start.exists():
            raise not_found(f"{request.path}: no such file or directory")
        below = start.rglob("*") if request.recursive else start.iterdir()
        paths = [start] if start.is_file() else sorted(below)
        return [_entry(path, volume.head.resolve()) for path in paths]

    async def VolumeRemoveFile(self, request: Any, _caller: str) -> Any:
        path = self._volume(request).path(request.path)
        if not path.exists():
            raise not_found(f"{request.path}: no such file or directory")
        if path.is_dir() and not request.recursive:
            raise GRPCError(Status.INVALID_ARGUMENT, f"{request.path} is a directory")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return Empty()

    async def VolumeRemoveFile2(self, request: Any, caller: str) -> Any:
        return await self.VolumeRemoveFile(request, caller)

    async def VolumeDelete(self, request: Any, _caller: str) -> Any:
        volume = self._volume(request)
        self._state.volumes.delete(request.volume_id)
        shutil.rmtree(volume.head, ignore_errors=True)
        return Empty()

    def _view(self, request: Any, caller: str) -> View:
        container = self._state.containers.get(caller)
        view = None if container is None else container.views.get(request.volume_id)
        if view is None:
            message = f"volume {request.volume_id} is not mounted here"
            raise GRPCError(Status.FAILED_PRECONDITION, message)
        return view

    async def VolumeCommit(self, request: Any, caller: str) -> Any:
        """Publishes the caller's view; the client then asks for a reload itself."""
        await asyncio.to_thread(self._view(request, caller).commit)
        return pb.VolumeCommitResponse(skip_reload=False)

    async def VolumeReload(self, request: Any, caller: str) -> Any:
        view, container = self._view(request, caller), self._state.containers[caller]
        if container.process is not None:
            await asyncio.to_thread(view.refuse_open_files, container.process.pid)
        if self._faults.hidden_s:
            await asyncio.to_thread(view.hide, self._faults.hidden_s)
        await asyncio.to_thread(view.reload)
        return Empty()


def _metadata(volume: Volume) -> pb.VolumeMetadata:
    version: Any = volume.version
    return pb.VolumeMetadata(version=version, name=volume.name)


def _refuse_existing(targets: list[Path], *, refuse: bool) -> None:
    for target in targets:
        if refuse and target.exists():
            raise GRPCError(Status.ALREADY_EXISTS, f"{target.name}: already exists")


def _entry(path: Path, base: Path) -> pb.FileEntry:
    info = path.stat()
    kind = pb.FileEntry.DIRECTORY if path.is_dir() else pb.FileEntry.FILE
    return pb.FileEntry(
        path=str(path.relative_to(base)), type=kind, mtime=int(info.st_mtime), size=info.st_size
    )
