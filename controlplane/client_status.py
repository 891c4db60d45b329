"""CSDS on the xDS port (an edge): what every proxy was told and what it said to that, for tools that ask gRPC servers.

Whoever may read proxyconfigs by the API may ask here, by the SVID of the connection: the whole mesh is in the answer.
The status is ours, the server's: SYNCED acknowledged, STALE sent and open, ERROR refused, UNKNOWN not connected here.
Source: envoy.service.status.v3.ClientStatusDiscoveryService; envoy.admin.v3 for the words
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# grpc and upb come without complete types

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import grpc
import structlog

from controlplane.access import Attributes, Caller
from xds import schema
from xds.errors import SchemaError
from xds.ledger import Ledger, ProxyStatus, State
from xds.serve import Peer, methods, peer_of

WANTED: Final = Attributes("get", "pylis.io", "proxyconfigs")
MAX_BYTES: Final = 4 * 1024 * 1024  # what gRPC clients take unless they are told to take more
_SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"
FETCH: Final = f"/{_SERVICE}/FetchClientStatus"
STREAM: Final = f"/{_SERVICE}/StreamClientStatus"
REQUEST: Final = "envoy.service.status.v3.ClientStatusRequest"
RESPONSE: Final = "envoy.service.status.v3.ClientStatusResponse"
_STATUS: Final = {
    State.SYNCED: "SYNCED",
    State.PENDING: "STALE",
    State.NACKED: "SYNCED",  # but for the types it refused
    State.LOST: "UNKNOWN",
}
_TOO_LARGE: Final = (
    "more than 4 MB: name the proxies in node_matchers (node_id), or set exclude_resource_contents"
)

log = structlog.get_logger()


class _AskedWronglyError(Exception):
    """The text says what is wrong with the request."""


class ClientStatus:
    """`caller`: None for a peer that is cut off; `allowed`: may that caller do this?"""

    def __init__(
        self,
        ledger: Ledger,
        caller: Callable[[Peer], Caller | None],
        allowed: Callable[[Caller, Attributes], Awaitable[bool]],
    ) -> None:
        self._ledger = ledger
        self._caller = caller
        self._allowed = allowed

    def handler(self) -> grpc.GenericRpcHandler:
        return methods(
            {
                FETCH: grpc.unary_unary_rpc_method_handler(self._fetch),
                STREAM: grpc.stream_stream_rpc_method_handler(self._stream),
            }
        )

    async def _fetch(self, request: bytes, context: Any) -> bytes:
        await self._admit(context)
        return await self._answer(request, context)

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            await self._admit(context)  # at each request: rights may be taken away while a stream is open
            yield await self._answer(request, context)

    async def _admit(self, context: Any) -> None:
        peer = peer_of(context)
        if peer is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate carries no SPIFFE ID")
            return
        caller = self._caller(peer)
        if caller is None or not await self._allowed(caller, WANTED):
            log.warning("csds.refused", peer=str(peer.identity))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"not allowed: {WANTED}")

    async def _answer(self, request: bytes, context: Any) -> bytes:
        try:
            body = self.response(request)
        except (SchemaError, _AskedWronglyError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise
        if len(body) > MAX_BYTES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_LARGE)
        return body

    def response(self, request: bytes) -> bytes:
        """A ClientStatusResponse. Raises: SchemaError, or another error with what is wrong as text."""
        asked: Any = schema.decode(REQUEST, request)
        matchers = [_matcher(one) for one in asked.node_matchers]
        chosen = (
            s for s in self._ledger.status() if not matchers or any(fits(s.node_id) for fits in matchers)
        )
        contents = not asked.exclude_resource_contents
        configs = [{"node": {"id": s.node_id}, "generic_xds_configs": [*self._resources(s, contents)]} for s in chosen]  # fmt: skip
        return schema.encode(schema.new(RESPONSE, config=configs))

    def _resources(self, status: ProxyStatus, contents: bool) -> Iterator[dict[str, Any]]:
        snapshot, refusals = self._ledger.told(status.node_id), self._ledger.refusals(status.node_id)
        for type_url, names in sorted(snapshot.by_type.items()):
            words = refusals.get(type_url, "") if status.state is State.NACKED else ""
            for name, resource in sorted(names.items()):
                one: dict[str, Any] = {
                    "type_url": type_url, "name": name, "version_info": resource.version,
                    "config_status": "ERROR" if words else _STATUS[status.state],
                }  # fmt: skip
                if words:
                    one["error_state"] = {"details": words}
                if contents:
                    one["xds_config"] = {"type_url": type_url, "value": resource.body}
                yield one


def _matcher(matcher: Any) -> Callable[[str], bool]:
    """Of node ids, as text: a regular expression could be made to take for ever."""
    if matcher.node_metadatas or not matcher.HasField("node_id"):
        raise _AskedWronglyError("node_matchers: match by node_id; nothing else of a node is known here")
    text = matcher.node_id
    kind: str | None = text.WhichOneof("match_pattern")
    if kind not in ("exact", "prefix", "suffix", "contains"):
        raise _AskedWronglyError("node_matchers: match node_id by exact, prefix, suffix or contains")
    fold: Callable[[str], str] = str.lower if text.ignore_case else str
    wanted = fold(getattr(text, kind))
    match kind:
        case "exact":
            return lambda node_id: fold(node_id) == wanted
        case "prefix":
            return lambda node_id: fold(node_id).startswith(wanted)
        case "suffix":
            return lambda node_id: fold(node_id).endswith(wanted)
        case _:
            return lambda node_id: wanted in fold(node_id)
