"""Any interleaving of offers, names, ACKs, NACKs and reconnects ends with a state-of-the-world client holding the snapshot.

The client is a model written from the protocol's text and not from our server: what a response of clusters or listeners
does not hold is gone, of other types it holds changes only; a NACK names the last version that was good; names are said
whole in each request; after a reconnect it says the version it has.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xds import schema
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, Snapshot
from xds.sotw import SotwStream

WHOLE = (CLUSTER, LISTENER)
TYPES = (*WHOLE, ENDPOINTS, ROUTES)
NAMES = ("a", "b", "c")
BAD = "bad"  # a content the client refuses

types, names = st.sampled_from(TYPES), st.sampled_from(NAMES)
versions = st.sampled_from(("1", "2", "3", BAD))
contents = st.dictionaries(st.tuples(types, names), versions)


def a_snapshot(content: dict[tuple[str, str], str]) -> Snapshot:
    def one(type_url: str, name: str, text: str) -> Resource:
        return Resource(type_url, name, f"{name}={text}".encode(), text)

    return Snapshot.of(one(t, n, v) for (t, n), v in content.items())


class Client:
    """One type's state at the client; what it holds by name, from the bytes it was sent."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.names: set[str] = set()
        self.held: dict[str, str] = {}
        self.version = self.nonce = ""
        self.inbox: list[Any] = []
        self.opened = False

    def request(self, **fields: object) -> Any:
        return schema.new(
            "envoy.service.discovery.v3.DiscoveryRequest",
            type_url=self.type_url,
            resource_names=sorted(self.names),
            version_info=self.version,
            response_nonce=self.nonce,
            **fields,
        )

    def open(self) -> Any:
        self.opened, self.nonce = True, ""
        return self.request()

    def answer(self) -> Any:
        response = self.inbox.pop(0)
        self.nonce = response.nonce
        found = dict(r.value.decode().split("=") for r in response.resources)
        if BAD in found.values():
            return self.request(error_detail={"code": 13, "message": "bad"})
        if self.type_url in WHOLE:
            self.held = found
        else:
            self.held.update({name: text for name, text in found.items() if name in self.names})
        self.version = response.version_info
        return self.request()


class SotwSession(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stream = SotwStream()
        self.clients = {type_url: Client(type_url) for type_url in TYPES}
        self.snapshot = Snapshot()

    @rule(content=contents)
    def offer(self, content: dict[tuple[str, str], str]) -> None:
        self.snapshot = a_snapshot(content)
        self.stream.offer(self.snapshot)

    @rule(type_url=types)
    def open(self, type_url: str) -> None:
        client = self.clients[type_url]
        if not client.opened:
            self.stream.receive(client.open())

    @rule(type_url=st.sampled_from((ENDPOINTS, ROUTES)), name=names)
    def subscribe(self, type_url: str, name: str) -> None:
        client = self.clients[type_url]
        client.names.add(name)
        if client.opened:
            self.stream.receive(client.request())

    @rule(type_url=st.sampled_from((ENDPOINTS, ROUTES)), name=names)
    def unsubscribe(self, type_url: str, name: str) -> None:
        client = self.clients[type_url]
        client.names.discard(name)
        client.held.pop(name, None)
        if client.opened:
            self.stream.receive(client.request())

    @rule()
    def send(self) -> None:
        for response in self.stream.pending():
            sent: Any = schema.decode("envoy.service.discovery.v3.DiscoveryResponse", response.encode())
            self.clients[sent.type_url].inbox.append(sent)

    @rule(type_url=types)
    def answer(self, type_url: str) -> None:
        if self.clients[type_url].inbox:
            self.stream.receive(self.clients[type_url].answer())

    @rule()
    def reconnect(self) -> None:
        self.stream = SotwStream()
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
        offered = {n: r.version for n, r in self.snapshot.resources(client.type_url).items()}
        wanted = offered if client.type_url in WHOLE else {n: offered[n] for n in client.names & set(offered)}
        refused = set(self.stream.refused.get(client.type_url, ()))
        assert refused <= set(wanted)
        # of a refused response nothing may be known to be held
        assert BAD not in {text for name, text in wanted.items() if name not in refused}
        for name in set(wanted) - refused:
            assert client.held.get(name) == wanted[name], (client.type_url, name)
        if client.type_url in WHOLE and not self.stream.refused:
            assert set(client.held) == set(wanted)


SotwSession.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestSotwSession = SotwSession.TestCase
