"""One state-of-the-world stream as a state machine without I/O: what gRPC's own xDS client speaks, and older Envoys.

    event                         what happens
    first request of a type       its subscription is made (CDS, LDS: wildcard when no name was ever given); a
                                  version_info of CDS or LDS that is what would be sent now is believed: nothing is
                                  sent. Of other types the client may have dropped what it asks for again
    request with the last nonce   ACK, or NACK with error_detail; its names are the subscription from now on
    request with an old nonce     nothing at all: the client will answer the newer response, too
    offer(snapshot)               the newest snapshot wins; while an answer of a type is open, no more of it
    pending()                     CDS, LDS: all that is subscribed to (what is not there is gone); other types:
                                  what the client does not hold; what was refused waits for another content

A cluster that is sent takes its endpoints along, changed or not, as in `stream`: an Envoy's warms until they come.

A version is a hash over the names subscribed to and what they are, so two servers with equal state say the same.
Order and make-before-break as in `stream`: clusters go last, which here means that an answer holds the clusters that
are to go, too, until every other type is settled and the listeners that were changed have drained.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message

from xds.drains import Drains
from xds.responses import SotwResponse
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, Snapshot
from xds.stream import Acked, Event, Nacked
from xds.subscription import LEGACY_WILDCARD, WILDCARD, Interest, Subscriptions, limit

# "the response must hold all resources the client subscribed to" is said of those with the legacy wildcard
_WHOLE: Final = LEGACY_WILDCARD


@dataclass(frozen=True, slots=True)
class _Answer:
    nonce: str
    version: str
    content: Mapping[str, Resource]


@dataclass(slots=True)
class _Subscription(Interest):
    ever_named: bool = False
    held: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    version: str = ""  # what the client said it holds
    refused: str = ""  # the version it refused last
    nonce: str = ""  # of the last response
    open: _Answer | None = None
    again: set[str] = field(default_factory=set[str])  # to be sent although the client holds them


class SotwStream:
    """As `DeltaStream`: `receive` and `offer`, then send everything `pending` returns, in order."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all = Subscriptions(_Subscription)

    def receive(self, request: Message) -> Event | None:
        """Takes a DiscoveryRequest. Raises: ProtocolError."""
        r: Any = request  # upb's fields have no static types
        type_url: str = r.type_url
        s = self._all.get(type_url)
        if s is None:
            s = self._all.open(type_url)
            # of others no version is believed: what a client gave up is no new version to it
            s.version = r.version_info if type_url in _WHOLE else ""
        elif r.response_nonce != s.nonce:
            return None
        changed = type_url == LISTENER and _changes_what_is_held(s)
        event = self._settle(type_url, s, r)
        if event is not None and changed:
            self._all.drains.begin()
        self._subscribe(type_url, s, set(r.resource_names))
        return event

    def offer(self, snapshot: Snapshot) -> None:
        """What the client should hold from now on."""
        self._all.offer(snapshot)

    def pending(self) -> list[SotwResponse]:
        """Responses to send now; calling it again without news returns none."""
        if not self._all.offered:
            return []
        responses: list[SotwResponse] = []
        for type_url, s in self._all.items():
            if s.open is None and (response := self._answer(type_url, s)) is not None:
                responses.append(response)
        return responses

    @property
    def drains(self) -> Drains:
        """Begun here; whoever has a clock ends them, and then asks what is `pending`."""
        return self._all.drains

    @property
    def is_settled(self) -> bool:
        """Does the client hold all it asked for of the offered snapshot (or has it refused it)?

        Not before it asked for listeners, where there are any: every client does, Envoy after clusters.
        """
        if not self._all.offered or self._all.still_asks_for(LISTENER):
            return False
        return all(
            s.open is None and not s.again and self._version(self._due(t, s)) in (s.version, s.refused)
            for t, s in self._all.items()
        )

    @property
    def refused(self) -> dict[str, tuple[str, ...]]:
        """Type → names of resources in the offered snapshot that the client refused (with others, maybe)."""
        found: dict[str, tuple[str, ...]] = {}
        for type_url, s in self._all.items():
            content = self._content(type_url, s)
            if s.refused and self._version(content) == s.refused:
                found[type_url] = tuple(n for n, r in content.items() if s.held.get(n) != r)
        return found

    def _answer(self, type_url: str, s: _Subscription) -> SotwResponse | None:
        content = self._due(type_url, s)
        version = self._version(content)
        if not s.held and s.version == version:
            s.held = content  # a reconnect: it holds that already
        s.again &= content.keys()
        if version == s.refused or (version == s.version and not s.again):
            s.again.clear()
            return None
        changed = {n: r for n, r in content.items() if s.held.get(n) != r}
        send = (
            content
            if type_url in _WHOLE
            else {n: r for n, r in content.items() if n in changed or n in s.again}
        )
        s.again.clear()
        if type_url == CLUSTER and (endpoints := self._all.get(ENDPOINTS)) is not None:
            endpoints.again |= {name for name in changed if endpoints.wants(name)}
        if not send and type_url not in _WHOLE:
            s.held, s.version = content, version  # names went away: there is no way to say so, and no need
            return None
        s.nonce = self._all.next_nonce()
        s.open = _Answer(s.nonce, version, content)
        return SotwResponse(type_url, s.nonce, version, tuple(send.values()))

    def _content(self, type_url: str, s: _Subscription) -> Mapping[str, Resource]:
        return s.of(self._all.snapshot.resources(type_url))

    def _due(self, type_url: str, s: _Subscription) -> Mapping[str, Resource]:
        """What the client should hold at this moment: clusters that are to go stay until nothing can need them."""
        content = self._content(type_url, s)
        leaving = [name for name in s.held if name not in content] if type_url == CLUSTER else []
        if not leaving:
            return content
        parted = self._all.drains.parted(CLUSTER, leaving) if self._others_settled() else frozenset[str]()
        return {**{name: s.held[name] for name in leaving if name not in parted}, **content}

    def _others_settled(self) -> bool:
        return not self._all.still_asks_for(LISTENER) and all(
            s.open is None and self._version(self._content(t, s)) == s.version
            for t, s in self._all.items()
            if t != CLUSTER
        )

    @staticmethod
    def _version(content: Mapping[str, Resource]) -> str:
        text = "".join(f"{name}\0{content[name].version}\n" for name in sorted(content))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @staticmethod
    def _settle(type_url: str, s: _Subscription, r: Any) -> Event | None:
        answer, s.open = s.open, None
        if answer is None:
            return None
        if r.HasField("error_detail"):
            s.refused = answer.version
            return Nacked(type_url, answer.nonce, r.error_detail.message)
        s.held, s.version, s.refused = answer.content, answer.version, ""
        return Acked(type_url, answer.nonce)

    @staticmethod
    def _subscribe(type_url: str, s: _Subscription, names: set[str]) -> None:
        limit(names)
        wildcard = WILDCARD in names or (not names and type_url in _WHOLE and not s.ever_named)
        s.ever_named |= bool(names)
        if (wildcard, names) == (s.wildcard, s.names):
            return
        s.wildcard, s.names = wildcard, names - {WILDCARD}
        if not wildcard:  # what it does not ask for it drops, and has to be sent when it asks again
            s.held = {name: resource for name, resource in s.held.items() if name in s.names}


def _changes_what_is_held(s: _Subscription) -> bool:
    if s.open is None:
        return False
    return any(s.open.content.get(name) != resource for name, resource in s.held.items())
