"""Envoy's secrets: SDS, on the agent's socket. A caller is given what its own process is registered for.

    name                                   secret
    default                                the caller's first identity
    each of its SPIFFE IDs                 that identity
    ROOTCA, the trust domain's ID          the bundle of this trust domain
    a foreign trust domain's ID            its bundle, if one of the caller's identities federates with it
    ALL                                    all of these bundles

Bundles are given to Envoy's SPIFFE validator, each under its trust domain: an authority of one never vouches for
another, which a list of roots could not say.

A name that is not the caller's is answered as one that does not exist. The bundle changes here before a
certificate that needs it is asked for, so it is pushed first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.exceptions import GRPCError

from agent.holdings import Held, Holdings
from agent.socket_server import caller, receive
from agent.workload_attestation import WorkloadAttestation
from ca.bundle import TrustBundle
from ca.issue import chain_pem
from ca.keys import key_pem
from xds import names, schema
from xds.errors import ProtocolError, SchemaError
from xds.snapshot import Resource, Snapshot
from xds.sotw import SotwStream
from xds.stream import DeltaStream

_SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name
_DELTA_REQUEST: Final = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_REQUEST: Final = "envoy.service.discovery.v3.DiscoveryRequest"
_CONTEXT: Final = "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext"
_VALIDATOR: Final = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
_MAX_WAITING: Final = 16  # requests read ahead; a client that sends more waits
DELTA_SECRETS: Final = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
STREAM_SECRETS: Final = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"


class SecretService:
    def __init__(self, holdings: Holdings, attestation: WorkloadAttestation, stopping: asyncio.Event) -> None:
        self._holdings = holdings
        self._attestation = attestation
        self._stopping = stopping

    def __mapping__(self) -> dict[str, Method]:
        untyped: Any = None  # messages stay bytes
        served = {DELTA_SECRETS: self._delta, STREAM_SECRETS: self._whole}
        return {
            path: Method(serve, Cardinality.STREAM_STREAM, untyped, untyped) for path, serve in served.items()
        }

    async def _delta(self, stream: Any) -> None:
        await self._serve(stream, DeltaStream(), _DELTA_REQUEST)

    async def _whole(self, stream: Any) -> None:
        """State of the world: for Envoys that are configured so."""
        await self._serve(stream, SotwStream(), _REQUEST)

    async def _serve(self, stream: Any, machine: DeltaStream | SotwStream, request_type: str) -> None:
        wake, inbox = asyncio.Event(), asyncio.Queue[bytes](_MAX_WAITING)
        reader = asyncio.ensure_future(_read(stream, inbox, wake))
        reader.add_done_callback(lambda _: wake.set())
        self._holdings.wait(wake)
        follower = self._holdings.follow()
        offered, sequence = -1, 0
        asked, given = False, None
        try:
            while True:
                if self._stopping.is_set():
                    raise GRPCError(Status.UNAVAILABLE, "the agent is stopping")
                if offered != self._holdings.version:
                    offered = self._holdings.version
                    sequence = self._holdings.bundle.sequence if self._holdings.bundle else 0
                    granted = await self._granted(stream)
                    if granted is not None and granted != given:
                        machine.offer(snapshot(*granted))
                        given = granted
                while not inbox.empty():
                    asked = True
                    try:
                        machine.receive(schema.decode(request_type, inbox.get_nowait()))
                    except (SchemaError, ProtocolError) as error:
                        raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
                for response in machine.pending():
                    await stream.send_message(response.encode())
                if machine.is_settled or not (
                    asked and given is not None
                ):  # who holds nothing holds nobody up
                    self._holdings.believes(follower, sequence)
                if reader.done() and inbox.empty():
                    reader.result()
                    return
                await wake.wait()
                wake.clear()
        finally:
            self._holdings.stop_waiting(wake)
            self._holdings.forget(follower)
            reader.cancel()

    async def _granted(self, stream: Any) -> tuple[list[Held], TrustBundle, list[TrustBundle]] | None:
        """What the caller may have; None while the agent does not know yet: Envoy waits. Raises: GRPCError for a stranger."""
        if not self._holdings.is_initialised or self._holdings.bundle is None:
            return None
        bundle = self._holdings.bundle
        selectors = await self._attestation.selectors(caller(stream))
        held = self._holdings.of(selectors)
        if not held:
            if self._holdings.knows(selectors):
                return None
            raise GRPCError(Status.PERMISSION_DENIED, "no identity is registered for this process")
        return held, bundle, self._holdings.federated_of(held)


def snapshot(held: list[Held], bundle: TrustBundle, federated: Sequence[TrustBundle] = ()) -> Snapshot:
    believed = [(one.trust_domain.id, [one]) for one in (bundle, *federated)]
    believed += [(names.OWN_BUNDLE_SECRET, [bundle]), (names.BUNDLE_SECRET, [bundle, *federated])]
    secrets: list[tuple[str, dict[str, Any]]] = [
        (name, {"validation_context": _validation(bundles)}) for name, bundles in believed
    ]
    for name, one in [(names.SVID_SECRET, held[0]), *((h.entry.spiffe_id, h) for h in held)]:
        certificate = {
            "certificate_chain": {"inline_bytes": chain_pem(one.chain).encode()},
            "private_key": {"inline_bytes": key_pem(one.key)},
        }
        secrets.append((name, {"tls_certificate": certificate}))
    unique = dict(secrets)
    return Snapshot.of(Resource.of(n, schema.new(_SECRET, name=n, **body)) for n, body in unique.items())


def _validation(bundles: Sequence[TrustBundle]) -> Message:
    """A trust domain whose bundle is empty is left out: nothing of it is believed."""
    config = schema.new(
        _VALIDATOR,
        trust_domains=[
            {"name": one.trust_domain.name, "trust_bundle": {"inline_bytes": one.to_pem().encode()}}
            for one in bundles
            if one.x509_authorities
        ],
    )
    return schema.new(
        _CONTEXT,
        custom_validator_config={
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": schema.pack(config),
        },
    )


async def _read(stream: Any, inbox: asyncio.Queue[bytes], wake: asyncio.Event) -> None:
    while (body := await receive(stream)) is not None:
        await inbox.put(body)
        wake.set()
