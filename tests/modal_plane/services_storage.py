"""Storage of apps: secrets, dicts and queues."""

import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_plane.state import Dict, Queue, Secret, State, not_found

MAX_QUEUE_ITEMS = 5000
MAX_ITEM_BYTES = 1 << 20


class SecretService:
    """Secrets by name, and those that an app makes for itself."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def SecretGetOrCreate(self, request: Any, _caller: str) -> Any:
        secrets, creation = self._state.secrets, request.object_creation_type
        overwrite = creation == pb.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS
        secret_id = secrets.get_or_create(
            self._state.environment(request.environment_name),
            request.deployment_name,
            creation,
            lambda name: Secret(name, dict(request.env_dict)),
        )
        secret = secrets[secret_id]
        if overwrite:
            secret.values = dict(request.env_dict)
        missing = [key for key in request.required_keys if key not in secret.values]
        if missing:
            raise not_found(f"Secret '{secret.name}' is missing key(s): {', '.join(missing)}")
        return pb.SecretGetOrCreateResponse(secret_id=secret_id, metadata=_secret_metadata(secret))

    async def SecretGetInfo(self, request: Any, _caller: str) -> Any:
        secret = self._state.secrets[request.secret_id]
        return pb.SecretGetInfoResponse(metadata=_secret_metadata(secret))

    async def SecretUpdate(self, request: Any, _caller: str) -> Any:
        secret = self._state.secrets[request.secret_id]
        for update in request.updates:
            secret.values[update.key] = update.value
        return Empty()

    async def SecretList(self, request: Any, _caller: str) -> Any:
        reply = pb.SecretListResponse()
        environment = self._state.environment(request.environment_name)
        for name, secret_id, secret in self._state.secrets.named(environment):
            reply.items.add(
                label=name,
                secret_id=secret_id,
                created_at=secret.created_at,
                metadata=_secret_metadata(secret),
            )
        return reply

    async def SecretDelete(self, request: Any, _caller: str) -> Any:
        self._state.secrets.delete(request.secret_id)
        return Empty()


def _secret_metadata(secret: Secret) -> pb.SecretMetadata:
    return pb.SecretMetadata(name=secret.name, keys=sorted(secret.values))


class DictService:
    """Dicts: keys and values stay as the client pickled them."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _entries(self, request: Any) -> dict[bytes, bytes]:
        entries: dict[bytes, bytes] = self._state.dicts[request.dict_id].entries
        return entries

    async def DictGetOrCreate(self, request: Any, _caller: str) -> Any:
        dict_id = self._state.dicts.get_or_create(
            self._state.environment(request.environment_name),
            request.deployment_name,
            request.object_creation_type,
            Dict,
        )
        for entry in request.data:
            self._state.dicts[dict_id].entries[entry.key] = entry.value
        metadata = pb.DictMetadata(name=request.deployment_name)
        return pb.DictGetOrCreateResponse(dict_id=dict_id, metadata=metadata)

    async def DictGetById(self, request: Any, _caller: str) -> Any:
        metadata = pb.DictMetadata(name=self._state.dicts[request.dict_id].name)
        return pb.DictGetByIdResponse(dict_id=request.dict_id, metadata=metadata)

    async def DictList(self, request: Any, _caller: str) -> Any:
        environment = self._state.environment(request.environment_name)
        names = [name for name, _, _ in self._state.dicts.named(environment)]
        return pb.DictListResponse(
            dicts=[pb.DictListResponse.DictInfo(name=name) for name in names],
            environment_name=environment,
        )

    async def DictHeartbeat(self, _request: Any, _caller: str) -> Any:
        return Empty()

    async def DictGet(self, request: Any, _caller: str) -> Any:
        entries = self._entries(request)
        return pb.DictGetResponse(found=request.key in entries, value=entries.get(request.key))

    async def DictContains(self, request: Any, _caller: str) -> Any:
        return pb.DictContainsResponse(found=request.key in self._entries(request))

    async def DictLen(self, request: Any, _caller: str) -> Any:
        return pb.DictLenResponse(len=len(self._entries(request)))

    async def DictUpdate(self, request: Any, _caller: str) -> Any:
        """`created` says whether a key was new, which is what a put that skips is asked for."""
        entries, created = self._entries(request), False
        for update in request.updates:
            is_new = update.key not in entries
            created = created or is_new
            if is_new or not request.if_not_exists:
                entries[update.key] = update.value
        return pb.DictUpdateResponse(created=created)

    async def DictPop(self, request: Any, _caller: str) -> Any:
        entries = self._entries(request)
        found = request.key in entries
        return pb.DictPopResponse(found=found, value=entries.pop(request.key, None))

    async def DictClear(self, request: Any, _caller: str) -> Any:
        self._entries(request).clear()
        return Empty()

    async def DictDelete(self, request: Any, _caller: str) -> Any:
        self._state.dicts.delete(request.dict_id)
        return Empty()

    async def DictContents(self, request: Any, _caller: str) -> Any:
        for key, value in list(self._entries(request).items()):
            yield pb.DictEntry(
                key=key if request.keys else b"", value=value if request.values else b""
            )


class QueueService:
    """Queues with partitions."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _queue(self, request: Any) -> Queue:
        queue: Queue = self._state.queues[request.queue_id]
        return queue

    async def QueueGetOrCreate(self, request: Any, _caller: str) -> Any:
        queue_id = self._state.queues.get_or_create(
            self._state.environment(request.environment_name),
            request.deployment_name,
            request.object_creation_type,
            Queue,
        )
        metadata = pb.QueueMetadata(name=request.deployment_name)
        return pb.QueueGetOrCreateResponse(queue_id=queue_id, metadata=metadata)

    async def QueueHeartbeat(self, _request: Any, _caller: str) -> Any:
        return Empty()

    async def QueuePut(self, request: Any, _caller: str) -> Any:
        queue = self._queue(request)
        items = queue.partitions.setdefault(request.partition_key, [])
        if len(items) + len(request.values) > MAX_QUEUE_ITEMS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "Queue is full")
        if any(len(value) > MAX_ITEM_BYTES for value in request.values):
            raise GRPCError(Status.INVALID_ARGUMENT, "Queue item is larger than 1 MiB")
        for value in request.values:
            queue.serial += 1
            items.append((queue.serial, value))
        queue.bell.ring()
        return Empty()

    async def QueueGet(self, request: Any, _caller: str) -> Any:
        queue, end = self._queue(request), time.monotonic() + request.timeout
        while not queue.partitions.get(request.partition_key) and time.monotonic() < end:
            await queue.bell.wait(end - time.monotonic())
        items = queue.partitions.get(request.partition_key, [])
        count = max(1, request.n_values)
        taken, queue.partitions[request.partition_key] = items[:count], items[count:]
        return pb.QueueGetResponse(values=[value for _, value in taken])

    async def QueueNextItems(self, request: Any, _caller: str) -> Any:
        """Items after the last one seen, left in place."""
        queue, end = self._queue(request), time.monotonic() + request.item_poll_timeout
        last = int(request.last_entry_id or 0)
        while True:
            items = queue.partitions.get(request.partition_key, [])
            fresh = [pb.QueueItem(value=v, entry_id=str(n)) for n, v in items if n > last]
            if fresh or time.monotonic() >= end:
                return pb.QueueNextItemsResponse(items=fresh)
            await queue.bell.wait(end - time.monotonic())

    async def QueueLen(self, request: Any, _caller: str) -> Any:
        partitions = self._queue(request).partitions
        if request.total:
            return pb.QueueLenResponse(len=sum(map(len, partitions.values())))
        return pb.QueueLenResponse(len=len(partitions.get(request.partition_key, [])))

    async def QueueClear(self, request: Any, _caller: str) -> Any:
        partitions = self._queue(request).partitions
        if request.all_partitions:
            partitions.clear()
        else:
            partitions.pop(request.partition_key, None)
        return Empty()

    async def QueueDelete(self, request: Any, _caller: str) -> Any:
        self._state.queues.delete(request.queue_id)
        return Empty()
