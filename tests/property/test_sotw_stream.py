"""Any interleaving of offers, names, ACKs, NACKs and reconnects ends with a state-of-the-world client holding the snapshot.

What a response of clusters or listeners does not hold is gone, of other types it holds changes only; a NACK names the
last version that was good; names are said whole in each request; after a reconnect the client says the version it has.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings

from tests.property import stream_sessions
from tests.property.stream_sessions import BAD, WHOLE, Session
from xds import schema
from xds.sotw import SotwStream


class Client(stream_sessions.Client):
    """`version` is the last that was good, `nonce` of the last response of this stream."""

    version = nonce = ""

    def request(self, **fields: object) -> Any:
        return schema.new(
            "envoy.service.discovery.v3.DiscoveryRequest",
            type_url=self.type_url,
            resource_names=sorted(self.names),
            version_info=self.version,
            response_nonce=self.nonce,
            **fields,
        )

    def open(self) -> Any:
        self.nonce = ""
        return self.request()

    def ask(self, *, more: str = "", less: str = "") -> Any:
        return self.request()

    def answer(self) -> Any:
        response = self.inbox.pop(0)
        self.nonce = response.nonce
        found = dict(r.value.decode().split("=") for r in response.resources)
        if BAD in found.values():
            return self.request(error_detail={"code": 13, "message": f"refused: {BAD}"})
        if self.type_url in WHOLE:
            self.held = found
        else:
            self.held.update({name: text for name, text in found.items() if name in self.names})
        self.version = response.version_info
        return self.request()


class SotwSession(Session):
    make_client, make_stream = Client, SotwStream
    response = "envoy.service.discovery.v3.DiscoveryResponse"


SotwSession.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestSotwSession = SotwSession.TestCase
