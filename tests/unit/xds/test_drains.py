"""What a listener that was changed or removed may still use stays while its connections drain, in both protocols.

"Make before break": https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.xds import delta_client as delta
from tests.unit.xds import test_sotw as sotw
from xds.drains import Drains
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, Snapshot
from xds.sotw import SotwStream
from xds.stream import DeltaStream


def test_what_is_to_go_waits_for_the_drains_that_were_there_when_it_was_asked_of_first() -> None:
    drains = Drains()
    assert drains.parted(CLUSTER, ["a"]) == {"a"}
    drains.begin()
    assert drains.parted(CLUSTER, ["b"]) == set()
    drains.begin()
    assert drains.parted(CLUSTER, ["b", "c"]) == set()
    drains.end(1)
    assert drains.is_under_way
    assert drains.parted(CLUSTER, ["b", "c"]) == {"b"}
    drains.offered(Snapshot.of([Resource(CLUSTER, "b", b"", "1")]))
    assert drains.parted(CLUSTER, ["b", "c"]) == set()  # it was back in the meantime
    drains.end(2)
    assert not drains.is_under_way
    assert drains.parted(CLUSTER, ["b", "c"]) == {"b", "c"}


OLD, NEW = (CLUSTER, "old", "1"), (CLUSTER, "new", "1")
LISTENS, OTHERWISE = (LISTENER, "l", "1"), (LISTENER, "l", "2")


class Delta:
    """A client that acknowledges all it hears, and what it holds of clusters."""

    def __init__(self, *types: str) -> None:
        self.stream: Any = DeltaStream()
        self.clusters = set[str]()
        for type_url in types or (CLUSTER, LISTENER):
            self.stream.receive(self.open(type_url))

    def open(self, type_url: str) -> Any:
        return delta.ask(type_url)

    def offer(self, *resources: tuple[str, str, str]) -> set[str]:
        self.stream.offer(delta.a_snapshot(*resources))
        return self.hear()

    def drained(self, drain: int) -> set[str]:
        self.stream.drains.end(drain)
        return self.hear()

    def hear(self) -> set[str]:
        """The clusters it holds when there is no more to hear."""
        while responses := self.stream.pending():
            for response in responses:
                self.take(response)
        assert self.stream.is_settled
        return set(self.clusters)

    def take(self, response: Any) -> None:
        if response.type_url == CLUSTER:
            self.clusters |= delta.sent(response).keys()
            self.clusters -= set(response.removed_resources)
        self.stream.receive(delta.ack(response))


class Sotw(Delta):
    def __init__(self) -> None:
        super().__init__()
        self.stream = SotwStream()
        for type_url in (CLUSTER, LISTENER):
            self.stream.receive(sotw.ask(type_url))

    def take(self, response: Any) -> None:
        if response.type_url == CLUSTER:
            self.clusters = {one.name for one in response.resources}
        self.stream.receive(sotw.ack(response))


both = pytest.mark.parametrize("client", [Delta, Sotw])
Make = Callable[[], Delta]


@both
@pytest.mark.parametrize("later", [(OTHERWISE,), ()])
def test_the_clusters_of_a_listener_that_is_changed_or_removed_go_when_it_has_drained(
    client: Make, later: tuple[tuple[str, str, str], ...]
) -> None:
    one = client()
    assert one.offer(OLD, LISTENS) == {"old"}
    assert not one.stream.drains.is_under_way
    assert one.offer(NEW, *later) == {"old", "new"}
    assert one.stream.drains.is_under_way
    assert one.drained(one.stream.drains.begun) == {"new"}
    assert not one.stream.drains.is_under_way


@both
def test_where_no_listener_drains_nothing_waits(client: Make) -> None:
    one = client()
    one.offer(OLD, LISTENS)
    assert one.offer(NEW, LISTENS, (LISTENER, "another", "1")) == {"new"}


@both
def test_what_is_to_go_waits_for_the_drain_before_it_not_for_all_that_follow(client: Make) -> None:
    one = client()
    one.offer(OLD, NEW, LISTENS)
    one.offer(NEW, OTHERWISE)
    first = one.stream.drains.begun
    assert one.offer((LISTENER, "l", "3")) == {"old", "new"}
    assert one.drained(first) == {"new"}
    assert one.drained(one.stream.drains.begun) == set()


@both
def test_what_is_back_and_goes_again_waits_anew(client: Make) -> None:
    one = client()
    one.offer(OLD, LISTENS)
    one.offer(OTHERWISE)
    first = one.stream.drains.begun
    one.offer(OLD, OTHERWISE)
    assert one.offer((LISTENER, "l", "3")) == {"old"}
    assert one.drained(first) == {"old"}
    assert one.drained(one.stream.drains.begun) == set()


def test_endpoints_go_with_their_cluster() -> None:
    one = Delta()
    one.stream.receive(delta.ask(ENDPOINTS, "old"))
    one.offer(OLD, (ENDPOINTS, "old", "1"), LISTENS)
    assert one.offer(OTHERWISE) == {"old"}
    one.stream.drains.end(one.stream.drains.begun)
    gone = {r.type_url: list(r.removed_resources) for r in one.stream.pending()}
    assert gone == {CLUSTER: ["old"], ENDPOINTS: ["old"]}


def test_a_client_that_is_back_may_have_a_listener_that_drains() -> None:
    one = Delta(LISTENER)
    one.stream.receive(delta.ask(CLUSTER, initial_resource_versions={"old": "1"}))
    one.clusters = {"old"}
    assert one.offer() == {"old"}
    assert one.drained(one.stream.drains.begun) == set()
