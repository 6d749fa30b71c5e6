"""Calls: what clients ask for, and what containers fetch and answer."""

import asyncio
import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as pb

from tests.modal_plane.faults import Faults
from tests.modal_plane.state import Call, Container, Function, Input, State, failure
from tests.modal_plane.worker import CANCELLED, Result, Worker

# A container looks this often whether it should stop; asking again costs a request.
IDLE_CHECK_S = 0.5


class CallService:
    """Clients start calls, wait for outputs, cancel."""

    def __init__(self, state: State, worker: Worker) -> None:
        self._state, self._worker = state, worker

    async def FunctionMap(self, request: Any, _caller: str) -> Any:
        function = self._state.function(request.function_id)
        call = Call(function, request.function_call_invocation_type)
        self._state.calls[call.id] = call
        return pb.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=call.id,
            sync_client_retries_enabled=True,
            max_inputs_outstanding=1000,
            retry_policy=function.definition.retry_policy,
            pipelined_inputs=[self._put(call, item) for item in request.pipelined_inputs],
        )

    def _put(self, call: Call, message: Any) -> pb.FunctionPutInputsResponseItem:
        item = Input(call, message.idx, message.input)
        call.inputs[item.id] = self._state.inputs[item.id] = item
        self._worker.enqueue(item)
        return pb.FunctionPutInputsResponseItem(
            idx=message.idx, input_id=item.id, input_jwt=item.id
        )

    async def FunctionPutInputs(self, request: Any, _caller: str) -> Any:
        call = self._state.call(request.function_call_id)
        return pb.FunctionPutInputsResponse(
            inputs=[self._put(call, item) for item in request.inputs]
        )

    async def FunctionFinishInputs(self, _request: Any, _caller: str) -> Any:
        return Empty()

    async def FunctionRetryInputs(self, request: Any, _caller: str) -> Any:
        reply = pb.FunctionRetryInputsResponse()
        for retried in request.inputs:
            item = self._state.inputs[retried.input_jwt]
            item.retries, item.done = item.retries + 1, False
            self._worker.enqueue(item)
            reply.input_jwts.append(item.id)
        return reply

    async def FunctionGetOutputs(self, request: Any, _caller: str) -> Any:
        """Outputs after the client's last one, waiting up to its timeout for the first."""
        call = self._state.call(request.function_call_id)
        end = time.monotonic() + request.timeout
        start = int((request.last_entry_id or "0").split("-")[0])
        while not (found := _outputs(call, start, request)):
            # An expired call is held as well: answered at once, the client would ask in a circle.
            if time.monotonic() >= end:
                break
            await call.bell.wait(end - time.monotonic())
        reply = pb.FunctionGetOutputsResponse(
            outputs=found,
            idxs=[output.idx for output in found],
            last_entry_id=f"{len(call.outputs)}-0",
            num_unfinished_inputs=_unfinished(call),
        )
        if request.clear_on_success and found:
            call.outputs = []
        return reply

    async def FunctionCallCancel(self, request: Any, _caller: str) -> Any:
        call = self._state.call(request.function_call_id)
        call.cancelled = True
        for item in call.inputs.values():
            if not item.done:
                self._cancel(item, terminate=request.terminate_containers)
        return Empty()

    def _cancel(self, item: Input, *, terminate: bool) -> None:
        queue = item.call.function.queue
        if item in queue:
            queue.remove(item)
            self._worker.finish(item, failure(Result.GENERIC_STATUS_TERMINATED, CANCELLED))
        elif item.container is not None:
            item.container.cancellations.put_nowait(item.id)
            self._worker.background(self._worker.watch_cancel(item, item.container))
            if terminate:
                self._worker.kill(item.container, "cancelled")

    async def FunctionCallFromId(self, request: Any, _caller: str) -> Any:
        call = self._state.call(request.function_call_id)
        handle = pb.FunctionCallHandleMetadata(
            app_id=call.function.app_id, function_id=call.function.id
        )
        return pb.FunctionCallFromIdResponse(
            function_call_id=call.id, num_inputs=len(call.inputs), metadata=handle
        )

    async def FunctionCallGetInfo(self, request: Any, _caller: str) -> Any:
        call = self._state.call(request.function_call_id)
        info = pb.FunctionCallInfo(
            function_call_id=call.id, created_at=call.created_at, total_inputs=len(call.inputs)
        )
        fields = {
            "SUCCESS": info.succeeded_inputs,
            "TIMEOUT": info.timeout_inputs,
            "TERMINATED": info.cancelled_inputs,
        }
        for status in call.statuses:
            fields.get(status, info.failed_inputs).total += 1
        info.pending_inputs.total = _unfinished(call)
        return pb.FunctionCallGetInfoResponse(info=info)

    async def FunctionCallGetDataOut(self, request: Any, _caller: str) -> Any:
        """Streams what a generator yielded."""
        call, last = self._state.call(request.function_call_id), request.last_index
        while True:
            fresh = [chunk for chunk in call.chunks if chunk.index > last]
            for chunk in fresh:
                last = chunk.index
                yield chunk
            if not fresh and call.done:
                return
            if not fresh:
                await call.bell.wait(IDLE_CHECK_S)


def _outputs(call: Call, start: int, request: Any) -> list[pb.FunctionGetOutputsItem]:
    if call.expired:
        return []
    found = call.outputs[start:]
    if request.HasField("start_idx"):
        found = [item for item in found if request.start_idx <= item.idx <= request.end_idx]
    return found


def _unfinished(call: Call) -> int:
    return 0 if call.expired else sum(not item.done for item in call.inputs.values())


class ContainerService:
    """Containers report, fetch inputs, answer. `caller` is the container's id."""

    def __init__(self, state: State, worker: Worker, faults: Faults) -> None:
        self._state, self._worker, self._faults = state, worker, faults

    async def ContainerHello(self, _request: Empty, _caller: str) -> Any:
        return Empty()

    async def ContainerHeartbeat(self, _request: Any, caller: str) -> Any:
        """Held until there is something to cancel, or for a while."""
        container = self._state.containers[caller]
        try:
            cancelled = await asyncio.wait_for(container.cancellations.get(), self._faults.poll_s)
        except TimeoutError:
            return pb.ContainerHeartbeatResponse()
        event = pb.CancelInputEvent(input_ids=[cancelled])
        return pb.ContainerHeartbeatResponse(cancel_input_event=event)

    async def FunctionGetInputs(self, _request: Any, caller: str) -> Any:
        """The next input, or the order to stop. The first request says that the app is loaded."""
        container = self._state.containers[caller]
        function = container.function
        container.ready, function.boot_failures = True, 0
        end = time.monotonic() + self._faults.poll_s
        while time.monotonic() < end:
            if container.stopping is None and _is_idle(container):
                container.stopping = "idle"
            if container.stopping is not None:
                stop = pb.FunctionGetInputsItem(kill_switch=True)
                return pb.FunctionGetInputsResponse(inputs=[stop])
            item = _next_input(function)
            if item is not None:
                return pb.FunctionGetInputsResponse(inputs=[self._hand_out(item, container)])
            await function.bell.wait(min(end - time.monotonic(), IDLE_CHECK_S))
        return pb.FunctionGetInputsResponse()

    def _hand_out(self, item: Input, container: Container) -> pb.FunctionGetInputsItem:
        item.container = container
        item.runs.append(container.id)
        container.running[item.id] = item
        self._worker.background(self._worker.watch_input(item, container))
        return pb.FunctionGetInputsItem(
            input_id=item.id,
            input=item.message,
            function_call_id=item.call.id,
            retry_count=item.retries,
            function_call_invocation_type=item.call.invocation,
        )

    async def FunctionPutOutputs(self, request: Any, caller: str) -> Any:
        container = self._state.containers[caller]
        for output in request.outputs:
            item = self._state.inputs[output.input_id]
            if container.running.pop(item.id, None) is None:
                continue  # Its outcome was decided before: timed out, or run elsewhere.
            container.idle_since = time.monotonic()
            self._worker.finish(
                item, output.result, data_format=output.data_format, container=container
            )
        container.function.bell.ring()
        return Empty()

    async def FunctionCallPutDataOut(self, request: Any, _caller: str) -> Any:
        call = self._state.call(request.function_call_id)
        call.chunks.extend(request.data_chunks)
        call.bell.ring()
        return Empty()

    async def FunctionGetDynamicConcurrency(self, request: Any, _caller: str) -> Any:
        return pb.FunctionGetDynamicConcurrencyResponse(concurrency=request.target_concurrency)

    async def TaskResult(self, request: Any, caller: str) -> Any:
        """The app could not be loaded: the exception goes to every waiting input.

        The real service tries some more containers first.
        """
        container = self._state.containers[caller]
        container.stopping = "failed to load"
        result = pb.GenericResult()
        result.CopyFrom(request.result)
        result.status = Result.GENERIC_STATUS_INIT_FAILURE
        while container.function.queue:
            self._worker.finish(container.function.queue.popleft(), result)
        return Empty()

    async def ContainerStop(self, request: Any, _caller: str) -> Any:
        container = self._state.containers[request.task_id]
        container.stopping = "stopped"
        container.function.bell.ring()
        if not request.graceful:
            self._worker.kill(container, "stopped")
        return pb.ContainerStopResponse()


def _is_idle(container: Container) -> bool:
    idle_s = time.monotonic() - container.idle_since
    return not container.running and idle_s > container.function.scaledown_window_s


def _next_input(function: Function) -> Input | None:
    while function.queue:
        item = function.queue.popleft()
        if not item.done and not item.call.cancelled:
            return item
    return None
