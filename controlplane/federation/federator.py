"""Keeps the bundles of foreign trust domains: follows the FederatedTrustDomains in the store, fetches, remembers.

One task a trust domain; what was fetched last is kept in the store, so that a restart forgets nothing. A
replica that does not lead fetches too: bundles are public, and each of them has agents to tell.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from ca import bundle as bundles
from ca.bundle import TrustBundle
from ca.errors import BundleError
from ca.spiffe_id import TrustDomain
from controlplane.federation.fetch import FetchError, fetch_spiffe, fetch_web
from controlplane.federation.relation import Relation
from controlplane.resources import federated_trust_domain
from controlplane.resources.federated_trust_domain import FederatedTrustDomain, Profile
from controlplane.store.following import follow, patiently
from controlplane.store.port import AlreadyExistsError, Key, Store
from policies.document import Document

RESOURCE: Final = "federatedtrustdomains.pylis.io"
KEPT: Final = "federatedbundles.internal"
log = structlog.get_logger()


class Federator:
    """`load` first; `run` until cancelled. `changed` after each change of `bundles`."""

    def __init__(self, store: Store, own: Callable[[], TrustBundle], changed: Callable[[], None]) -> None:
        self._store = store
        self._own = own
        self._changed = changed
        self._wanted: dict[TrustDomain, FederatedTrustDomain] = {}
        self._relations: dict[TrustDomain, Relation] = {}
        self._tasks: dict[TrustDomain, asyncio.Task[None]] = {}
        self._wakes: dict[TrustDomain, asyncio.Event] = {}
        self._after = 0

    @property
    def bundles(self) -> dict[TrustDomain, TrustBundle]:
        """The last good bundle of each foreign trust domain."""
        return {d: r.bundle for d, r in self._relations.items() if r.bundle is not None}

    def status(self) -> list[dict[str, Any]]:
        return [_status(one, self._relations[domain]) for domain, one in sorted(self._wanted.items())]

    def refresh(self, domain: TrustDomain) -> bool:
        """Fetches soon; False when there is nothing to fetch."""
        wake = self._wakes.get(domain)
        if wake is not None:
            wake.set()
        return wake is not None

    async def load(self) -> None:
        """Reads what is wanted, and what was fetched before."""
        records, self._after = await self._store.list(RESOURCE)
        wanted: dict[TrustDomain, FederatedTrustDomain] = {}
        for record in sorted(records, key=lambda one: one.created):
            document = Document(
                {"apiVersion": "pylis.io/v1alpha1", "kind": "FederatedTrustDomain", **record.value}
            )
            found, problems = federated_trust_domain.parse(document)
            if found is None or found.trust_domain == self._own().trust_domain:
                log.warning(
                    "federation.left_out", object=str(record.key), problems=[str(p) for p in problems]
                )
            else:
                wanted.setdefault(found.trust_domain, found)  # the oldest counts
        before = self.bundles
        self._relations = {
            domain: self._relations[domain]
            if self._wanted.get(domain) == one and domain in self._relations
            else await self._first(one)
            for domain, one in wanted.items()
        }
        self._wanted = wanted
        if self.bundles != before:
            self._changed()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._start_tasks({}, group)
            async for _ in follow(self._store, self._after, {RESOURCE}):
                await patiently(lambda: self._reload(group))

    async def _reload(self, group: asyncio.TaskGroup) -> None:
        before = dict(self._wanted)
        await self.load()
        self._start_tasks(before, group)

    def _start_tasks(self, before: dict[TrustDomain, FederatedTrustDomain], group: asyncio.TaskGroup) -> None:
        """A task for each endpoint; one whose settings changed begins anew."""
        for domain in list(self._tasks):
            if self._wanted.get(domain) != before.get(domain) or domain not in self._wanted:
                self._tasks.pop(domain).cancel()
                self._wakes.pop(domain)
        for domain, one in self._wanted.items():
            if one.url and domain not in self._tasks:
                self._wakes[domain] = asyncio.Event()
                self._tasks[domain] = group.create_task(self._follow(one, self._wakes[domain]))

    async def _first(self, one: FederatedTrustDomain) -> Relation:
        """What was given, or what was fetched since, whichever is newer."""
        given = Relation(one.bundle)
        record = await self._store.get(Key(KEPT, "", one.trust_domain.name)) if one.url else None
        if record is None:
            return given
        kept = record.value
        try:
            bundle = bundles.from_spiffe(one.trust_domain, json.dumps(kept["document"]))
        except BundleError:
            return given
        return given.answered(bundle, datetime.fromisoformat(kept["fetched"]))

    async def _follow(self, one: FederatedTrustDomain, wake: asyncio.Event) -> None:
        domain = one.trust_domain
        while True:
            before = self._relations[domain]
            try:
                found = await self._fetch(one)
            except FetchError as error:
                after = before.failed(str(error))
            else:
                after = before.answered(found, datetime.now(UTC))
            self._relations[domain] = after
            if after.error:
                log.warning("federation.not_refreshed", trust_domain=domain.name, error=after.error)
            elif after.bundle is not None and after.bundle != before.bundle:
                log.info("federation.refreshed", trust_domain=domain.name, sequence=after.bundle.sequence)
                await self._keep(after.bundle)
                self._changed()
            try:
                async with asyncio.timeout(after.interval.total_seconds()):
                    await wake.wait()
            except TimeoutError:
                continue
            wake.clear()

    async def _fetch(self, one: FederatedTrustDomain) -> TrustBundle:
        """Raises: FetchError."""
        if one.profile is Profile.HTTPS_WEB or one.endpoint_id is None:
            return await fetch_web(one.url, one.trust_domain)
        vouching = {**self.bundles, self._own().trust_domain: self._own()}.get(one.endpoint_id.trust_domain)
        if vouching is None:
            text = f"no bundle of {one.endpoint_id.trust_domain} is known, which the endpoint belongs to"
            raise FetchError(text)
        return await fetch_spiffe(one.url, one.trust_domain, one.endpoint_id, vouching)

    async def _keep(self, bundle: TrustBundle) -> None:
        key = Key(KEPT, "", bundle.trust_domain.name)
        value = {"document": bundle.to_spiffe(), "fetched": datetime.now(UTC).isoformat()}
        try:
            await self._store.create(key, value)
        except AlreadyExistsError:
            await self._store.replace(key, value)


def _status(one: FederatedTrustDomain, relation: Relation) -> dict[str, Any]:
    bundle = relation.bundle
    return {
        "name": one.name,
        "trustDomain": one.trust_domain.name,
        "url": one.url or None,
        "profile": str(one.profile) if one.url else None,
        "sequence": bundle.sequence if bundle else None,
        "x509Authorities": len(bundle.x509_authorities) if bundle else 0,
        "jwtAuthorities": len(bundle.jwt_authorities) if bundle else 0,
        "fetched": relation.fetched.isoformat(timespec="seconds") if relation.fetched else None,
        "error": relation.error or None,
    }
