"""Who is asking: tokens, workspace, environments, prices."""

import asyncio
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_plane.faults import Faults
from tests.modal_plane.state import DEFAULT_ENVIRONMENT, State, new_id

WORKSPACE = "local"
# Dollars: an hour of a core, a GiB or a GPU. Values of the tests, not Modal's.
RATES = {"cpu": "0.05", "memory": "0.01", "gpu_h100": "3.95", "gpu_a10": "1.10"}


class AccountService:
    """Tokens are checked at the door (`servicer.Router`); here they are made and described."""

    def __init__(self, state: State, faults: Faults, web_url: str) -> None:
        self._state, self._faults, self._web_url = state, faults, web_url

    async def ClientHello(self, _request: Empty, _caller: str) -> Any:
        return pb.ClientHelloResponse(image_builder_version=self._faults.image_builder)

    async def TokenFlowCreate(self, _request: Any, _caller: str) -> Any:
        flow = new_id("tf")
        self._state.token_flows[flow] = asyncio.get_running_loop().create_future()
        url = f"{self._web_url}/token-flow/{flow}"
        return pb.TokenFlowCreateResponse(
            token_flow_id=flow, web_url=url, code="LOCAL", wait_secret=flow[::-1]
        )

    async def TokenFlowWait(self, request: Any, _caller: str) -> Any:
        """Waits until somebody opened the flow's page (`blobs.confirm_token`)."""
        answer = self._state.token_flows.get(request.token_flow_id)
        if answer is None or request.wait_secret != request.token_flow_id[::-1]:
            raise GRPCError(Status.NOT_FOUND, "token flow not found")
        try:
            pair = await asyncio.wait_for(asyncio.shield(answer), request.timeout)
        except TimeoutError:
            return pb.TokenFlowWaitResponse(timeout=True)
        return pb.TokenFlowWaitResponse(
            token_id=pair[0], token_secret=pair[1], workspace_username=WORKSPACE
        )

    async def TokenInfoGet(self, _request: Any, _caller: str) -> Any:
        return pb.TokenInfoGetResponse(workspace_name=WORKSPACE, workspace_id="wo-local")

    async def WorkspaceNameLookup(self, _request: Empty, _caller: str) -> Any:
        return pb.WorkspaceNameLookupResponse(workspace_name=WORKSPACE, username=WORKSPACE)

    async def WorkspaceSettings(self, _request: Empty, _caller: str) -> Any:
        return pb.WorkspaceSettingsResponse(
            default_environment_name=DEFAULT_ENVIRONMENT,
            image_builder_version=self._faults.image_builder,
        )

    async def WorkspaceBillingRates(self, _request: Any, _caller: str) -> Any:
        return pb.WorkspaceBillingRatesResponse(rates=RATES)

    async def WorkspaceBillingReport(self, request: Any, _caller: str) -> Any:
        """The rows that a test put into `faults.billed`; a token without the right sees none."""
        if self._faults.billed is None:
            raise GRPCError(Status.PERMISSION_DENIED, "only owners may see the billing report")
        for day, app, usd in self._faults.billed:
            item = pb.WorkspaceBillingReportItem(
                object_id="ap-billed", description=app, environment_name="main", cost=usd
            )
            item.interval.FromDatetime(day)
            if item.interval.ToSeconds() >= request.start_timestamp.ToSeconds():
                yield item

    async def EnvironmentGetOrCreate(self, request: Any, _caller: str) -> Any:
        name = self._state.environment(request.deployment_name)
        settings = pb.EnvironmentSettings(image_builder_version=self._faults.image_builder)
        return pb.EnvironmentGetOrCreateResponse(
            environment_id=f"en-{name}",
            metadata=pb.EnvironmentMetadata(name=name, settings=settings),
        )

    async def EnvironmentList(self, _request: Empty, _caller: str) -> Any:
        items = [
            pb.EnvironmentListItem(name=name, environment_id=f"en-{name}")
            for name in sorted(self._state.environments)
        ]
        return pb.EnvironmentListResponse(items=items)
