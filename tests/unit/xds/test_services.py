from __future__ import annotations

import pytest

from xds import schema
from xds.errors import ProtocolError, SchemaError
from xds.services import DELTA_ADS, SERVICES, SOTW_ADS
from xds.snapshot import CLUSTER, ENDPOINTS
from xds.sotw import SotwStream
from xds.stream import DeltaStream

ENDPOINT_SERVICE = "/envoy.service.endpoint.v3.EndpointDiscoveryService"


def a_request(service: str, **fields: object) -> bytes:
    return schema.encode(schema.new(SERVICES[service].request, **fields))


def test_every_service_speaks_both_protocols() -> None:
    assert isinstance(SERVICES[DELTA_ADS].stream(), DeltaStream)
    assert isinstance(SERVICES[SOTW_ADS].stream(), SotwStream)
    assert isinstance(SERVICES[f"{ENDPOINT_SERVICE}/DeltaEndpoints"].stream(), DeltaStream)
    assert isinstance(SERVICES[f"{ENDPOINT_SERVICE}/StreamEndpoints"].stream(), SotwStream)


def test_a_service_of_one_type_fills_it_in_and_takes_no_other() -> None:
    name = f"{ENDPOINT_SERVICE}/StreamEndpoints"
    assert SERVICES[name].read(a_request(name)).type_url == ENDPOINTS  # type: ignore[attr-defined]
    with pytest.raises(ProtocolError, match="only"):
        SERVICES[name].read(a_request(name, type_url=CLUSTER))
    assert SERVICES[SOTW_ADS].read(a_request(SOTW_ADS, type_url=CLUSTER)).type_url == CLUSTER  # type: ignore[attr-defined]


def test_bytes_that_are_none_are_a_declared_error() -> None:
    with pytest.raises(SchemaError):
        SERVICES[DELTA_ADS].read(b"\xff")
