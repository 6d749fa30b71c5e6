"""Routes each remote procedure to the service that has a method of its name."""

import inspect
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from grpclib import GRPCError, Status
from grpclib.server import Stream
from modal_proto import api_grpc

from tests.modal_plane.rpcs import CLIENT, Rpc, RpcLog, Rule, Rules
from tests.modal_plane.state import State

LOGGER = logging.getLogger(__name__)
PROCEDURES = frozenset(api_grpc.ModalClientBase.__abstractmethods__)
# A client without a token may ask for one.
ANONYMOUS = frozenset({"TokenFlowCreate", "TokenFlowWait"})
REMEMBERED_REPLIES = 2000

Handler = Callable[[Any, str], Any]


class Router:
    """Handlers by procedure name, the log, the rules, and the check of credentials."""

    def __init__(self, state: State, services: Iterable[object], log: RpcLog, rules: Rules) -> None:
        self._state, self._log, self._rules = state, log, rules
        self._handlers: dict[str, Handler] = {
            name: getattr(service, name)
            for service in services
            for name in PROCEDURES
            if hasattr(service, name)
        }
        self._replies: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def endpoint(self, caller: str) -> Any:
        """A servicer for one way in: the clients' port, or one container's socket."""
        methods = {name: _method(self, name, caller) for name in PROCEDURES}
        return type("Endpoint", (api_grpc.ModalClientBase,), methods)()

    async def handle(self, name: str, caller: str, stream: "Stream[Any, Any]") -> None:
        """Serves one call; what nobody implements is refused loudly."""
        request = await stream.recv_message()
        entry = Rpc(name=name, caller=caller, request=request)
        self._log.add(entry)
        handler = self._handlers.get(name)
        if handler is None:
            self._log.unimplemented.append(name)
            LOGGER.error("the local control plane lacks %s (asked by %s)", name, caller)
            raise GRPCError(Status.UNIMPLEMENTED, f"the local control plane lacks {name}")
        metadata = dict(stream.metadata or {})
        if caller == CLIENT and name not in ANONYMOUS:
            self._check_token(metadata)
        rule = await self._rules.apply(entry)
        if inspect.isasyncgenfunction(handler):
            await _stream_reply(handler(request, caller), stream)
        else:
            await self._reply(handler, entry, rule, metadata, stream)

    def _check_token(self, metadata: dict[str, Any]) -> None:
        token_id = metadata.get("x-modal-token-id", "")
        secret = self._state.tokens.get(token_id)
        if secret is None or secret != metadata.get("x-modal-token-secret"):
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or invalid")

    async def _reply(
        self,
        handler: Handler,
        entry: Rpc,
        rule: Rule | None,
        metadata: dict[str, Any],
        stream: "Stream[Any, Any]",
    ) -> None:
        """Answers once; a retry of an answered call gets the same answer, as idempotency asks."""
        key = (entry.name, str(metadata.get("x-idempotency-key", "")))
        if key[1] and key in self._replies:
            reply = self._replies[key]
        else:
            reply = await handler(entry.request, entry.caller)
            self._remember(key, reply)
        if rule is not None and rule.after is not None:
            rule.after(entry.request, reply)
        await stream.send_message(reply)

    def _remember(self, key: tuple[str, str], reply: Any) -> None:
        if key[1]:
            self._replies[key] = reply
            if len(self._replies) > REMEMBERED_REPLIES:
                self._replies.popitem(last=False)


def _method(router: Router, name: str, caller: str) -> Any:
    async def method(_self: object, stream: "Stream[Any, Any]") -> None:
        await router.handle(name, caller, stream)

    return method


async def _stream_reply(replies: "AsyncIterator[Any]", stream: "Stream[Any, Any]") -> None:
    sent = False
    async for reply in replies:
        await stream.send_message(reply)
        sent = True
    if not sent:
        await stream.send_initial_metadata()
