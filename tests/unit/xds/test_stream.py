"""The delta stream's table, row by row; that any interleaving converges is in tests/property.

Each test of the protocol names the paragraph it checks; what names none is our own.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.xds.delta_client import a_snapshot, a_stream, ack, ask, nack, only, pending, sent
from xds import schema
from xds.errors import ProtocolError
from xds.snapshot import (
    CLUSTER,
    DELTA_RESPONSE,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    ROUTES,
    RUNTIME,
)
from xds.stream import Acked, DeltaStream, Nacked


def test_nothing_is_sent_before_a_snapshot_is_offered() -> None:
    """ACK/NACK: "may reply either immediately or when the requested resources are available"."""
    stream = DeltaStream()
    stream.receive(ask(CLUSTER))
    assert pending(stream) == []
    assert not stream.is_settled


def test_nothing_is_sent_of_a_type_nobody_asked_for() -> None:
    """Basic Protocol Overview: a response holds "resources that the client has subscribed to"."""
    stream = a_stream((LISTENER, "l", "1"), (CLUSTER, "a", "1"))
    assert [response.type_url for response in pending(stream)] == [CLUSTER]


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_a_first_request_without_names_is_a_wildcard_for_clusters_and_listeners(type_url: str) -> None:
    """How the client specifies what resources to return: "has never explicitly subscribed to any resource names"."""
    stream = a_stream((type_url, "a", "1"), (type_url, "b", "2"), first=ask(type_url))
    assert sent(only(stream)) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("type_url", [ENDPOINTS, ROUTES, EXTENSION])
def test_other_types_have_no_silent_wildcard(type_url: str) -> None:
    """The same: the wildcard subscription is there "for Listener and Cluster resource types"."""
    stream = a_stream((type_url, "a", "1"), first=ask(type_url))
    assert pending(stream) == []


def test_an_explicit_star_is_a_wildcard_for_any_type() -> None:
    """The same: "triggered when subscribing to the special name *"."""
    stream = a_stream((ENDPOINTS, "a", "1"), first=ask(ENDPOINTS, "*"))
    assert sent(only(stream)) == {"a": "1"}


def test_names_are_sent_and_others_are_not() -> None:
    """The same: "must supply the requested resources if they exist"."""
    stream = a_stream((ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1"), first=ask(ENDPOINTS, "a"))
    assert sent(only(stream)) == {"a": "1"}


def test_a_response_carries_the_resource_as_an_any_with_its_version() -> None:
    """Incremental xDS: resources with a name and a version of their own; ACK/NACK: system_version_info."""
    response = only(a_stream((CLUSTER, "a", "7")))
    (resource,) = schema.decode(DELTA_RESPONSE, response.encode()).resources  # type: ignore[attr-defined]
    assert (resource.resource.type_url, resource.resource.value) == (CLUSTER, b"a@7")
    assert resource.version == "7"
    assert response.nonce
    assert response.system_version_info == a_snapshot((CLUSTER, "a", "7")).version_of(CLUSTER)


def test_pending_without_news_is_empty() -> None:
    """When to send an update: "only … when the resources … have changed"."""
    stream = a_stream((CLUSTER, "a", "1"))
    assert len(pending(stream)) == 1
    assert pending(stream) == []


def test_an_ack_settles_the_stream() -> None:
    """ACK and NACK semantics summary: ACK "signifies successful configuration update"."""
    stream = a_stream((CLUSTER, "a", "1"))
    response = only(stream)
    assert not stream.is_settled
    assert stream.receive(ack(response)) == Acked(CLUSTER, response.nonce)
    assert stream.is_settled
    assert pending(stream) == []


def test_only_what_changed_is_sent_again() -> None:
    """Grouping Resources into Responses: "a response containing only the changed resource"."""
    stream = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "1"))
    stream.receive(ack(only(stream)))
    stream.offer(a_snapshot((CLUSTER, "a", "1"), (CLUSTER, "b", "2")))
    assert sent(only(stream)) == {"b": "2"}


def test_what_left_the_snapshot_is_removed() -> None:
    """Deleting Resources: "via the removed_resources field of the response"."""
    stream = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "1"))
    stream.receive(ack(only(stream)))
    stream.offer(a_snapshot((CLUSTER, "a", "1")))
    response = only(stream)
    assert list(response.removed_resources) == ["b"]
    assert sent(response) == {}


def test_one_answer_of_a_type_is_open_at_a_time_and_the_newest_snapshot_wins() -> None:
    """When to send an update: "does not need to send an update until it determines a new version is available"."""
    stream = a_stream((CLUSTER, "a", "1"))
    first = only(stream)
    stream.offer(a_snapshot((CLUSTER, "a", "2")))
    stream.offer(a_snapshot((CLUSTER, "a", "3")))
    assert pending(stream) == []
    stream.receive(ack(first))
    assert sent(only(stream)) == {"a": "3"}


def test_nonces_differ() -> None:
    """Basic Protocol Overview: the nonce tells "which response a given request is associated with"."""
    stream = a_stream((CLUSTER, "a", "1"))
    first = only(stream)
    stream.receive(ack(first))
    stream.offer(a_snapshot((CLUSTER, "a", "2")))
    assert only(stream).nonce != first.nonce


def test_a_stale_nonce_settles_nothing_but_its_names_count() -> None:
    """Resource updates: a nonce becomes stale; Incremental xDS: a subscription may be changed at any time."""
    stream = a_stream((ENDPOINTS, "a", "1"), (ENDPOINTS, "b", "1"), first=ask(ENDPOINTS, "a"))
    response = only(stream)
    assert stream.receive(ask(ENDPOINTS, "b", response_nonce="older")) is None
    assert pending(stream) == []
    stream.receive(ack(response))
    assert sent(only(stream)) == {"b": "1"}


def test_a_nack_keeps_the_clients_words_and_is_not_answered_by_the_same_again() -> None:
    """NACK: error_detail; When to send an update: the same again is "needless work"."""
    stream = a_stream((LISTENER, "bad", "1"), first=ask(LISTENER))
    response = only(stream)
    assert stream.receive(nack(response, "no such filter")) == Nacked(
        LISTENER, response.nonce, "no such filter"
    )
    assert pending(stream) == []
    assert stream.refused == {LISTENER: ("bad",)}
    assert stream.is_settled


def test_a_refused_resource_is_sent_when_its_content_changes() -> None:
    """NACK: "After a NACK, an API update may succeed at a new version Y"."""
    stream = a_stream((LISTENER, "bad", "1"), first=ask(LISTENER))
    stream.receive(nack(only(stream), "no"))
    stream.offer(a_snapshot((LISTENER, "bad", "2")))
    response = only(stream)
    assert sent(response) == {"bad": "2"}
    stream.receive(ack(response))
    assert stream.refused == {}


def test_a_name_that_does_not_exist_is_answered_once_as_removed() -> None:
    """Knowing When a Requested Resource Does Not Exist: in incremental xDS the server says so by removed_resources."""
    stream = a_stream(first=ask(ENDPOINTS, "ghost"))
    response = only(stream)
    assert list(response.removed_resources) == ["ghost"]
    stream.receive(ack(response))
    assert pending(stream) == []


def test_a_name_that_comes_into_being_later_is_sent() -> None:
    """The same: "if one of those resources springs into existence later, the server must send an update"."""
    stream = a_stream(first=ask(ENDPOINTS, "late"))
    stream.receive(ack(only(stream)))
    stream.offer(a_snapshot((ENDPOINTS, "late", "1")))
    assert sent(only(stream)) == {"late": "1"}


def test_unsubscribed_names_are_not_sent_any_more() -> None:
    """Unsubscribing From Resources: "via the resource_names_unsubscribe field"."""
    stream = a_stream((ENDPOINTS, "a", "1"), first=ask(ENDPOINTS, "a"))
    stream.receive(ack(only(stream)))
    stream.receive(ask(ENDPOINTS, drop=("a",)))
    stream.offer(a_snapshot((ENDPOINTS, "a", "2")))
    assert pending(stream) == []


def test_a_wildcard_can_be_given_up() -> None:
    """Unsubscribing From Resources: "it can only unsubscribe from the wildcard as a whole"."""
    stream = a_stream((CLUSTER, "a", "1"), first=ask(CLUSTER, "*"))
    stream.receive(ack(only(stream)))
    stream.receive(ask(CLUSTER, drop=("*",)))
    stream.offer(a_snapshot((CLUSTER, "a", "2")))
    assert pending(stream) == []


def test_a_name_subscribed_to_again_is_sent_again() -> None:
    """How the client specifies what resources to return: "must resend any newly requested resources, even if … not changed"."""
    # Envoy does this when a cluster warms anew: it has dropped the endpoints
    stream = a_stream((ENDPOINTS, "a", "1"), first=ask(ENDPOINTS, "a"))
    stream.receive(ack(only(stream)))
    stream.receive(ask(ENDPOINTS, "a"))
    assert sent(only(stream)) == {"a": "1"}


def test_what_a_reconnecting_client_holds_is_not_sent_again() -> None:
    """Incremental xDS: initial_resource_versions, by which a new stream need not send what is held."""
    first = ask(CLUSTER, initial_resource_versions={"a": "1", "b": "1", "c": "1"})
    stream = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "2"), first=first)
    response = only(stream)
    assert (sent(response), list(response.removed_resources)) == ({"b": "2"}, [])
    stream.receive(ack(response))
    stream.drains.end(stream.drains.begun)  # a listener that used c may have gone just before
    assert list(only(stream).removed_resources) == ["c"]


def test_a_reconnecting_client_that_holds_all_is_told_nothing() -> None:
    """The same; ACK/NACK: "by not resending resources that the client had already seen on the previous stream"."""
    first = ask(CLUSTER, initial_resource_versions={"a": "1"})
    stream = a_stream((CLUSTER, "a", "1"), first=first)
    assert pending(stream) == []
    assert stream.is_settled


def test_initial_versions_count_only_for_names_the_client_asks_for() -> None:
    """The same: "only if … the client is not subscribing to a new resource"."""
    first = ask(ENDPOINTS, "a", initial_resource_versions={"a": "1", "other": "1"})
    stream = a_stream((ENDPOINTS, "a", "1"), first=first)
    assert pending(stream) == []


def test_an_unknown_type_breaks_the_protocol() -> None:
    """Resource Types: a stream is about types that are served."""
    with pytest.raises(ProtocolError, match="not served"):
        DeltaStream().receive(ask("type.googleapis.com/envoy.config.trace.v3.Tracing"))


def test_a_client_cannot_make_the_server_remember_names_without_end() -> None:
    with pytest.raises(ProtocolError, match="names"):
        DeltaStream().receive(ask(ENDPOINTS, *(f"n{i}" for i in range(20_001))))


def test_the_first_answer_to_a_wildcard_comes_even_when_it_is_empty() -> None:
    """Knowing When a Requested Resource Does Not Exist: a client waits 15 seconds for what it has not been told."""
    # Envoy asks for listeners only after its clusters were answered
    stream = a_stream()
    response = only(stream)
    assert (response.type_url, sent(response), list(response.removed_resources)) == (CLUSTER, {}, [])
    stream.receive(ack(response))
    assert pending(stream) == []


def test_an_ack_may_ask_again_for_what_it_dropped() -> None:
    """Resource updates: names may change in the request that "ACK/NACKs a specific DiscoveryResponse"."""
    stream = a_stream((ENDPOINTS, "a", "1"), first=ask(ENDPOINTS, "a"))
    stream.receive(ack(only(stream), "a"))
    assert sent(only(stream)) == {"a": "1"}


def test_an_ack_may_unsubscribe_what_it_acknowledges() -> None:
    """The same, and Unsubscribing From Resources."""
    stream = a_stream((ENDPOINTS, "a", "1"), first=ask(ENDPOINTS, "a"))
    stream.receive(ack(only(stream), drop=("a",)))
    assert pending(stream) == []
    stream.receive(ask(ENDPOINTS, "a"))
    assert sent(only(stream)) == {"a": "1"}


def test_a_name_asked_for_beside_a_wildcard_is_sent_again() -> None:
    """How the client specifies what resources to return: "continuing the existing subscription to * and adding a new subscription to A"."""
    stream = a_stream((CLUSTER, "a", "1"))
    stream.receive(ack(only(stream)))
    stream.receive(ask(CLUSTER, "a"))
    assert sent(only(stream)) == {"a": "1"}


def test_going_back_after_a_refusal_is_sent_for_the_client_may_have_taken_it() -> None:
    """ACK and NACK semantics summary: after a NACK the version in use "may not be an older version"."""
    # Envoy takes the good resources of a response it refuses
    stream = a_stream((LISTENER, "l", "1"), first=ask(LISTENER))
    stream.receive(ack(only(stream)))
    stream.offer(a_snapshot((LISTENER, "l", "2"), (LISTENER, "bad", "1")))
    stream.receive(nack(only(stream), "bad is bad"))
    stream.offer(a_snapshot((LISTENER, "l", "1")))
    response = only(stream)
    assert (sent(response), list(response.removed_resources)) == ({"l": "1"}, ["bad"])


def test_a_refused_removal_is_not_sent_for_ever() -> None:
    """When to send an update: the same again "could have a severe performance impact"."""
    stream = a_stream((CLUSTER, "a", "1"))
    stream.receive(ack(only(stream)))
    stream.offer(a_snapshot())
    stream.receive(nack(only(stream), "in use"))
    assert pending(stream) == []


def test_it_is_not_settled_before_every_offered_type_was_asked_for() -> None:
    """Aggregated Discovery Service: types are asked for one after another on one stream."""
    stream = a_stream((CLUSTER, "a", "1"), (LISTENER, "l", "1"))
    stream.receive(ack(only(stream)))
    assert not stream.is_settled
    stream.receive(ask(LISTENER))
    stream.receive(ack(only(stream)))
    assert stream.is_settled


def test_a_client_that_never_asks_for_the_runtime_is_settled_without_it() -> None:
    stream = a_stream((CLUSTER, "a", "1"), (RUNTIME, "pylis", "1"))
    stream.receive(ack(only(stream)))
    assert stream.is_settled
    stream.receive(ask(RUNTIME, "pylis"))
    assert not stream.is_settled
    assert sent(only(stream)) == {"pylis": "1"}


def test_a_wildcard_of_old_goes_on_beside_a_name_until_it_is_given_up() -> None:
    """How the client specifies what resources to return: the example "in incremental", step by step."""
    stream = a_stream((CLUSTER, "a", "1"), (CLUSTER, "b", "1"), first=ask(CLUSTER))
    stream.receive(ack(only(stream)))
    stream.receive(ask(CLUSTER, "a"))  # continues "*" and adds a
    response = only(stream)
    assert sent(response) == {"a": "1"}
    stream.receive(ack(response))
    stream.receive(ask(CLUSTER, drop=("*",)))  # continues a
    stream.offer(a_snapshot((CLUSTER, "a", "2"), (CLUSTER, "b", "2")))
    response = only(stream)
    assert sent(response) == {"a": "2"}
    stream.receive(ack(response))
    stream.receive(ask(CLUSTER, drop=("a",)))  # nothing is left, and that is no wildcard
    stream.offer(a_snapshot((CLUSTER, "a", "3"), (CLUSTER, "b", "3")))
    assert pending(stream) == []


def test_no_resource_carries_a_time_to_live() -> None:
    """TTL: "the last known configuration received by Envoy will persist"; so there are no heartbeats to miss."""
    stream = a_stream((CLUSTER, "a", "1"), (LISTENER, "l", "1"))
    stream.receive(ask(LISTENER))
    answers = pending(stream)
    assert [r.type_url for r in answers] == [CLUSTER, LISTENER]
    decoded: list[Any] = [schema.decode(DELTA_RESPONSE, answer.encode()) for answer in answers]
    assert not any(resource.HasField("ttl") for answer in decoded for resource in answer.resources)


def test_a_node_that_changes_on_an_open_stream_changes_nothing() -> None:
    """Basic Protocol Overview: "It is sufficient to only check the first message for the node identifier"."""
    stream = a_stream((CLUSTER, "a", "1"))
    stream.receive(ack(only(stream)))
    stream.receive(ask(CLUSTER, node={"id": "bank/vault", "metadata": {"fields": {}}}))
    assert pending(stream) == []
    assert stream.is_settled
