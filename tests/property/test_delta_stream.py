"""Any interleaving of offers, names, ACKs, NACKs and reconnects ends with the client holding the snapshot.

The client is a model of a delta xDS client, written from the protocol's text and not from our server: it
applies or refuses what it is sent, and after a reconnect says what it holds.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xds import schema
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, Snapshot
from xds.stream import DeltaStream

WILDCARD = (CLUSTER, LISTENER)
NAMED = (ENDPOINTS, ROUTES)
TYPES = (*WILDCARD, *NAMED)
NAMES = ("a", "b", "c")
BAD = "bad"  # a version the client refuses

types, names = st.sampled_from(TYPES), st.sampled_from(NAMES)
versions = st.sampled_from(("1", "2", "3", BAD))
contents = st.dictionaries(st.tuples(types, names), versions)


def a_snapshot(content: dict[tuple[str, str], str]) -> Snapshot:
    return Snapshot.of(Resource(t, n, v.encode(), v) for (t, n), v in content.items())


class Client:
    """One type's state at the client: what it asked for, what it holds, what waits to be said."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.names: set[str] = set()
        self.held: dict[str, str] = {}
        self.opened = False
        self.inbox: list[Any] = []

    def request(self, **fields: object) -> Any:
        return schema.new(
            "envoy.service.discovery.v3.DeltaDiscoveryRequest", type_url=self.type_url, **fields
        )

    def open(self) -> Any:
        self.opened = True
        return self.request(
            resource_names_subscribe=sorted(self.names), initial_resource_versions=dict(self.held)
        )

    def answer(self) -> Any:
        """Takes one response; refuses all of it when a part is bad (the worst a client may do)."""
        response = self.inbox.pop(0)
        if any(resource.version == BAD for resource in response.resources):
            error = {"code": 13, "message": f"refused: {BAD}"}
            return self.request(response_nonce=response.nonce, error_detail=error)
        for resource in response.resources:
            if self.type_url in WILDCARD or resource.name in self.names:
                self.held[resource.name] = resource.version
        for name in response.removed_resources:
            self.held.pop(name, None)
        return self.request(response_nonce=response.nonce)


class DeltaSession(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.snapshot = Snapshot()
        self.clients = {type_url: Client(type_url) for type_url in TYPES}
        self.stream = DeltaStream()

    @rule(content=contents)
    def offer(self, content: dict[tuple[str, str], str]) -> None:
        self.snapshot = a_snapshot(content)
        self.stream.offer(self.snapshot)

    @rule(type_url=types)
    def open(self, type_url: str) -> None:
        client = self.clients[type_url]
        if not client.opened:
            self.stream.receive(client.open())

    @rule(type_url=st.sampled_from(NAMED), name=names)
    def subscribe(self, type_url: str, name: str) -> None:
        client = self.clients[type_url]
        client.names.add(name)
        if client.opened:
            self.stream.receive(client.request(resource_names_subscribe=[name]))

    @rule(type_url=st.sampled_from(NAMED), name=names)
    def unsubscribe(self, type_url: str, name: str) -> None:
        client = self.clients[type_url]
        if name in client.names:
            client.names.discard(name)
            client.held.pop(name, None)
            if client.opened:
                self.stream.receive(client.request(resource_names_unsubscribe=[name]))

    @rule(type_url=types)
    def stale_answer(self, type_url: str) -> None:
        if self.clients[type_url].opened:
            self.stream.receive(self.clients[type_url].request(response_nonce="of another life"))

    @rule()
    def send(self) -> None:
        for response in self.stream.pending():
            body: Any = response
            self.clients[body.type_url].inbox.append(body)

    @rule(type_url=types)
    def answer(self, type_url: str) -> None:
        client = self.clients[type_url]
        if client.inbox:
            self.stream.receive(client.answer())

    @rule()
    def reconnect(self) -> None:
        self.stream = DeltaStream()
        self.stream.offer(self.snapshot)
        for client in self.clients.values():
            client.inbox.clear()
            client.opened = False

    @invariant()
    def at_most_one_response_of_a_type_is_open(self) -> None:
        assert all(len(client.inbox) <= 1 for client in self.clients.values())

    def teardown(self) -> None:
        """Let both sides talk until nothing is left to say: what is held is what should be."""
        self.stream.offer(self.snapshot)
        for client in self.clients.values():
            if not client.opened:
                self.stream.receive(client.open())
        for _ in range(20):
            self.send()
            if not any(client.inbox for client in self.clients.values()):
                break
            for client in self.clients.values():
                if client.inbox:
                    self.stream.receive(client.answer())
        else:
            raise AssertionError("server and client never come to rest")
        assert self.stream.is_settled
        for client in self.clients.values():
            self.check(client)

    def check(self, client: Client) -> None:
        offered = self.snapshot.resources(client.type_url)
        wanted = set(offered) if client.type_url in WILDCARD else client.names & set(offered)
        refused = set(self.stream.refused.get(client.type_url, ()))
        assert refused <= wanted
        for name in wanted - refused:
            assert client.held.get(name) == offered[name].version, (client.type_url, name)
        if client.type_url == ROUTES:  # the client drops what no listener of its names any more
            assert set(client.held) <= client.names
        elif not self.stream.refused:  # what a refused resource may still use is not removed
            assert set(client.held) <= wanted


DeltaSession.TestCase.settings = settings(max_examples=250, stateful_step_count=40)
TestDeltaSession = DeltaSession.TestCase
