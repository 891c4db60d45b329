"""Opens what a control plane stands on: its store, the keystore that servers share, its authority (an edge)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from controlplane.config import MEMORY_STORE, Config
from controlplane.store.envelope_key import EnvelopeKey
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Store
from controlplane.store.sqlite import SqliteStore

if TYPE_CHECKING:  # a server alone loads no PostgreSQL
    from controlplane.store.shared_keystore import SharedKeystore


async def open_store(config: Config, outer: EnvelopeKey) -> Store:
    if config.store == MEMORY_STORE:
        return MemoryStore()
    if config.is_shared:
        from controlplane.store.postgres import PostgresStore

        return await PostgresStore.open(config.store, outer)
    return await SqliteStore.open(Path(config.store.removeprefix("sqlite:///")), outer)


async def open_shared(config: Config, outer: EnvelopeKey) -> SharedKeystore | None:
    if not config.is_shared:
        return None
    from controlplane.store.shared_keystore import SharedKeystore

    return await SharedKeystore.open(config.store, outer)


def open_authority(
    config: Config, domain: TrustDomain, shared: SharedKeystore | None
) -> CertificateAuthority:
    if shared is None:
        return config.authority.open(domain, config.data_dir)
    with shared.held():
        return config.authority.open(domain, config.data_dir, shared)
