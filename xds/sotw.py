"""One state-of-the-world stream as a state machine without I/O: what gRPC's own xDS client speaks, and older Envoys.

    event                         what happens
    first request of a type       its subscription is made (CDS, LDS: wildcard when no name was ever given); a
                                  version_info that is what would be sent now is believed: nothing is sent
    request with the last nonce   ACK, or NACK with error_detail; its names are the subscription from now on
    request with an old nonce     nothing at all: the client will answer the newer response, too
    offer(snapshot)               the newest snapshot wins; while an answer of a type is open, no more of it
    pending()                     CDS, LDS: all that is subscribed to (what is not there is gone); other types:
                                  what the client does not hold; what was refused waits for another content

A version is a hash over the names subscribed to and what they are, so two servers with equal state say the same.
Order and make-before-break as in `stream`: clusters go last, which here means that an answer holds the clusters that
are to go, too, until every other type is settled.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message

from xds.errors import ProtocolError
from xds.schema import new
from xds.snapshot import CLUSTER, LISTENER, Resource, Snapshot
from xds.stream import ORDER, Acked, Event, Nacked

# "the response must hold all resources the client subscribed to" is said of these two
_WHOLE: Final = frozenset({CLUSTER, LISTENER})
_WILDCARD: Final = "*"
_MAX_NAMES: Final = 20_000
_RESPONSE: Final = "envoy.service.discovery.v3.DiscoveryResponse"


@dataclass(frozen=True, slots=True)
class _Answer:
    nonce: str
    version: str
    content: dict[str, Resource]


@dataclass(slots=True)
class _Subscription:
    wildcard: bool = False
    names: frozenset[str] = frozenset()
    ever_named: bool = False
    held: dict[str, Resource] = field(default_factory=dict[str, Resource])
    version: str = ""  # what the client said it holds
    refused: str = ""  # the version it refused last
    nonce: str = ""  # of the last response
    open: _Answer | None = None


class SotwStream:
    """As `DeltaStream`: `receive` and `offer`, then send everything `pending` returns, in order."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._offered = False
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = 0

    def receive(self, request: Message) -> Event | None:
        """Takes a DiscoveryRequest. Raises: ProtocolError."""
        r: Any = request  # upb's fields have no static types
        type_url: str = r.type_url
        if type_url not in ORDER:
            raise ProtocolError(f"{type_url!r} is not served")
        s = self._subscriptions.get(type_url)
        if s is None:
            s = self._subscriptions[type_url] = _Subscription(version=r.version_info)
        elif r.response_nonce != s.nonce:
            return None
        event = self._settle(type_url, s, r)
        self._subscribe(type_url, s, frozenset(r.resource_names))
        return event

    def offer(self, snapshot: Snapshot) -> None:
        """What the client should hold from now on."""
        self._snapshot = snapshot
        self._offered = True

    def pending(self) -> list[Message]:
        """Responses (DiscoveryResponse) to send now; calling it again without news returns none."""
        if not self._offered:
            return []
        responses: list[Message] = []
        for type_url in ORDER:
            s = self._subscriptions.get(type_url)
            if s is not None and s.open is None and (response := self._answer(type_url, s)) is not None:
                responses.append(response)
        return responses

    @property
    def is_settled(self) -> bool:
        """Does the client hold all it asked for of the offered snapshot (or has it refused it)?"""
        return self._offered and all(
            s.open is None and self._version(self._due(t, s)) in (s.version, s.refused)
            for t, s in self._subscriptions.items()
        )

    @property
    def refused(self) -> dict[str, tuple[str, ...]]:
        """Type → names of resources in the offered snapshot that the client refused (with others, maybe)."""
        found: dict[str, tuple[str, ...]] = {}
        for type_url, s in self._subscriptions.items():
            content = self._content(type_url, s)
            if s.refused and self._version(content) == s.refused:
                found[type_url] = tuple(n for n, r in content.items() if s.held.get(n) != r)
        return found

    def _answer(self, type_url: str, s: _Subscription) -> Message | None:
        content = self._due(type_url, s)
        version = self._version(content)
        if not s.held and s.version == version:
            s.held = content  # a reconnect: it holds that already
        if version in (s.version, s.refused):
            return None
        send = content if type_url in _WHOLE else {n: r for n, r in content.items() if s.held.get(n) != r}
        if not send and type_url not in _WHOLE:
            s.held, s.version = content, version  # names went away: there is no way to say so, and no need
            return None
        self._nonces += 1
        s.nonce = f"{self._nonces:x}"
        s.open = _Answer(s.nonce, version, content)
        return new(
            _RESPONSE,
            type_url=type_url,
            nonce=s.nonce,
            version_info=version,
            resources=[{"type_url": r.type_url, "value": r.body} for r in send.values()],
        )

    def _content(self, type_url: str, s: _Subscription) -> dict[str, Resource]:
        offered = self._snapshot.resources(type_url)
        return {n: offered[n] for n in (offered if s.wildcard else sorted(s.names & offered.keys()))}

    def _due(self, type_url: str, s: _Subscription) -> dict[str, Resource]:
        """What the client should hold at this moment: clusters that are to go stay until nothing can need them."""
        content = self._content(type_url, s)
        if type_url == CLUSTER and not self._others_settled():
            return {**{n: r for n, r in s.held.items() if n not in content}, **content}
        return content

    def _others_settled(self) -> bool:
        return all(
            s.open is None and self._version(self._content(t, s)) == s.version
            for t, s in self._subscriptions.items()
            if t != CLUSTER
        )

    @staticmethod
    def _version(content: dict[str, Resource]) -> str:
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
    def _subscribe(type_url: str, s: _Subscription, names: frozenset[str]) -> None:
        if len(names) > _MAX_NAMES:
            raise ProtocolError(f"more than {_MAX_NAMES} names subscribed to")
        wildcard = _WILDCARD in names or (not names and type_url in _WHOLE and not s.ever_named)
        s.ever_named |= bool(names)
        if (wildcard, names) == (s.wildcard, s.names):
            return
        s.wildcard, s.names = wildcard, names - {_WILDCARD}
        if not wildcard:  # what it does not ask for it drops, and has to be sent when it asks again
            s.held = {name: resource for name, resource in s.held.items() if name in s.names}
