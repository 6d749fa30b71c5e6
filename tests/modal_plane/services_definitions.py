"""Functions and classes: defined by a deploy, looked up, bound to options, scaled."""

import hashlib
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_plane.state import Function, State, new_id
from tests.modal_plane.worker import Worker


class DefinitionService:
    """Functions and classes: defining, looking up, binding options."""

    def __init__(self, state: State, worker: Worker) -> None:
        self._state, self._worker = state, worker

    def _new(self, request: Any, name: str) -> Function:
        known = self._state.functions.get(request.existing_function_id)
        function = Function(request.app_id, name) if known is None else known
        self._state.functions[function.id] = function
        return function

    async def FunctionPrecreate(self, request: Any, _caller: str) -> Any:
        function = self._new(request, request.function_name)
        _describe(function, request)
        return pb.FunctionPrecreateResponse(
            function_id=function.id, handle_metadata=function.metadata
        )

    async def FunctionCreate(self, request: Any, _caller: str) -> Any:
        """Stages a definition; a list of GPUs arrives as ranked definitions, of which the first
        is run."""
        definition = request.function
        if not definition.function_name and request.function_data.ranked_functions:
            definition = request.function_data.ranked_functions[0].function
        function = self._new(request, definition.function_name)
        function.staged = pb.Function()
        function.staged.CopyFrom(definition)
        _describe(function, definition)
        function.metadata.class_parameter_info.CopyFrom(definition.class_parameter_info)
        for method in function.metadata.method_handle_metadata.values():
            method.class_parameter_info.CopyFrom(definition.class_parameter_info)
        return pb.FunctionCreateResponse(
            function_id=function.id,
            function=definition,
            handle_metadata=function.metadata,
            function_data=_function_data(function),
        )

    async def ClassCreate(self, request: Any, _caller: str) -> Any:
        class_id = request.existing_class_id or new_id("cs")
        self._state.classes[class_id] = request.app_id
        return pb.ClassCreateResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())

    async def ClassGet(self, request: Any, _caller: str) -> Any:
        app = self._state.app(request.environment_name, request.app_name)
        class_id = app.class_ids.get(request.object_tag)
        if class_id is None or request.app_version not in (0, app.version):
            message = f"Class '{request.object_tag}' not found in app '{request.app_name}'"
            raise GRPCError(Status.NOT_FOUND, message)
        return pb.ClassGetResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())

    async def FunctionGet(self, request: Any, _caller: str) -> Any:
        app = self._state.app(request.environment_name, request.app_name)
        tag = request.object_tag
        if tag in app.class_ids:
            reason = pb.FunctionLookupError(reason=pb.FunctionLookupError.REASON_CLASS_NAME_USED)
            raise GRPCError(Status.NOT_FOUND, f"'{tag}' is a class", [reason])
        if tag not in app.function_ids:
            message = f"Function '{tag}' not found in app '{request.app_name}'"
            raise GRPCError(Status.NOT_FOUND, message)
        function = self._state.functions[app.function_ids[tag]]
        return pb.FunctionGetResponse(
            function_id=function.id,
            handle_metadata=function.metadata,
            function=_function_data(function),
        )

    async def FunctionGetById(self, request: Any, _caller: str) -> Any:
        function = self._state.function(request.function_id)
        return pb.FunctionGetByIdResponse(
            function=_function_data(function), handle_metadata=function.metadata
        )

    async def FunctionBindParams(self, request: Any, _caller: str) -> Any:
        """A variant with other options: its own function, hence its own containers."""
        base = self._state.function(request.function_id)
        content = request.SerializeToString(deterministic=True) + bytes([base.version % 256])
        function_id = "fu-" + hashlib.sha256(content).hexdigest()[:22]
        function = self._state.functions.get(function_id)
        if function is None:
            function = Function(base.app_id, base.name, id=function_id, base_id=base.id)
            function.definition.CopyFrom(base.newest)
            function.params = request.serialized_params
            _apply_options(function.definition, request.function_options)
            function.metadata.CopyFrom(base.metadata)
            function.metadata.base_function_id = base.id
            self._state.functions[function_id] = function
        return pb.FunctionBindParamsResponse(
            bound_function_id=function_id, handle_metadata=function.metadata
        )

    async def FunctionGetSchedulingParams(self, request: Any, _caller: str) -> Any:
        settings = self._settings(self._state.function(request.function_id))
        configuration = pb.AutoscalerConfiguration(settings=settings)
        return pb.FunctionGetSchedulingParamsResponse(autoscaler_configuration=configuration)

    async def FunctionUpdateSchedulingParams(self, request: Any, _caller: str) -> Any:
        function = self._state.function(request.function_id)
        function.settings.MergeFrom(request.settings)
        function.bell.ring()
        self._worker.scale(function)
        return pb.FunctionUpdateSchedulingParamsResponse(current_settings=self._settings(function))

    def _settings(self, function: Function) -> pb.AutoscalerSettings:
        settings = pb.AutoscalerSettings()
        settings.CopyFrom(function.definition.autoscaler_settings)
        settings.MergeFrom(function.settings)
        return settings

    async def FunctionGetCurrentStats(self, request: Any, _caller: str) -> Any:
        function = self._state.function(request.function_id)
        running = sum(len(item.running) for item in function.containers.values())
        return pb.FunctionStats(
            backlog=len(function.queue),
            num_total_tasks=len(function.containers),
            num_running_inputs=running,
            input_headroom=len(function.containers) * function.inputs_at_once - running,
        )


def _describe(function: Function, source: Any) -> None:
    """Fills what a client's handle knows, from a definition or a request that precedes it."""
    handle = function.metadata
    handle.function_name, handle.app_id = function.name, function.app_id
    handle.definition_id = "de-" + function.id.removeprefix("fu-")
    _copy_formats(handle, source)
    for name, method in source.method_definitions.items():
        entry = handle.method_handle_metadata[name]
        entry.function_name, entry.use_method_name = method.function_name, name
        entry.app_id, entry.definition_id = function.app_id, handle.definition_id
        entry.is_method = True
        _copy_formats(entry, method)


def _copy_formats(handle: pb.FunctionHandleMetadata, source: Any) -> None:
    handle.function_type = source.function_type
    handle.function_schema.CopyFrom(source.function_schema)
    handle.supported_input_formats[:] = source.supported_input_formats
    handle.supported_output_formats[:] = source.supported_output_formats


def _function_data(function: Function) -> pb.FunctionData:
    """The newer form of a definition; the client refuses one without a ranked function."""
    definition = function.newest
    data = pb.FunctionData(
        function_name=function.name,
        module_name=definition.module_name,
        function_type=function.metadata.function_type,
        timeout_secs=definition.timeout_secs,
        is_class=definition.is_class,
        autoscaler_settings=definition.autoscaler_settings,
    )
    data.ranked_functions.append(pb.FunctionData.RankedFunction(rank=0, function=definition))
    for name, method in definition.method_definitions.items():
        data.method_definitions[name].CopyFrom(method)
    return data


def _apply_options(definition: pb.Function, options: pb.FunctionOptions) -> None:
    if options.HasField("resources"):
        definition.resources.MergeFrom(options.resources)
    if options.HasField("retry_policy"):
        definition.retry_policy.CopyFrom(options.retry_policy)
    for name in ("timeout_secs", "task_idle_timeout_secs", "max_concurrent_inputs"):
        if options.HasField(name):
            setattr(definition, name, getattr(options, name))
    scaler = definition.autoscaler_settings
    if options.HasField("task_idle_timeout_secs"):
        scaler.scaledown_window = options.task_idle_timeout_secs
    if options.HasField("concurrency_limit"):
        scaler.max_containers = options.concurrency_limit
    if options.replace_secret_ids:
        definition.secret_ids[:] = options.secret_ids
    if options.replace_volume_mounts:
        del definition.volume_mounts[:]
        definition.volume_mounts.extend(options.volume_mounts)
