"""Witnesses are requests that can arrive: paths stay as they are, addresses are there, lists hold texts."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from policies.attributes import Attribute, Key
from policies.normalize import normalize
from policies.predicate import Condition, Exact, Glob, Network, Prefix, Suffix, Template, Value
from policies.program import Protocol
from policies.request import Request
from policies.space import Choice, a_request, apply, partition
from policies.workload import MeshSettings, PathNormalization

MESH = MeshSettings("td")


def requests(
    attribute: Attribute, *values: Value, mesh: MeshSettings = MESH, name: str = ""
) -> list[Request]:
    (dimension,) = partition([Condition(Key(attribute, name), values)], mesh, Protocol.HTTP)
    return [apply(a_request(Protocol.HTTP), [choice]) for choice in dimension.choices]


@pytest.mark.parametrize("mode", list(PathNormalization))
def test_paths_are_normalised_already(mode: PathNormalization) -> None:
    mesh = MeshSettings("td", path_normalization=mode)
    values = (
        Template("/{**}/x"),
        Prefix("/a/."),
        Suffix("/.."),
        Prefix("/a//"),
        Exact("/a%2Fb"),
        Template("/{*}/b"),
    )
    found = [request.path for request in requests(Attribute.PATH, *values, mesh=mesh)]
    assert found
    assert all(normalize(path, mode) == path for path in found)


def test_callers_are_of_the_mesh_where_one_will_do() -> None:
    found = [r.principal for r in requests(Attribute.NAMESPACE, Exact("a"), Glob("b*c"))]
    assert found[0] is None
    assert all(str(principal).startswith("td/ns/") for principal in found[1:4])


def test_addresses_between_the_ends_of_networks() -> None:
    networks = (Network(ip_network("10.0.0.0/8")), Network(ip_network("10.1.0.0/16")))
    found = {str(r.source_ip) for r in requests(Attribute.SOURCE_IP, *networks)}
    assert {"10.0.0.0", "10.1.0.0", "10.2.0.0", "11.0.0.0"} <= found


def test_a_header_may_be_absent_or_empty() -> None:
    found = [r.headers.get("x") for r in requests(Attribute.HEADER, Exact("1"), name="x")]
    assert {None, "", "1"} <= {*found}


def test_choices_add_up() -> None:
    choices = [
        Choice({"method": "PUT"}),
        Choice(headers={"a": "1"}),
        Choice(headers={"b": "2"}),
        Choice(claims=((("x", "y"), ["1"]),)),
        Choice(claims=((("x", "z"), ["2"]),)),
    ]
    found = apply(a_request(Protocol.HTTP), choices)
    assert (found.method, found.headers) == ("PUT", {"a": "1", "b": "2"})
    assert found.claims == {"x": {"y": ["1"], "z": ["2"]}}
