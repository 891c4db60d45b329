"""What sessions of both xDS protocols have in common: what may happen, in any order, and that it ends in agreement.

A protocol adds a model of its client, written from the protocol's text and not from our server; a response reaches it as
the bytes that go over the wire.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xds import schema
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, Snapshot

WHOLE = (CLUSTER, LISTENER)  # asked for by wildcard
NAMED = (ENDPOINTS, ROUTES)
TYPES = (*WHOLE, *NAMED)
NAMES = ("a", "b", "c")
BAD = "bad"  # a content the client refuses

types, names = st.sampled_from(TYPES), st.sampled_from(NAMES)
versions = st.sampled_from(("1", "2", "3", BAD))
contents = st.dictionaries(st.tuples(types, names), versions)


def a_snapshot(content: dict[tuple[str, str], str]) -> Snapshot:
    """The version of a resource is its content."""
    return Snapshot.of(Resource(t, n, f"{n}={v}".encode(), v) for (t, n), v in content.items())


class Client:
    """One type's state at the client: what it asked for, what it holds, what waits to be said."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.names: set[str] = set()
        self.held: dict[str, str] = {}
        self.opened = False
        self.inbox: list[Any] = []

    @abstractmethod
    def open(self) -> Any:
        """The first request of a stream."""

    @abstractmethod
    def ask(self, *, more: str = "", less: str = "") -> Any:
        """For one name more or less, which `names` has taken in already."""

    @abstractmethod
    def answer(self) -> Any:
        """Takes one response; refuses all of it when a part is bad (the worst a client may do)."""


class Session(RuleBasedStateMachine):
    """`make_client`, `make_stream` and `response` (a message's name) are the protocol's."""

    make_client: type[Client]
    make_stream: type[Any]
    response: str

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = Snapshot()
        self.clients: Mapping[str, Client] = {type_url: self.make_client(type_url) for type_url in TYPES}
        self.stream = self.make_stream()

    @rule(content=contents)
    def offer(self, content: dict[tuple[str, str], str]) -> None:
        self.snapshot = a_snapshot(content)
        self.stream.offer(self.snapshot)

    @rule(type_url=types)
    def open(self, type_url: str) -> None:
        client = self.clients[type_url]
        if not client.opened:
            client.opened = True
            self.stream.receive(client.open())

    @rule(type_url=st.sampled_from(NAMED), name=names)
    def subscribe(self, type_url: str, name: str) -> None:
        client = self.clients[type_url]
        client.names.add(name)
        if client.opened:
            self.stream.receive(client.ask(more=name))

    @rule(type_url=st.sampled_from(NAMED), name=names)
    def unsubscribe(self, type_url: str, name: str) -> None:
        client = self.clients[type_url]
        if name in client.names:
            client.names.discard(name)
            client.held.pop(name, None)
            if client.opened:
                self.stream.receive(client.ask(less=name))

    @rule()
    def send(self) -> None:
        for response in self.stream.pending():
            body: Any = schema.decode(self.response, response.encode())
            self.clients[body.type_url].inbox.append(body)

    @rule(type_url=types)
    def answer(self, type_url: str) -> None:
        client = self.clients[type_url]
        if client.inbox:
            self.stream.receive(client.answer())

    @rule(data=st.data())
    def drained(self, data: st.DataObject) -> None:
        self.stream.drains.end(data.draw(st.integers(0, self.stream.drains.begun)))

    @rule()
    def reconnect(self) -> None:
        self.stream = self.make_stream()
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
        for type_url in TYPES:
            self.open(type_url)
        self.settle()
        self.stream.drains.end(self.stream.drains.begun)
        self.settle()
        for client in self.clients.values():
            self.check(client)

    def settle(self) -> None:
        for _ in range(20):
            self.send()
            if not any(client.inbox for client in self.clients.values()):
                break
            for type_url in TYPES:
                self.answer(type_url)
        else:
            raise AssertionError("server and client never come to rest")
        assert self.stream.is_settled

    def check(self, client: Client) -> None:
        offered = {n: r.version for n, r in self.snapshot.resources(client.type_url).items()}
        wanted = offered.keys() if client.type_url in WHOLE else client.names & offered.keys()
        refused = set(self.stream.refused.get(client.type_url, ()))
        assert refused <= set(wanted)
        for name in wanted - refused:
            assert client.held.get(name) == offered[name], (client.type_url, name)
        if client.type_url in WHOLE and not self.stream.refused:
            # what a refused resource may still use is not removed
            assert set(client.held) == set(wanted)
