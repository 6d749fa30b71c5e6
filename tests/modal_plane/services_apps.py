"""Apps as the client deploys, lists and stops them, and what their containers printed."""

import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as pb

from tests.modal_plane.state import App, Function, State
from tests.modal_plane.worker import Worker


class AppService:
    """Deploys, looks up and stops apps."""

    def __init__(self, state: State, worker: Worker, web_url: str) -> None:
        self._state, self._worker, self._web_url = state, worker, web_url

    def _page(self, app: App) -> str:
        return f"{self._web_url}/apps/{app.id}"

    async def AppGetByDeploymentName(self, request: Any, _caller: str) -> Any:
        where = self._state.environment(request.environment_name)
        app_id = self._state.deployments.get((where, request.name), "")
        return pb.AppGetByDeploymentNameResponse(app_id=app_id, environment_name=where)

    async def AppCreate(self, request: Any, _caller: str) -> Any:
        where = self._state.environment(request.environment_name)
        app = App(request.description, where, request.app_state)
        self._state.apps[app.id] = app
        page = self._page(app)
        return pb.AppCreateResponse(app_id=app.id, app_page_url=page, app_logs_url=page)

    async def AppGetLayout(self, request: Any, _caller: str) -> Any:
        layout = self._worker.layout(self._state.apps[request.app_id])
        return pb.AppGetLayoutResponse(app_layout=layout)

    async def AppHeartbeat(self, _request: Any, _caller: str) -> Any:
        return Empty()

    async def AppPublish(self, request: Any, _caller: str) -> Any:
        """Makes the staged definitions the current ones; old containers get no further input."""
        app = self._state.apps[request.app_id]
        app.function_ids, app.class_ids = dict(request.function_ids), dict(request.class_ids)
        app.state, app.deployed_at = request.app_state, time.time()
        app.version += 1
        app.history.append(
            pb.AppDeploymentHistory(
                app_id=app.id,
                version=app.version,
                client_version=request.client_version,
                deployed_at=app.deployed_at,
                deployed_by="local",
                tag=request.deployment_tag,
            )
        )
        if request.name:
            app.name = request.name
            self._state.deployments[(app.environment, request.name)] = app.id
        for function in self._state.family(app):
            self._publish(function)
        return pb.AppPublishResponse(url=self._page(app), deployed_at=app.deployed_at)

    def _publish(self, function: Function) -> None:
        if function.staged is not None:
            function.definition, function.staged = function.staged, None
            function.version += 1
            function.settings.Clear()
        function.boot_failures = 0
        for container in function.containers.values():
            container.stopping = container.stopping or "redeployed"
        function.bell.ring()

    async def AppClientDisconnect(self, request: Any, _caller: str) -> Any:
        app = self._state.apps.get(request.app_id)
        if app is not None and app.state == pb.APP_STATE_EPHEMERAL:
            self._stop(app)
        return Empty()

    async def AppStop(self, request: Any, _caller: str) -> Any:
        self._stop(self._state.apps[request.app_id])
        return Empty()

    def _stop(self, app: App) -> None:
        app.state = pb.APP_STATE_STOPPED
        deployments = self._state.deployments.items()
        self._state.deployments = {key: value for key, value in deployments if value != app.id}
        for function in self._state.family(app):
            for container in list(function.containers.values()):
                self._worker.kill(container, "the app was stopped")
        app.logs.append(pb.TaskLogsBatch(app_done=True, entry_id=str(len(app.logs) + 1)))
        app.bell.ring()

    async def AppGetLifecycle(self, request: Any, _caller: str) -> Any:
        app = self._state.apps[request.app_id]
        lifecycle = pb.AppLifecycle(
            app_state=app.state,
            created_at=app.created_at,
            deployed_at=app.deployed_at,
            version=app.version,
        )
        return pb.AppGetLifecycleResponse(lifecycle=lifecycle)

    async def AppDeploymentHistory(self, request: Any, _caller: str) -> Any:
        app = self._state.apps[request.app_id]
        return pb.AppDeploymentHistoryResponse(
            app_deployment_histories=app.history, production_app_version=app.version
        )

    async def AppList(self, request: Any, _caller: str) -> Any:
        where = self._state.environment(request.environment_name)
        reply = pb.AppListResponse()
        for app in self._state.apps.values():
            if app.environment == where:
                reply.apps.add(
                    app_id=app.id,
                    name=app.name,
                    description=app.name,
                    state=app.state,
                    created_at=app.created_at,
                    n_running_tasks=len(self._containers(app)),
                )
        return reply

    def _containers(self, app: App) -> list[Any]:
        family = self._state.family(app)
        return [item for function in family for item in function.containers.values()]

    async def TaskList(self, request: Any, _caller: str) -> Any:
        where = self._state.environment(request.environment_name)
        reply = pb.TaskListResponse()
        for app in self._state.apps.values():
            if app.environment == where and request.app_id in ("", app.id):
                for item in self._containers(app):
                    reply.tasks.add(
                        task_id=item.id,
                        app_id=app.id,
                        app_description=app.name,
                        started_at=item.started_at,
                    )
        return reply

    async def AppGetLogs(self, request: Any, _caller: str) -> Any:
        """Streams what containers printed, from where the last call ended."""
        app = self._state.apps[request.app_id]
        position, end = int(request.last_entry_id or 0), time.monotonic() + request.timeout
        while time.monotonic() < end:
            for batch in app.logs[position:]:
                if batch.app_done or _concerns(batch, request):
                    yield batch
                if batch.app_done:
                    return
            position = len(app.logs)
            await app.bell.wait(end - time.monotonic())

    async def AppFetchLogs(self, request: Any, _caller: str) -> Any:
        app = self._state.apps[request.app_id]
        hits = [batch for batch in app.logs if _concerns(batch, request) and _is_in(batch, request)]
        return pb.AppFetchLogsResponse(batches=hits[-(request.limit or 500) :])

    async def AppCountLogs(self, request: Any, _caller: str) -> Any:
        """How many lines each stretch of time has, by which a client divides what it fetches."""
        app = self._state.apps[request.app_id]
        hits = [batch for batch in app.logs if _concerns(batch, request) and _is_in(batch, request)]
        counts: dict[int, int] = {}
        for batch in hits:
            start_s = int(batch.items[0].timestamp) // request.bucket_secs * request.bucket_secs
            counts[start_s] = counts.get(start_s, 0) + 1
        reply = pb.AppCountLogsResponse(app_id=app.id)
        for start_s, count in sorted(counts.items()):
            reply.buckets.add(stdout_logs=count).bucket_start_at.FromSeconds(start_s)
        return reply


def _is_in(batch: pb.TaskLogsBatch, request: Any) -> bool:
    """Whether a batch is of the time that is asked for; nothing is asked by those who follow."""
    since_s, until_s = (
        (each.seconds + each.nanos / 1e9) if each.ByteSize() else None
        for each in (request.since, request.until)
    )
    time_s = batch.items[0].timestamp
    return (since_s is None or since_s <= time_s) and (until_s is None or time_s < until_s)


def _concerns(batch: pb.TaskLogsBatch, request: Any) -> bool:
    wanted = request.function_call_id
    return any(wanted in ("", item.function_call_id) for item in batch.items)
