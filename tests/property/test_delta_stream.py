"""Any interleaving of offers, names, ACKs, NACKs and reconnects ends with a delta client holding the snapshot.

The client applies or refuses what it is sent, and after a reconnect says what it holds.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis.stateful import rule

from tests.property import stream_sessions
from tests.property.stream_sessions import BAD, WHOLE, Session, types
from xds import schema
from xds.snapshot import ROUTES
from xds.stream import DeltaStream


class Client(stream_sessions.Client):
    def request(self, **fields: object) -> Any:
        name = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
        return schema.new(name, type_url=self.type_url, **fields)

    def open(self) -> Any:
        return self.request(
            resource_names_subscribe=sorted(self.names), initial_resource_versions=dict(self.held)
        )

    def ask(self, *, more: str = "", less: str = "") -> Any:
        fields = {"resource_names_subscribe": more, "resource_names_unsubscribe": less}
        return self.request(**{field: [name] for field, name in fields.items() if name})

    def answer(self) -> Any:
        response = self.inbox.pop(0)
        if any(resource.version == BAD for resource in response.resources):
            error = {"code": 13, "message": f"refused: {BAD}"}
            return self.request(response_nonce=response.nonce, error_detail=error)
        for resource in response.resources:
            if self.type_url in WHOLE or resource.name in self.names:
                assert resource.resource.value == f"{resource.name}={resource.version}".encode()
                self.held[resource.name] = resource.version
        for name in response.removed_resources:
            self.held.pop(name, None)
        return self.request(response_nonce=response.nonce)


class DeltaSession(Session):
    make_client, make_stream = Client, DeltaStream
    response = "envoy.service.discovery.v3.DeltaDiscoveryResponse"

    @rule(type_url=types)
    def stale_answer(self, type_url: str) -> None:
        client = self.clients[type_url]
        if client.opened and isinstance(client, Client):
            self.stream.receive(client.request(response_nonce="of another life"))

    def check(self, client: stream_sessions.Client) -> None:
        super().check(client)
        if client.type_url == ROUTES:  # the client drops what no listener of its names any more
            assert set(client.held) <= client.names
        elif not self.stream.refused:
            assert set(client.held) <= set(self.snapshot.resources(client.type_url))


DeltaSession.TestCase.settings = settings(max_examples=250, stateful_step_count=40)
TestDeltaSession = DeltaSession.TestCase
