"""A stream that a real Envoy 1.40 had with us, played again: to the same requests the same responses, at the same points.

What was done to it: an EDS cluster and a listener; the cluster changed (it warms); a bad listener beside a changed good
one (refused); other endpoints; the server restarted (Envoy says what it holds: of a refused response nothing, though
it took the good part); another cluster instead, the old one removed last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from xds import schema
from xds.snapshot import Resource, Snapshot
from xds.stream import DeltaStream

RECORDED = Path(__file__).with_name("envoy-1.40.stream.jsonl")
REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"


def a_request(fields: dict[str, Any]) -> Any:
    message = schema.message_class(REQUEST)()
    return json_format.ParseDict(fields, message, descriptor_pool=schema.pool())


def said(response: Any) -> dict[str, Any]:
    return {
        "event": "response",
        "type": response.type_url,
        "nonce": response.nonce,
        "sent": {r.name: r.version for r in response.resources},
        "removed": sorted(response.removed_resources),
    }


def test_envoys_requests_get_the_responses_they_got() -> None:
    stream, waiting = DeltaStream(), list[dict[str, Any]]()
    responses = refused = 0
    for text in RECORDED.read_text().splitlines():
        event = json.loads(text)
        if event["event"] == "response":
            waiting = waiting or [said(response) for response in stream.pending()]
            assert waiting.pop(0) == event
            responses += 1
            continue
        assert not waiting
        match event["event"]:
            case "open":
                stream = DeltaStream()
            case "offer":
                stream.offer(Snapshot.of(Resource(t, n, b"", v) for t, n, v in event["resources"]))
            case _:
                verdict = stream.receive(a_request(event["message"]))
                assert (type(verdict).__name__ if verdict else None) == event["verdict"]
                refused += event["verdict"] == "Nacked"
    assert stream.is_settled and (responses, refused) == (13, 1)
