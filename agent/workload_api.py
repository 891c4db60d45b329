"""The SPIFFE Workload API, X.509 profile: streams that always carry everything, pushed on every change.

No identity is said at once (PermissionDenied), a state that may pass is Unavailable; InvalidArgument is only
for the missing header, because clients never retry after it.
Source: SPIFFE_Workload_API §5; SPIFFE_Workload_Endpoint §3, §6
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.exceptions import GRPCError

from agent.caller import Sessions
from agent.holdings import Held, Holdings
from agent.socket_server import caller, receive
from agent.workload_schema import SERVICE, message
from ca.bundle import TrustBundle
from ca.keys import key_der

REQUEST_SECONDS: Final = 10.0
_HEADER: Final = "workload.spiffe.io"


class WorkloadApi:
    def __init__(self, holdings: Holdings, sessions: Sessions, stopping: asyncio.Event) -> None:
        self._holdings = holdings
        self._sessions = sessions
        self._stopping = stopping

    def __mapping__(self) -> dict[str, Method]:
        return {
            f"{SERVICE}FetchX509SVID": self._method(svids),
            f"{SERVICE}FetchX509Bundles": self._method(bundles),
        }

    def _method(self, answer: Callable[[list[Held], TrustBundle], bytes]) -> Method:
        async def serve(stream: Any) -> None:
            await self._serve(stream, answer)

        untyped: Any = None  # messages stay bytes
        return Method(serve, Cardinality.UNARY_STREAM, untyped, untyped)

    async def _serve(self, stream: Any, answer: Callable[[list[Held], TrustBundle], bytes]) -> None:
        if stream.metadata.getall(_HEADER, []) != ["true"]:
            raise GRPCError(Status.INVALID_ARGUMENT, f"security header missing: {_HEADER}: true")
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await receive(stream)
        except TimeoutError as error:
            raise GRPCError(Status.DEADLINE_EXCEEDED, "no request came") from error
        wake, sent = asyncio.Event(), b""
        self._holdings.wait(wake)
        try:
            while True:
                if self._stopping.is_set():
                    raise GRPCError(Status.UNAVAILABLE, "the agent is stopping")
                body = self._answer(stream, answer)
                if body != sent:
                    await stream.send_message(body)
                    sent = body
                await wake.wait()
                wake.clear()
        finally:
            self._holdings.stop_waiting(wake)

    def _answer(self, stream: Any, answer: Callable[[list[Held], TrustBundle], bytes]) -> bytes:
        bundle = self._holdings.bundle
        if bundle is None:
            raise GRPCError(Status.UNAVAILABLE, "the agent has not reached the control plane yet")
        selectors = caller(stream).selectors(self._sessions)
        held = self._holdings.of(selectors)
        if not held:
            if self._holdings.knows(selectors):
                raise GRPCError(Status.UNAVAILABLE, "the identity of this process is being issued")
            raise GRPCError(Status.PERMISSION_DENIED, "no identity issued")
        return answer(held, bundle)


def svids(held: list[Held], bundle: TrustBundle) -> bytes:
    roots = b"".join(bundle.x509_authorities)
    hints: set[str] = set()
    response = message("X509SVIDResponse")()
    for one in held:
        hint = "" if one.entry.hint in hints else one.entry.hint  # unique within a response
        hints.add(one.entry.hint)
        response.svids.add(
            spiffe_id=one.entry.spiffe_id,
            x509_svid=b"".join(one.chain),
            x509_svid_key=key_der(one.key),
            bundle=roots,
            hint=hint,
        )
    return response.SerializeToString(deterministic=True)


def bundles(_: list[Held], bundle: TrustBundle) -> bytes:
    response = message("X509BundlesResponse")()
    response.bundles[bundle.trust_domain.id] = b"".join(bundle.x509_authorities)
    return response.SerializeToString(deterministic=True)
