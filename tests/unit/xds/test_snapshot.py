from __future__ import annotations

import pytest

from xds import schema
from xds.errors import SnapshotError
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, Snapshot


def a_cluster(name: str, **fields: object) -> Resource:
    return Resource.of(name, schema.new("envoy.config.cluster.v3.Cluster", name=name, **fields))


def test_a_resource_is_named_typed_and_versioned_by_its_content() -> None:
    one, same, other = a_cluster("a"), a_cluster("a"), a_cluster("a", alt_stat_name="b")
    assert one.type_url == CLUSTER
    assert one == same
    assert one.version != other.version
    assert len(one.version) == 16


def test_a_resources_repr_does_not_show_its_body() -> None:
    assert "body" not in repr(a_cluster("a"))


def test_resources_are_found_by_type() -> None:
    snapshot = Snapshot.of([a_cluster("a"), a_cluster("b")])
    assert list(snapshot.resources(CLUSTER)) == ["a", "b"]
    assert snapshot.resources(LISTENER) == {}


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(SnapshotError, match="'a' stands twice"):
        Snapshot.of([a_cluster("a"), a_cluster("a", alt_stat_name="b")])


def test_the_version_depends_on_content_not_on_order() -> None:
    a, b = a_cluster("a"), a_cluster("b")
    assert Snapshot.of([a, b]).version == Snapshot.of([b, a]).version
    assert Snapshot.of([a]).version != Snapshot.of([a, b]).version
    assert Snapshot.of([a]).version != Snapshot().version


def test_size_is_that_of_all_bodies() -> None:
    a, b = a_cluster("a"), a_cluster("b")
    assert Snapshot.of([a, b]).size_bytes == len(a.body) + len(b.body)
    assert Snapshot().size_bytes == 0


def test_a_type_that_is_as_it_was_is_shared_with_the_snapshot_before() -> None:
    a, b, c = (Resource(CLUSTER, n, b"", "1") for n in "abc")
    endpoints = Resource(ENDPOINTS, "a", b"", "1")
    before = Snapshot.of([a, b, endpoints])
    after = Snapshot.of([a, c, Resource(ENDPOINTS, "a", b"", "1")], before)
    assert after.resources(ENDPOINTS) is before.resources(ENDPOINTS)
    assert after == Snapshot.of([a, c, endpoints])
