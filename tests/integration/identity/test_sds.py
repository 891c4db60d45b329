"""SDS in both forms, on a real agent: what an Envoy that asks by name is given."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from agent.sds import DELTA_SECRETS, STREAM_SECRETS
from xds import schema

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
NAMES = ["default", "ROOTCA", "ALL", "spiffe://example.org", "spiffe://example.org/ns/default/sa/orders"]
FORMS = {
    STREAM_SECRETS: ("DiscoveryRequest", "DiscoveryResponse", "resource_names"),
    DELTA_SECRETS: ("DeltaDiscoveryRequest", "DeltaDiscoveryResponse", "resource_names_subscribe"),
}


@pytest.fixture
def agent(control_plane: Any) -> Any:
    control_plane.register("orders")
    one = control_plane.join("one")
    control_plane.until(lambda: one.status.get("identities"), "no identity")
    return one


@pytest.mark.parametrize("method", FORMS)
def test_names_are_answered_and_a_rotation_is_pushed(control_plane: Any, agent: Any, method: str) -> None:
    request_type, response_type, field = FORMS[method]
    asked: queue.Queue[bytes | None] = queue.Queue()

    def say(**fields: object) -> None:
        request = schema.new(f"envoy.service.discovery.v3.{request_type}", type_url=SECRET, **fields)
        asked.put(schema.encode(request))

    def requests() -> Iterator[bytes]:
        while (body := asked.get()) is not None:
            yield body

    def secrets(answer: Any) -> dict[str, Any]:
        bodies = [r.value if method == STREAM_SECRETS else r.resource.value for r in answer.resources]
        found: list[Any] = [schema.decode(SECRET.partition("/")[2], body) for body in bodies]
        return {secret.name: secret for secret in found}

    with grpc.insecure_channel(f"unix://{agent.socket}") as channel:
        call: Any = channel.stream_stream(method)(requests(), timeout=60)
        say(**{field: [*NAMES, "spiffe://example.org/ns/pay/sa/ledger"]})
        first: Any = schema.decode(f"envoy.service.discovery.v3.{response_type}", next(call))
        found = secrets(first)
        assert set(found) == set(NAMES)  # another's name is answered as one that does not exist
        before = found["default"].tls_certificate.certificate_chain.inline_bytes
        held: dict[str, Any] = {field: [*NAMES]} if method == STREAM_SECRETS else {}
        version = {"version_info": first.version_info} if method == STREAM_SECRETS else {}
        say(response_nonce=first.nonce, **held, **version)
        control_plane.register("orders", x509TTL="2h")
        second: Any = schema.decode(f"envoy.service.discovery.v3.{response_type}", next(call))
        assert secrets(second)["default"].tls_certificate.certificate_chain.inline_bytes != before
        asked.put(None)
        call.cancel()
