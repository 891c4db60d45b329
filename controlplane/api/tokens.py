"""Bearer tokens: 256 random bits, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from controlplane.store.port import Key, Store

RESOURCE: Final = "apitokens.internal"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, from where (an IP address), and the request's ID."""

    name: str
    source: str = ""
    request_id: str = ""


CALLER: Final = web.RequestKey("caller", Caller)


async def create(store: Store, name: str) -> str:
    """A new token for `name`; the caller shows it once."""
    token = secrets.token_urlsafe(32)
    await store.create(Key(RESOURCE, "", _hash(token)), {"name": name})
    return token


async def authenticate(store: Store, token: str) -> Caller | None:
    """Looked up by hash: no comparison of secrets takes a telling time."""
    record = await store.get(Key(RESOURCE, "", _hash(token)))
    return None if record is None else Caller(str(record.value["name"]))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
