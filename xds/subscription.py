"""What a client asked for, type by type, and what it is offered: the part of a stream's state that both protocols share.

What it holds, was sent and refused is each protocol's own (`stream`, `sotw`).
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from xds.drains import Drains
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
        self.drains = Drains()

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
        self.drains.offered(snapshot)

    def next_nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:x}"


def limit(names: set[str]) -> None:
    """Raises: ProtocolError."""
    if len(names) > MAX_NAMES:
        raise ProtocolError(f"more than {MAX_NAMES} names subscribed to")
