"""In which order a delta stream tells types, what waits for what, and what takes what along: make before break.

Each test of the protocol names the paragraph it checks; what names none is our own.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.xds.delta_client import a_snapshot, a_stream, ack, ask, nack, only, pending, sent
from xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    ROUTES,
)
from xds.stream import DeltaStream


def test_a_refusal_does_not_hold_up_other_names_or_types() -> None:
    """ACK/NACK: "each resource type has its own version even though all … are being sent on the same stream"."""
    stream = a_stream((LISTENER, "bad", "1"), first=ask(LISTENER))
    stream.receive(nack(only(stream), "no"))
    stream.receive(ask(CLUSTER))
    stream.offer(a_snapshot((LISTENER, "bad", "1"), (LISTENER, "good", "1"), (CLUSTER, "a", "1")))
    assert [(r.type_url, sent(r)) for r in pending(stream)] == [
        (CLUSTER, {"a": "1"}),
        (LISTENER, {"good": "1"}),
    ]


def test_responses_come_in_the_order_that_makes_before_it_breaks() -> None:
    """Eventual consistency considerations: CDS, EDS, LDS, RDS; "make before break"."""
    types = (ROUTES, LISTENER, EXTENSION, ENDPOINTS, CLUSTER)
    stream = DeltaStream()
    for type_url in types:
        stream.receive(ask(type_url, "*"))
    stream.offer(a_snapshot(*((type_url, "x", "1") for type_url in types)))
    first = pending(stream)
    assert [response.type_url for response in first] == [CLUSTER, ENDPOINTS, EXTENSION, ROUTES]
    stream.receive(ack(first[2]))
    assert only(stream).type_url == LISTENER


@pytest.mark.parametrize("verdict", [ack, lambda response: nack(response, "no")])
def test_policy_is_taken_in_before_listeners_change(verdict: Any) -> None:
    stream = DeltaStream()
    for type_url in (LISTENER, EXTENSION):
        stream.receive(ask(type_url, "*"))
    stream.offer(a_snapshot((LISTENER, "l", "1"), (EXTENSION, "e", "1")))
    response = only(stream)
    assert response.type_url == EXTENSION
    assert not stream.is_settled
    stream.receive(verdict(response))
    assert only(stream).type_url == LISTENER


def test_a_listener_does_not_wait_for_edits_of_policy_without_end() -> None:
    stream = DeltaStream()
    for type_url in (LISTENER, EXTENSION):
        stream.receive(ask(type_url, "*"))
    stream.offer(a_snapshot((LISTENER, "l", "1"), (EXTENSION, "e", "1")))
    first = only(stream)
    stream.offer(a_snapshot((LISTENER, "l", "1"), (EXTENSION, "e", "2")))
    assert pending(stream) == []
    stream.receive(ack(first))
    policy, listener = pending(stream)
    assert (sent(policy), sent(listener)) == ({"e": "2"}, {"l": "1"})
    # the next one waits again: for the policy that is on its way now
    stream.receive(ack(listener))
    stream.offer(a_snapshot((LISTENER, "l", "2"), (EXTENSION, "e", "2")))
    assert pending(stream) == []
    stream.receive(ack(policy))
    assert sent(only(stream)) == {"l": "2"}


def test_a_listener_waits_for_nobody_who_has_no_extensions() -> None:
    stream = DeltaStream()
    stream.receive(ask(LISTENER))
    stream.offer(a_snapshot((LISTENER, "l", "1"), (EXTENSION, "e", "1")))
    assert only(stream).type_url == LISTENER


def test_a_cluster_is_removed_only_after_routes_stopped_using_it() -> None:
    """Eventual consistency considerations: "Stale CDS clusters … can then be removed"."""
    stream = DeltaStream()
    for type_url in (CLUSTER, ROUTES):
        stream.receive(ask(type_url, "*"))
    stream.offer(a_snapshot((CLUSTER, "old", "1"), (ROUTES, "r", "1")))
    for response in pending(stream):
        stream.receive(ack(response))
    stream.offer(a_snapshot((CLUSTER, "new", "1"), (ROUTES, "r", "2")))
    clusters, routes = pending(stream)
    assert (sent(clusters), list(clusters.removed_resources)) == ({"new": "1"}, [])
    stream.receive(ack(clusters))
    assert pending(stream) == []
    stream.receive(ack(routes))
    assert list(only(stream).removed_resources) == ["old"]


def test_a_cluster_stays_while_the_last_good_listener_may_use_it() -> None:
    """Eventual consistency considerations, with a NACK between: what is still referenced is not stale."""
    stream = DeltaStream()
    for type_url in (CLUSTER, LISTENER):
        stream.receive(ask(type_url))
    stream.offer(a_snapshot((CLUSTER, "old", "1"), (LISTENER, "l", "1")))
    for response in pending(stream):
        stream.receive(ack(response))
    stream.offer(a_snapshot((CLUSTER, "new", "1"), (LISTENER, "l", "bad")))
    clusters, listeners = pending(stream)
    stream.receive(ack(clusters))
    stream.receive(nack(listeners, "no"))
    assert pending(stream) == []
    assert stream.is_settled  # there is nothing more to say: its state is refused, not pending
    stream.offer(a_snapshot((CLUSTER, "new", "1"), (LISTENER, "l", "3")))
    stream.receive(ack(only(stream)))
    stream.drains.end(stream.drains.begun)
    assert list(only(stream).removed_resources) == ["old"]


def test_a_changed_cluster_takes_its_endpoints_along() -> None:
    """Resource warming: "completed only when a new ClusterLoadAssignment response is supplied … even though there is no change"."""
    # it warms until endpoints come, and Envoy does not ask for them anew
    endpoints = (ENDPOINTS, "a", "1")
    stream = DeltaStream()
    stream.receive(ask(CLUSTER))
    stream.receive(ask(ENDPOINTS, "a"))
    stream.offer(a_snapshot((CLUSTER, "a", "1"), (CLUSTER, "b", "1"), endpoints))
    for response in pending(stream):
        stream.receive(ack(response))
    stream.offer(a_snapshot((CLUSTER, "a", "2"), (CLUSTER, "b", "2"), endpoints))
    clusters, again = pending(stream)
    assert (sent(clusters), sent(again)) == ({"a": "2", "b": "2"}, {"a": "1"})
    stream.receive(ack(clusters))
    stream.receive(ack(again))
    assert pending(stream) == []


def test_a_cluster_changed_while_its_endpoints_are_open_takes_them_along_later() -> None:
    """Resource warming: the same, later."""
    stream = DeltaStream()
    stream.receive(ask(CLUSTER))
    stream.receive(ask(ENDPOINTS, "a"))
    stream.offer(a_snapshot((CLUSTER, "a", "1"), (ENDPOINTS, "a", "1")))
    clusters, endpoints = pending(stream)
    stream.receive(ack(clusters))
    stream.offer(a_snapshot((CLUSTER, "a", "2"), (ENDPOINTS, "a", "1")))
    assert sent(only(stream)) == {"a": "2"}
    stream.receive(ack(endpoints))
    assert sent(only(stream)) == {"a": "1"}


@pytest.mark.parametrize("type_url", [EXTENSION, ROUTES])
def test_what_a_draining_listener_may_still_use_is_not_removed(type_url: str) -> None:
    """Deleting Resources: children go "implicitly by parent resources being changed"."""
    # Envoy answers 500 on live connections when an extension's configuration is taken away
    stream = DeltaStream()
    stream.receive(ask(LISTENER))
    stream.receive(ask(type_url, "used"))
    stream.offer(a_snapshot((LISTENER, "l", "1"), (type_url, "used", "1")))
    while responses := pending(stream):
        for response in responses:
            stream.receive(ack(response))
    stream.offer(a_snapshot())
    response = only(stream)
    assert (response.type_url, list(response.removed_resources)) == (LISTENER, ["l"])
    stream.receive(ack(response))
    assert stream.is_settled
    stream.receive(ask(type_url, drop=("used",)))
    stream.receive(ask(type_url, "used"))
    assert list(only(stream).removed_resources) == ["used"]


def test_other_endpoints_are_told_by_endpoints_alone() -> None:
    """Grouping Resources into Responses, and Resource warming: nothing warms for it."""
    stream = a_stream((CLUSTER, "a", "1"), (ENDPOINTS, "a", "1"), (LISTENER, "l", "1"))
    for first in (ask(ENDPOINTS, "a"), ask(LISTENER)):
        stream.receive(first)
    for response in pending(stream):
        stream.receive(ack(response))
    stream.offer(a_snapshot((CLUSTER, "a", "1"), (ENDPOINTS, "a", "2"), (LISTENER, "l", "1")))
    response = only(stream)
    assert (response.type_url, sent(response)) == (ENDPOINTS, {"a": "2"})


def test_an_extension_is_told_by_itself_to_those_who_asked_for_it() -> None:
    """Grouping Resources into Responses, for ECDS: no listener moves with it."""
    stream = a_stream((LISTENER, "l", "1"), (EXTENSION, "rbac:a", "1"), (EXTENSION, "rbac:b", "1"))
    for first in (ask(LISTENER), ask(EXTENSION, "rbac:a")):
        stream.receive(first)
    for response in pending(stream):
        stream.receive(ack(response))
    for response in pending(stream):
        stream.receive(ack(response))
    stream.offer(a_snapshot((LISTENER, "l", "1"), (EXTENSION, "rbac:a", "2"), (EXTENSION, "rbac:b", "2")))
    response = only(stream)
    assert (response.type_url, sent(response)) == (EXTENSION, {"rbac:a": "2"})


def test_a_client_that_is_back_keeps_its_clusters_until_it_has_said_what_its_listeners_are() -> None:
    """Eventual consistency considerations: stale clusters "can be removed" when nothing references them any more."""
    now = (CLUSTER, "new", "1"), (LISTENER, "l", "2")
    stream = a_stream(*now, first=ask(CLUSTER, initial_resource_versions={"old": "1"}))
    clusters = only(stream)
    assert (sent(clusters), list(clusters.removed_resources)) == ({"new": "1"}, [])
    stream.receive(ack(clusters))
    assert pending(stream) == []
    stream.receive(ask(LISTENER, initial_resource_versions={"l": "1"}))
    listeners = only(stream)
    stream.receive(ack(listeners))
    stream.drains.end(stream.drains.begun)
    assert list(only(stream).removed_resources) == ["old"]
