"""Streams that a real Envoy 1.40 had with us, played again: to the same requests the same responses, at the same points.

By either protocol. What was done to it: an EDS cluster and a listener; the cluster changed (it warms); a bad listener beside a changed good
one (refused); other endpoints; the server restarted (Envoy says what it holds: of a refused response nothing, though
it took the good part), and what drained at it has ended; another cluster instead, the old one removed last.
State of the world: a response holds all clusters, so that the old one stays in it until nothing can use it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from xds import schema
from xds.snapshot import Resource, Snapshot
from xds.sotw import SotwStream
from xds.stream import DeltaStream

HERE = Path(__file__).parent
DELTA, SOTW = "DeltaDiscoveryRequest", "DiscoveryRequest"


def a_request(name: str, fields: dict[str, Any]) -> Any:
    message = schema.message_class(f"envoy.service.discovery.v3.{name}")()
    return json_format.ParseDict(fields, message, descriptor_pool=schema.pool())


def said(response: Any) -> dict[str, Any]:
    return {
        "event": "response",
        "type": response.type_url,
        "nonce": response.nonce,
        "sent": {r.name: r.version for r in response.resources},
        "removed": sorted(response.removed_resources),
    }


def said_whole(response: Any) -> dict[str, Any]:
    return {
        "event": "response",
        "type": response.type_url,
        "nonce": response.nonce,
        "version": response.version_info,
        "sent": {r.name: r.version for r in response.resources},
    }


@pytest.mark.parametrize(
    ("file", "make", "request_name", "shown", "counts"),
    [
        ("envoy-1.40.stream.jsonl", DeltaStream, DELTA, said, (13, 1)),
        ("envoy-1.40.sotw.jsonl", SotwStream, SOTW, said_whole, (12, 1)),
    ],
    ids=["delta", "sotw"],
)
def test_envoys_requests_get_the_responses_they_got(
    file: str,
    make: Callable[[], Any],
    request_name: str,
    shown: Callable[[Any], dict[str, Any]],
    counts: tuple[int, int],
) -> None:
    stream, waiting = make(), list[dict[str, Any]]()
    responses = refused = 0
    for text in (HERE / file).read_text().splitlines():
        event = json.loads(text)
        if event["event"] == "response":
            waiting = waiting or [shown(response) for response in stream.pending()]
            assert waiting.pop(0) == event
            responses += 1
            continue
        assert not waiting
        match event["event"]:
            case "open":
                stream = make()
            case "drained":
                stream.drains.end(stream.drains.begun)
            case "offer":
                stream.offer(Snapshot.of(Resource(t, n, b"", v) for t, n, v in event["resources"]))
            case _:
                verdict = stream.receive(a_request(request_name, event["message"]))
                assert (type(verdict).__name__ if verdict else None) == event["verdict"]
                refused += event["verdict"] == "Nacked"
    assert stream.is_settled and (responses, refused) == counts
