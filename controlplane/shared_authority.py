"""One authority for several servers: who changes it is alone, and the others follow (an edge)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from ca.service import CertificateAuthority
from controlplane.store.freshness import Freshness
from controlplane.store.port import Store

if TYPE_CHECKING:  # a server alone loads no PostgreSQL
    from controlplane.store.shared_keystore import SharedKeystore


@asynccontextmanager
async def turn(store: Store, shared: SharedKeystore, authority: CertificateAuthority) -> AsyncGenerator[None]:
    """Here one server at a time changes authorities, and builds on what the others did.

    The keystore is asked while the event loop waits: a write of this server that is under way would hold up both.
    """
    from controlplane.store.postgres import PostgresStore

    async with shared.turn(), store.still() if isinstance(store, PostgresStore) else nullcontext():
        authority.reload()
        yield


async def follow_authority(store: Store, authority: CertificateAuthority) -> None:
    """What another server did to the authorities holds here, too."""
    from controlplane.store import shared_keystore

    fresh = Freshness(store, frozenset({shared_keystore.RESOURCE}))
    while True:
        while not fresh.is_fresh():
            with fresh.reading():
                authority.reload()
        await store.wait(store.revision)
