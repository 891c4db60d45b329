"""The SPIFFE Workload API, X.509 and JWT profiles: streams that always carry everything, pushed on every change.

No identity is said at once (PermissionDenied), a state that may pass is Unavailable; InvalidArgument is only
for the missing header and for what the caller's own request lacks, because clients never retry after it.

    FetchX509SVID, FetchX509Bundles, FetchJWTBundles    streams
    FetchJWTSVID, ValidateJWTSVID                       one answer
    everything of the WIT profile                       Unimplemented
Source: SPIFFE_Workload_API §4 to §6; SPIFFE_Workload_Endpoint §3, §6
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf import struct_pb2
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.exceptions import GRPCError

from agent.holdings import Held, Holdings
from agent.link import TokenRefusedError, TokenUnavailableError
from agent.socket_server import caller, receive
from agent.tokens import Tokens
from agent.workload_attestation import WorkloadAttestation
from agent.workload_schema import SERVICE, message
from ca import jwt_svid
from ca.bundle import TrustBundle
from ca.errors import JwtError, SpiffeIdError
from ca.keys import key_der
from ca.spiffe_id import SpiffeId

REQUEST_SECONDS: Final = 10.0
LEEWAY: Final = timedelta(seconds=5)  # for clocks that run a little apart
_HEADER: Final = "workload.spiffe.io"


@dataclass(frozen=True, slots=True)
class Known:
    """What a caller may be told: its identities, the bundle of its trust domain, foreign ones it federates with."""

    held: tuple[Held, ...]
    bundle: TrustBundle
    federated: tuple[TrustBundle, ...] = ()


class WorkloadApi:
    def __init__(
        self, holdings: Holdings, attestation: WorkloadAttestation, tokens: Tokens, stopping: asyncio.Event
    ) -> None:
        self._holdings = holdings
        self._attestation = attestation
        self._tokens = tokens
        self._stopping = stopping

    def __mapping__(self) -> dict[str, Method]:
        untyped: Any = None  # messages stay bytes
        streams = {
            "FetchX509SVID": svids,
            "FetchX509Bundles": bundles,
            "FetchJWTBundles": jwt_bundles,
        }
        found = {
            f"{SERVICE}{name}": Method(self._stream(answer), Cardinality.UNARY_STREAM, untyped, untyped)
            for name, answer in streams.items()
        }
        for name, serve in (("FetchJWTSVID", self._jwt_svids), ("ValidateJWTSVID", self._validate)):
            found[f"{SERVICE}{name}"] = Method(serve, Cardinality.UNARY_UNARY, untyped, untyped)
        return found

    def _stream(self, answer: Callable[[Known], bytes]) -> Callable[[Any], Any]:
        async def serve(stream: Any) -> None:
            await _request(stream)
            wake, sent = asyncio.Event(), b""
            self._holdings.wait(wake)
            try:
                while True:
                    if self._stopping.is_set():
                        raise GRPCError(Status.UNAVAILABLE, "the agent is stopping")
                    body = answer(await self._known(stream))
                    if body != sent:
                        await stream.send_message(body)
                        sent = body
                    await wake.wait()
                    wake.clear()
            finally:
                self._holdings.stop_waiting(wake)

        return serve

    async def _jwt_svids(self, stream: Any) -> None:
        request = _decode("JWTSVIDRequest", await _request(stream))
        audience = tuple(request.audience)
        if problems := jwt_svid.audience_problems(audience):
            raise GRPCError(Status.INVALID_ARGUMENT, "; ".join(problems))
        known = await self._known(stream)
        held = _chosen(known.held, request.spiffe_id)
        response = message("JWTSVIDResponse")()
        for one, hint in _hinted(held):
            try:
                token = await self._tokens.get(one.entry, audience)
            except TokenRefusedError as error:
                raise GRPCError(Status.PERMISSION_DENIED, str(error)) from error
            except TokenUnavailableError as error:
                raise GRPCError(Status.UNAVAILABLE, str(error)) from error
            response.svids.add(spiffe_id=one.entry.spiffe_id, svid=token, hint=hint)
        await stream.send_message(response.SerializeToString())

    async def _validate(self, stream: Any) -> None:
        """A token of somebody who is cut off is as good as none."""
        request = _decode("ValidateJWTSVIDRequest", await _request(stream))
        if not request.audience or not request.svid:
            raise GRPCError(Status.INVALID_ARGUMENT, "audience and svid are required")
        known = await self._known(stream)
        believed = {one.trust_domain: one for one in (known.bundle, *known.federated)}
        now = datetime.now(UTC)
        try:
            identity, claims = jwt_svid.validate(request.svid, believed, [request.audience], now, LEEWAY)
        except JwtError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        if str(identity) in self._holdings.cut_off:
            raise GRPCError(Status.INVALID_ARGUMENT, "quarantine: its identity is cut off")
        response = message("ValidateJWTSVIDResponse")(spiffe_id=str(identity))
        response.claims = _struct(claims)
        await stream.send_message(response.SerializeToString())

    async def _known(self, stream: Any) -> Known:
        """Raises: GRPCError: no identity (PermissionDenied), or none yet (Unavailable)."""
        if self._holdings.bundle is None:
            raise GRPCError(Status.UNAVAILABLE, "the agent has not reached the control plane yet")
        selectors = await self._attestation.selectors(caller(stream))
        held, bundle = self._holdings.of(selectors), self._holdings.bundle
        if not held:
            if self._holdings.knows(selectors):
                raise GRPCError(Status.UNAVAILABLE, "the identity of this process is being issued")
            raise GRPCError(Status.PERMISSION_DENIED, "no identity issued")
        return Known(tuple(held), bundle, tuple(self._holdings.federated_of(held)))


async def _request(stream: Any) -> bytes:
    """The header first, whoever asks. Raises: GRPCError."""
    if stream.metadata.getall(_HEADER, []) != ["true"]:
        raise GRPCError(Status.INVALID_ARGUMENT, f"security header missing: {_HEADER}: true")
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await receive(stream) or b""
    except TimeoutError as error:
        raise GRPCError(Status.DEADLINE_EXCEEDED, "no request came") from error


def _decode(name: str, body: bytes) -> Any:
    try:
        return message(name).FromString(body)
    except Exception as error:  # protobuf's own class differs between its implementations
        raise GRPCError(Status.INVALID_ARGUMENT, f"no {name}") from error


def _chosen(held: Iterable[Held], wanted: str) -> list[Held]:
    """All, or those of one SPIFFE ID. Raises: GRPCError."""
    if not wanted:
        return list(held)
    try:
        identity = str(SpiffeId.parse(wanted))
    except SpiffeIdError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, f"spiffe_id: {error}") from error
    found = [one for one in held if one.entry.spiffe_id == identity]
    if not found:
        raise GRPCError(Status.PERMISSION_DENIED, "this identity is not the caller's")
    return found[:1]


def _hinted(held: Iterable[Held]) -> list[tuple[Held, str]]:
    """Hints are unique within a response: the first keeps it."""
    seen: set[str] = set()
    found: list[tuple[Held, str]] = []
    for one in held:
        found.append((one, "" if one.entry.hint in seen else one.entry.hint))
        seen.add(one.entry.hint)
    return found


def svids(known: Known) -> bytes:
    response = message("X509SVIDResponse")()
    for one, hint in _hinted(known.held):
        response.svids.add(
            spiffe_id=one.entry.spiffe_id,
            x509_svid=b"".join(one.chain),
            x509_svid_key=key_der(one.key),
            bundle=b"".join(known.bundle.x509_authorities),
            hint=hint,
        )
    for foreign in known.federated:
        response.federated_bundles[foreign.trust_domain.id] = b"".join(foreign.x509_authorities)
    return response.SerializeToString(deterministic=True)


def bundles(known: Known) -> bytes:
    response = message("X509BundlesResponse")()
    for one in (known.bundle, *known.federated):
        response.bundles[one.trust_domain.id] = b"".join(one.x509_authorities)
    return response.SerializeToString(deterministic=True)


def jwt_bundles(known: Known) -> bytes:
    """Keys for JWT-SVIDs alone, as JWK sets."""
    response = message("JWTBundlesResponse")()
    for one in (known.bundle, *known.federated):
        response.bundles[one.trust_domain.id] = json.dumps(one.to_jwks(), separators=(",", ":")).encode()
    return response.SerializeToString(deterministic=True)


def _struct(claims: Any) -> bytes:
    found = struct_pb2.Struct()
    found.update(claims)
    return found.SerializeToString()
