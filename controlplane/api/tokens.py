"""Bearer tokens of people and machines: 256 random bits, shown once, kept as a hash, expiring, revocable."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controlplane.access import Caller
from controlplane.audit import Entry
from controlplane.store.freshness import Freshness
from controlplane.store.port import Key, NotFoundError, Record, Store

RESOURCE: Final = "apitokens.internal"
PREFIX: Final = "pylis_"  # so that scanners find a token that was published by mistake
_MOST_KNOWN: Final = 4096


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """All that can be shown of a token; `id` is the beginning of its hash."""

    id: str
    name: str
    groups: tuple[str, ...]
    created: str
    expires: str


class Tokens:
    """Known tokens are kept in memory as long as the store says that none has changed."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._clock = clock
        self._fresh = Freshness(store, frozenset({RESOURCE}))
        self._known: dict[str, tuple[Caller, str]] = {}

    async def by_token(self, token: str) -> Caller | None:
        """Looked up by hash: no comparison of secrets takes a telling time."""
        if not self._fresh.is_fresh():
            with self._fresh.reading():
                self._known.clear()
        digest = _hash(token)
        known = self._known.get(digest)
        if known is None:
            record = await self._store.get(Key(RESOURCE, "", digest))
            if record is None:
                return None
            known = _caller(record)
            if len(self._known) < _MOST_KNOWN:
                self._known[digest] = known
        caller, expires = known
        if expires and datetime.fromisoformat(expires) <= self._clock():
            return None
        return caller

    async def create(
        self, name: str, groups: Sequence[str], ttl: timedelta | None, audit: Entry | None = None
    ) -> tuple[str, TokenInfo]:
        """The token, shown once; `ttl` None: it does not expire."""
        token = PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        expires = (now + ttl).isoformat(timespec="seconds") if ttl else ""
        value: dict[str, Any] = {
            "name": name, "groups": list(groups), "created": now.isoformat(timespec="seconds"), "expires": expires,
        }  # fmt: skip
        record = await self._store.create(Key(RESOURCE, "", _hash(token)), value, audit=audit)
        return token, _info(record)

    async def list(self) -> list[TokenInfo]:
        records, _ = await self._store.list(RESOURCE)
        return [_info(record) for record in records]

    async def revoke(self, id_: str, audit: Entry | None = None) -> TokenInfo | None:
        """None when there is no such token."""
        records, _ = await self._store.list(RESOURCE)
        found = [r for r in records if _info(r).id == id_]
        if len(found) != 1:
            return None
        try:
            await self._store.delete(found[0].key, audit=audit)
        except NotFoundError:
            return None
        return _info(found[0])

    async def drop_expired(self) -> None:
        """For the leader: what has expired is not kept for ever."""
        records, _ = await self._store.list(RESOURCE)
        for record in records:
            expires = _info(record).expires
            if expires and datetime.fromisoformat(expires) <= self._clock():
                await self._store.take(record.key)


def _caller(record: Record) -> tuple[Caller, str]:
    info = _info(record)
    return Caller(info.name, info.groups, token=info.id), info.expires


def _info(record: Record) -> TokenInfo:
    value = record.value
    groups = tuple(value.get("groups", ()))
    return TokenInfo(
        record.key.name[:12], str(value["name"]), groups, value.get("created", ""), value.get("expires", "")
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
