"""What a client asked for, type by type, and what it is offered: the part of a stream's state that both protocols share.

What it holds, was sent and refused is each protocol's own (`stream`, `sotw`).
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from xds.errors import ProtocolError
from xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, RUNTIME, SECRET, Resource, Snapshot

ORDER: Final = (RUNTIME, CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET)
# "If the client sends no names in its first request of these types, it wants them all."
LEGACY_WILDCARD: Final = frozenset({CLUSTER, LISTENER})
WILDCARD: Final = "*"
MAX_NAMES: Final = 20_000


@dataclass(slots=True)
class Interest:
    """In one type."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set[str])

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def of(self, offered: Mapping[str, Resource]) -> Mapping[str, Resource]:
        """What there is of it."""
        if self.wildcard:
            return offered
        return {name: offered[name] for name in sorted(self.names & offered.keys())}


_Interest = TypeVar("_Interest", bound=Interest)


class Subscriptions(Generic[_Interest]):
    """By type, in the order they are sent in; and the newest snapshot."""

    def __init__(self, make: Callable[[], _Interest]) -> None:
        self._make = make
        self._by_type: dict[str, _Interest] = {}
        self._nonces = 0
        self.snapshot = Snapshot()
        self.offered = False  # ever
        self.drains = 0  # how often listeners began to drain: they were changed or removed while held
        self._drained = 0  # which of these is over
        self._parting: dict[str, dict[str, int]] = {}  # type → name to be removed → the drain it waits for

    def get(self, type_url: str) -> _Interest | None:
        return self._by_type.get(type_url)

    def open(self, type_url: str) -> _Interest:
        """At the first request of a type. Raises: ProtocolError."""
        if type_url not in ORDER:
            raise ProtocolError(f"{type_url!r} is not served")
        known = {**self._by_type, type_url: self._make()}
        self._by_type = {one: known[one] for one in ORDER if one in known}
        return self._by_type[type_url]

    def still_asks_for(self, type_url: str) -> bool:
        """There is something of that type for it, and it has not asked yet: it will."""
        return type_url not in self._by_type and bool(self.snapshot.resources(type_url))

    def items(self) -> Iterator[tuple[str, _Interest]]:
        return iter(self._by_type.items())

    def offer(self, snapshot: Snapshot) -> None:
        self.snapshot, self.offered = snapshot, True
        for type_url, waiting in self._parting.items():  # what is back is not on its way out any more
            there = snapshot.resources(type_url)
            self._parting[type_url] = {name: drain for name, drain in waiting.items() if name not in there}

    @property
    def is_draining(self) -> bool:
        return self._drained < self.drains

    def drained(self, drain: int) -> None:
        self._drained = max(self._drained, drain)

    def parted(self, type_url: str, gone: Iterable[str]) -> AbstractSet[str]:
        """Of what is to be removed, that which no draining listener can use any more; asked when all else is settled.

        Each waits for the listeners that drained when this was asked of it first, not for those that follow.
        """
        before = self._parting.get(type_url, {})
        waits = self._parting[type_url] = {name: before.get(name, self.drains) for name in gone}
        return {name for name, drain in waits.items() if drain <= self._drained}

    def next_nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:x}"


def limit(names: set[str]) -> None:
    """Raises: ProtocolError."""
    if len(names) > MAX_NAMES:
        raise ProtocolError(f"more than {MAX_NAMES} names subscribed to")
