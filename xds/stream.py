"""One delta xDS stream as a state machine without I/O: requests and snapshots go in, responses come out.

    event                         what happens
    first request of a type       its subscription is made (CDS, LDS: wildcard when no name is given);
                                  initial_resource_versions are believed, so nothing held is sent again
    request with a known nonce    ACK: what was sent is now held; with error_detail NACK: the last good stays,
                                  and what was refused is not sent again until its content changes. The
                                  verdict comes before the names: an ACK may ask again for what it dropped
    request with an old nonce     its subscriptions count, its verdict does not
    offer(snapshot)               the newest snapshot wins; while an answer of a type is open, no more of it
    pending()                     for each type with a difference and no open answer: one response; the first
                                  answer to a wildcard comes even when it is empty (Envoy waits 15 s for it)

A cluster that is sent takes its endpoints along, changed or not: a changed cluster of Envoy's warms until
endpoints arrive, does not ask for them anew, and holds its ACK back meanwhile (15 s when none come).

Extensions and routes are never removed: the client unsubscribes when the last listener that names them is gone.

Order: runtime, clusters, endpoints, extensions, listeners, routes, secrets; removals of clusters and endpoints wait
until every other type is settled and nothing of it is refused: the last good may still use them (make before
break), and until connections of listeners that were changed or removed have ended (`drains`). Listeners wait until the answer with
extensions is acknowledged: policy is an extension and quick to take in, a changed listener is much work for an Envoy,
and whom an edit cuts off is to be denied everywhere before the first sidecar begins that work.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final

from google.protobuf.message import Message

from xds.drains import Drains
from xds.responses import DeltaResponse
from xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, RUNTIME, Resource, Snapshot
from xds.subscription import LEGACY_WILDCARD, ORDER, WILDCARD, Interest, Subscriptions, limit

# Bootstraps of before do not ask for it, and need not.
OPTIONAL: Final = frozenset({RUNTIME})
_BROKEN_LAST: Final = frozenset({CLUSTER, ENDPOINTS})
# A listener that drains still serves connections by these: taken away, requests on them fail (Envoy answers 500).
# The client drops them itself, with the last listener that names them.
_NEVER_BROKEN: Final = frozenset({EXTENSION, ROUTES})
# what a client holds of what it refused: it may have taken it all the same, so no version is known
_UNKNOWN: Final = ""
_NONE: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Acked:
    type_url: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """`message` is the client's own words."""

    type_url: str
    nonce: str
    message: str


Event = Acked | Nacked


@dataclass(slots=True)
class _Answer:
    """A response that is not acknowledged yet: name → version sent ("" = removed).

    `all_of`: what nothing is missing of once it is acknowledged; None where that is not known.
    """

    nonce: str
    versions: dict[str, str]
    all_of: Mapping[str, Resource] | None


@dataclass(slots=True)
class _Subscription(Interest):
    """There are thousands, most of them with nothing to say: what is seldom there is empty and shared."""

    held: dict[str, str] = field(default_factory=dict[str, str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    told_missing: frozenset[str] = _NONE
    again: frozenset[str] = _NONE  # to be sent although the client holds them
    kept: frozenset[str] = _NONE  # removals the client refused
    opened: bool = False  # the first request was taken in: only that one's names may be held already
    unanswered: bool = False  # a wildcard that holds nothing waits for its first answer
    level: Mapping[str, Resource] | None = None  # held just so: no difference until one side moves
    open: _Answer | None = None
    waits_for: str = ""  # the nonce of another type's answer that has to be acknowledged first

    def moved(self) -> None:
        """What it asks for or has to be sent is not what it was: only a look at names tells what is missing."""
        self.level = None
        if self.open is not None:
            self.open.all_of = None


class DeltaStream:
    """One client's stream; `receive` and `offer`, then send everything `pending` returns, in order."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all = Subscriptions(_Subscription)

    def receive(self, request: Message) -> Event | None:
        """Takes a DeltaDiscoveryRequest. Raises: ProtocolError."""
        r: Any = request  # upb's fields have no static types
        type_url: str = r.type_url
        subscription = self._all.get(type_url)
        if subscription is None:
            subscription = self._all.open(type_url)
            held: Mapping[str, str] = r.initial_resource_versions
            if type_url == CLUSTER and held:  # what it heard just before on another stream nobody knows
                self._all.drains.begin()
            subscription.held.update((intern(name), intern(held[name])) for name in held)
            named = bool(r.resource_names_subscribe)
            subscription.wildcard = not named and type_url in LEGACY_WILDCARD
            subscription.unanswered = not subscription.held
        changed = type_url == LISTENER and _changes_what_is_held(subscription)
        event = _settle(subscription, type_url, r)
        if event is not None and changed:
            self._all.drains.begin()
        if r.resource_names_subscribe or r.resource_names_unsubscribe or not subscription.opened:
            _subscribe(subscription, r.resource_names_subscribe, r.resource_names_unsubscribe)
        return event

    def offer(self, snapshot: Snapshot) -> None:
        """What the client should hold from now on."""
        self._all.offer(snapshot)

    def pending(self) -> list[DeltaResponse]:
        """Responses to send now; calling it again without news returns none."""
        if not self._all.offered:
            return []
        responses: list[DeltaResponse] = []
        for type_url, subscription in self._all.items():
            if subscription.open is not None:
                continue
            if self._is_level(type_url, subscription) and not subscription.unanswered:
                subscription.waits_for = ""
                continue
            if not self._waits(type_url, subscription):
                response = self._answer(type_url, subscription)
                responses += [response] if response is not None else []
        return responses

    @property
    def drains(self) -> Drains:
        """Begun here; whoever has a clock ends them, and then asks what is `pending`."""
        return self._all.drains

    @property
    def is_settled(self) -> bool:
        """Does the client hold all of the offered snapshot (or has it refused it)? What drains may hold more.

        Not before it subscribed to every type the snapshot has: Envoy asks for listeners only after clusters.
        """
        if not self._all.offered:
            return False
        for type_url, names in self._all.snapshot.by_type.items():
            if names and self._all.get(type_url) is None and type_url not in OPTIONAL:
                return False
        level = True
        for type_url, s in self._all.items():
            if s.open is not None:
                return False
            level = level and self._is_level(type_url, s)
        return level or self._are_settled(ORDER) or self._only_removals_wait()

    @property
    def refused(self) -> dict[str, tuple[str, ...]]:
        """Type → names of resources in the offered snapshot that the client refused."""
        found: dict[str, tuple[str, ...]] = {}
        for type_url, subscription in self._all.items():
            if not subscription.refused:
                continue
            offered = self._all.snapshot.resources(type_url)
            names = tuple(
                n for n, v in subscription.refused.items() if n in offered and offered[n].version == v
            )
            if names:
                found[type_url] = names
        return found

    def _waits(self, type_url: str, s: _Subscription) -> bool:
        """A changed listener for the extensions that are on their way by then; not for those that follow them."""
        extensions = self._all.get(EXTENSION)
        if type_url != LISTENER or extensions is None or extensions.open is None:
            return False
        if not s.unanswered and not any(self._difference(type_url, s)):
            s.waits_for = ""
            return False
        s.waits_for = s.waits_for or extensions.open.nonce
        return s.waits_for == extensions.open.nonce

    def _others_settled(self) -> bool:
        if self._all.still_asks_for(
            LISTENER
        ):  # a client that is back says what it holds one type after the other
            return False
        others = frozenset(ORDER) - _BROKEN_LAST
        return self._are_settled(others) and not others & self.refused.keys()

    def _only_removals_wait(self) -> bool:
        """All that is left are removals of what is still needed: by the last good of what was refused, or what drains."""
        if not self._all.drains.is_under_way and not self.refused.keys() - _BROKEN_LAST:
            return False
        if not self._are_settled(frozenset(ORDER) - _BROKEN_LAST):
            return False
        last = ((t, s) for t, s in self._all.items() if t in _BROKEN_LAST)
        for type_url, s in last:
            send, gone = self._difference(type_url, s)
            if s.open is not None or send or any(name not in s.held for name in gone):
                return False
        return True

    def _are_settled(self, types: Iterable[str]) -> bool:
        found = ((t, s) for t, s in self._all.items() if t in types)
        return all(
            s.open is None and (self._is_level(t, s) or not any(self._difference(t, s))) for t, s in found
        )

    def _is_level(self, type_url: str, s: _Subscription) -> bool:
        """Known to need nothing, without a look at names."""
        return s.level is not None and s.level is self._all.snapshot.resources(type_url)

    def _difference(self, type_url: str, s: _Subscription) -> tuple[list[Resource], list[str]]:
        offered = self._all.snapshot.resources(type_url)
        send = [
            resource
            for name, resource in s.of(offered).items()
            if (name in s.again or s.held.get(name) != resource.version)
            and s.refused.get(name) != resource.version
        ]
        left = () if type_url in _NEVER_BROKEN else s.held
        gone = [name for name in left if name not in offered and name not in s.kept]
        # a name that does not exist is answered once, so that the client need not wait for it
        gone += [
            n for n in sorted(s.names) if n not in offered and n not in s.held and n not in s.told_missing
        ]
        s.level = offered if not send and not gone else None
        return send, gone

    def _answer(self, type_url: str, s: _Subscription) -> DeltaResponse | None:
        send, gone = self._difference(type_url, s)
        offered: Mapping[str, Resource] | None = self._all.snapshot.resources(type_url)
        if gone and type_url in _BROKEN_LAST:
            held = [name for name in gone if name in s.held]
            parted = self._all.drains.parted(type_url, held) if self._others_settled() else _NONE
            gone = [name for name in gone if name in parted or name not in s.held]
            offered = offered if len(parted) == len(held) else None
        if not send and not gone and not (s.wildcard and s.unanswered):
            return None
        s.unanswered, s.waits_for, s.again = False, "", _NONE
        if type_url == CLUSTER and (endpoints := self._all.get(ENDPOINTS)) is not None:
            endpoints.again |= {r.name for r in send if endpoints.wants(r.name)}
            endpoints.moved()
        nonce = self._all.next_nonce()
        s.open = _Answer(nonce, {**{r.name: r.version for r in send}, **dict.fromkeys(gone, "")}, offered)
        return DeltaResponse(type_url, nonce, self._all.snapshot.version_of(type_url), send, gone)


def _changes_what_is_held(s: _Subscription) -> bool:
    return s.open is not None and not s.held.keys().isdisjoint(s.open.versions)


def _subscribe(s: _Subscription, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
    s.moved()
    for name in map(intern, subscribe):
        if name == WILDCARD:
            s.wildcard = True
            continue
        # "the server must respond with all resources listed, even if it believes the client has them"
        if s.opened:
            s.held.pop(name, None)
        s.names.add(name)
    s.told_missing -= frozenset(subscribe)
    for name in unsubscribe:
        if name == WILDCARD:
            s.wildcard = False
        s.names.discard(name)
        if not s.wants(name):
            s.held.pop(name, None)
            s.refused.pop(name, None)
    limit(s.names)
    s.opened = True
    if not s.wildcard:
        s.held = {name: version for name, version in s.held.items() if name in s.names}


def _settle(s: _Subscription, type_url: str, r: Any) -> Event | None:
    answer = s.open
    if answer is None or r.response_nonce != answer.nonce:
        return None
    s.open = None
    if r.HasField("error_detail"):
        s.level = None
        _refuse(s, answer.versions)
        return Nacked(type_url, answer.nonce, r.error_detail.message)
    _hold(s, answer.versions)
    s.level = answer.all_of
    return Acked(type_url, answer.nonce)


def _refuse(s: _Subscription, versions: Mapping[str, str]) -> None:
    updates = {name: version for name, version in versions.items() if version and s.wants(name)}
    s.refused.update(updates)
    s.held.update(dict.fromkeys(updates, _UNKNOWN))
    if not updates:  # removals beside a refused update are tried again without it
        s.kept |= {name for name in versions if name in s.held}
        s.told_missing |= {name for name in versions if name not in s.held and name in s.names}


def _hold(s: _Subscription, versions: Mapping[str, str]) -> None:
    if s.kept:
        s.kept -= versions.keys()
    for name, version in versions.items():
        s.refused.pop(name, None)
        if version and s.wants(name):
            s.held[name] = version
        else:
            s.held.pop(name, None)
            if name in s.names:
                s.told_missing |= {name}
