"""The state-of-the-world stream's table, row by row. Each test names the paragraph of the protocol's text it checks.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from typing import Any

import pytest

from xds import schema
from xds.errors import ProtocolError
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, Snapshot
from xds.sotw import SotwStream
from xds.stream import Acked, Nacked

REQUEST = "envoy.service.discovery.v3.DiscoveryRequest"


def a_snapshot(*resources: tuple[str, str, str]) -> Snapshot:
    return Snapshot.of(Resource(t, n, f"{n}@{v}".encode(), v) for t, n, v in resources)


def ask(type_url: str, *names: str, **fields: object) -> Any:
    return schema.new(REQUEST, type_url=type_url, resource_names=list(names), **fields)


def ack(response: Any, *names: str) -> Any:
    return ask(response.type_url, *names, response_nonce=response.nonce, version_info=response.version_info)


def nack(response: Any, words: str, *names: str) -> Any:
    error = {"code": 13, "message": words}
    return ask(response.type_url, *names, response_nonce=response.nonce, error_detail=error)


def only(stream: SotwStream) -> Any:
    (response,) = stream.pending()
    return response


def sent(response: Any) -> list[str]:
    return [resource.body.decode() for resource in response.resources]


def a_stream(*resources: tuple[str, str, str], first: Any = None) -> SotwStream:
    stream = SotwStream()
    stream.receive(first or ask(CLUSTER))
    stream.offer(a_snapshot(*resources))
    return stream


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_no_names_at_first_is_a_wildcard_for_clusters_and_listeners(type_url: str) -> None:
    """How the client specifies what resources to return: "a legacy form of wildcard"."""
    stream = a_stream((type_url, "a", "1"), (type_url, "b", "1"), first=ask(type_url))
    assert sent(only(stream)) == ["a@1", "b@1"]


def test_no_names_after_names_is_no_wildcard() -> None:
    """The same: "if the client has ever subscribed to a name, an empty list is an unsubscription"."""
    stream = a_stream((LISTENER, "a", "1"), (LISTENER, "b", "1"), first=ask(LISTENER, "a"))
    response = only(stream)
    assert sent(response) == ["a@1"]
    stream.receive(ack(response))
    assert sent(only(stream)) == []


def test_clusters_and_listeners_are_sent_whole() -> None:
    """Grouping resources into responses: LDS and CDS must contain all subscribed resources."""
    stream = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "1"))
    stream.receive(ack(only(stream)))
    stream.offer(a_snapshot((CLUSTER, "a", "1"), (CLUSTER, "b", "2")))
    assert sent(only(stream)) == ["a@1", "b@2"]


def test_other_types_are_sent_where_they_changed() -> None:
    """The same: "it is not necessary to provide every requested resource"."""
    first = ask(ENDPOINTS, "a", "b")
    stream = a_stream((ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1"), first=first)
    stream.receive(ack(only(stream), "a", "b"))
    stream.offer(a_snapshot((ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "2")))
    assert sent(only(stream)) == ["b@2"]


def test_what_is_gone_is_absent_from_a_whole_answer() -> None:
    """Deleting resources: "the absence of a resource means that it has been deleted"."""
    stream = a_stream((LISTENER, "a", "1"), first=ask(LISTENER, "a"))
    stream.receive(ack(only(stream), "a"))
    stream.offer(a_snapshot())
    assert sent(only(stream)) == []


def test_an_ack_settles_and_nothing_is_sent_again() -> None:
    """ACK and NACK."""
    stream = a_stream((CLUSTER, "a", "1"))
    response = only(stream)
    assert stream.pending() == [] and not stream.is_settled
    assert stream.receive(ack(response)) == Acked(CLUSTER, response.nonce)
    assert stream.is_settled and stream.pending() == []


def test_a_nack_keeps_the_last_good_and_waits_for_another_content() -> None:
    """ACK and NACK: the server must not send the same again."""
    stream = a_stream((LISTENER, "a", "1"), first=ask(LISTENER, "a"))
    response = only(stream)
    assert stream.receive(nack(response, "no", "a")) == Nacked(LISTENER, response.nonce, "no")
    assert stream.pending() == [] and stream.is_settled
    assert stream.refused == {LISTENER: ("a",)}
    stream.offer(a_snapshot((LISTENER, "a", "2")))
    stream.receive(ack(only(stream), "a"))
    assert stream.refused == {}


def test_a_request_with_an_old_nonce_is_ignored() -> None:
    """Resource updates: "the server should not respond to a request with a stale nonce"."""
    stream = a_stream((ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1"), first=ask(ENDPOINTS, "a"))
    first = only(stream)
    stream.receive(ack(first, "a"))
    stream.offer(a_snapshot((ENDPOINTS, "a", "2"), (ENDPOINTS, "b", "1")))
    second = only(stream)
    assert stream.receive(ack(first, "a", "b")) is None
    assert stream.pending() == []
    stream.receive(ack(second, "a", "b"))
    assert sent(only(stream)) == ["b@1"]


def test_more_names_are_sent_though_no_version_changed() -> None:
    """When to send an update: a change of the subscription is answered."""
    stream = a_stream((ROUTES, "a", "1"), (ROUTES, "b", "1"), first=ask(ROUTES, "a"))
    response = only(stream)
    stream.receive(ack(response, "a"))
    stream.receive(ack(response, "a", "b"))
    assert sent(only(stream)) == ["b@1"]


def test_a_name_dropped_and_asked_for_again_is_sent_again() -> None:
    """Unsubscribing from resources: the client may have dropped it."""
    stream = a_stream((ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1"), first=ask(ENDPOINTS, "a", "b"))
    response = only(stream)
    stream.receive(ack(response, "a", "b"))
    stream.receive(ack(response, "a"))
    assert stream.pending() == []
    stream.receive(ack(response, "a", "b"))
    assert sent(only(stream)) == ["b@1"]


def test_a_reconnect_with_the_current_version_is_sent_nothing() -> None:
    """Resource versions: a version_info from a previous stream is believed when it is current."""
    stream = a_stream((CLUSTER, "a", "1"))
    version = only(stream).version_info
    again = a_stream((CLUSTER, "a", "1"), first=ask(CLUSTER, version_info=version))
    assert again.pending() == [] and again.is_settled
    older = a_stream((CLUSTER, "a", "2"), first=ask(CLUSTER, version_info=version))
    assert sent(only(older)) == ["a@2"]


def test_a_name_dropped_and_asked_for_again_on_another_stream_is_sent_again() -> None:
    """Unsubscribing from resources: nothing is answered to it, so that the client's version_info stays what it was."""
    endpoints = (ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1")
    stream = a_stream(*endpoints, first=ask(ENDPOINTS, "a", "b"))
    response = only(stream)
    stream.receive(ack(response, "a", "b"))
    stream.receive(ack(response, "a"))
    assert stream.pending() == []
    again = a_stream(*endpoints, first=ask(ENDPOINTS, "a", "b", version_info=response.version_info))
    assert "b@1" in sent(only(again))


def test_equal_state_has_equal_versions_on_every_server() -> None:
    one = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "1"))
    other = a_stream((CLUSTER, "b", "1"), (CLUSTER, "a", "1"))
    assert only(one).version_info == only(other).version_info


def test_a_cluster_goes_after_the_routes_that_used_it() -> None:
    """Eventual consistency considerations: make before break."""
    stream = SotwStream()
    stream.receive(ask(CLUSTER))
    stream.receive(ask(ROUTES, "r"))
    stream.offer(a_snapshot((CLUSTER, "old", "1"), (ROUTES, "r", "1")))
    clusters, routes = stream.pending()
    stream.receive(ack(clusters))
    stream.receive(ack(routes, "r"))
    stream.offer(a_snapshot((CLUSTER, "new", "1"), (ROUTES, "r", "2")))
    clusters, routes = stream.pending()
    assert sorted(sent(clusters)) == ["new@1", "old@1"]
    stream.receive(ack(clusters))
    assert stream.pending() == []
    stream.receive(ack(routes, "r"))
    assert sent(only(stream)) == ["new@1"]


def test_an_unknown_type_and_names_without_end_break_the_protocol() -> None:
    with pytest.raises(ProtocolError, match="not served"):
        SotwStream().receive(ask("type.googleapis.com/envoy.config.trace.v3.Tracing"))
    with pytest.raises(ProtocolError, match="names"):
        SotwStream().receive(ask(ENDPOINTS, *(f"n{i}" for i in range(20_001))))


def test_a_changed_cluster_takes_its_endpoints_along() -> None:
    """Resource warming: "completed only when a new ClusterLoadAssignment response is supplied … even if there is no change"."""
    endpoints = (ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1")
    stream = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "1"), *endpoints)
    stream.receive(ack(only(stream)))
    stream.receive(ask(ENDPOINTS, "a", "b"))
    stream.receive(ack(only(stream), "a", "b"))
    assert stream.is_settled
    stream.offer(a_snapshot((CLUSTER, "a", "2"), (CLUSTER, "b", "1"), *endpoints))
    clusters, again = stream.pending()
    assert (sent(clusters), sent(again)) == (["a@2", "b@1"], ["a@1"])
    stream.receive(ack(again, "a", "b"))
    assert not stream.is_settled
    stream.receive(ack(clusters))
    assert stream.is_settled and stream.pending() == []


def test_a_cluster_that_changes_while_its_endpoints_are_open_takes_them_along_later() -> None:
    """The same; ACK/NACK: one response of a type is open at a time."""
    stream = a_stream((CLUSTER, "a", "1"), (ENDPOINTS, "a", "1"))
    stream.receive(ack(only(stream)))
    stream.receive(ask(ENDPOINTS, "a"))
    first = only(stream)
    stream.offer(a_snapshot((CLUSTER, "a", "2"), (ENDPOINTS, "a", "1")))
    clusters = only(stream)
    stream.receive(ack(first, "a"))
    assert not stream.is_settled
    assert sent(only(stream)) == ["a@1"]
    assert sent(clusters) == ["a@2"]


def test_a_client_that_is_back_keeps_its_clusters_until_it_has_said_what_its_listeners_are() -> None:
    """Eventual consistency considerations: stale clusters "can be removed" when nothing references them any more."""
    before = (CLUSTER, "old", "1"), (LISTENER, "l", "1")
    version = only(a_stream(*before)).version_info
    stream = a_stream(*before, first=ask(CLUSTER, version_info=version))
    assert stream.pending() == [] and not stream.is_settled
    stream.offer(a_snapshot((CLUSTER, "new", "1"), (LISTENER, "l", "2")))
    clusters = only(stream)
    assert sorted(sent(clusters)) == ["new@1", "old@1"]
    stream.receive(ack(clusters))
    stream.receive(ask(LISTENER))
    listeners = only(stream)
    stream.receive(ack(listeners))
    assert sent(only(stream)) == ["new@1"]
