"""Answers as bytes: what is put together from parts is what protobuf would have encoded."""

from __future__ import annotations

import pytest

from xds import schema
from xds.responses import DeltaResponse, SotwResponse
from xds.snapshot import CLUSTER, DELTA_RESPONSE, Resource

SOTW = "envoy.service.discovery.v3.DiscoveryResponse"
SIZES = (0, 1, 127, 128, 16_383, 16_384, 3_000_000)  # where lengths take another byte


@pytest.mark.parametrize("size", SIZES)
def test_a_delta_response_is_what_protobuf_reads_and_writes(size: int) -> None:
    resources = [
        Resource(CLUSTER, name, name[:1].encode() * size, f"v{size}") for name in ("a", "ü", "b" * 200)
    ]
    answer = DeltaResponse(CLUSTER, "1f", "of all", resources, ("gone", "gone too"))
    expected = schema.new(
        DELTA_RESPONSE,
        type_url=CLUSTER,
        nonce="1f",
        system_version_info="of all",
        removed_resources=["gone", "gone too"],
        resources=[
            {"name": r.name, "version": r.version, "resource": {"type_url": CLUSTER, "value": r.body}}
            for r in resources
        ],
    )
    assert schema.decode(DELTA_RESPONSE, answer.encode()) == expected
    assert [len(r.body) for r in resources] == [r.size_bytes for r in resources]


def test_an_empty_delta_response_has_no_resources() -> None:
    expected = schema.new(DELTA_RESPONSE, type_url=CLUSTER, nonce="1", system_version_info="x")
    assert schema.decode(DELTA_RESPONSE, DeltaResponse(CLUSTER, "1", "x", ()).encode()) == expected


def test_a_sotw_response_holds_bodies_alone() -> None:
    answer = SotwResponse(CLUSTER, "1", "v", [Resource(CLUSTER, "a", b"body", "1")])
    expected = schema.new(
        SOTW,
        type_url=CLUSTER,
        nonce="1",
        version_info="v",
        resources=[{"type_url": CLUSTER, "value": b"body"}],
    )
    assert schema.decode(SOTW, answer.encode()) == expected
