"""Keeps in the store what agents report: level-triggered, one report is all there is of an agent.

And whether what they reported is enforced or only observed, which is an operator's word, follows their namespaces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import structlog

from ca.node_report import FoundWorkload, NotTaken
from controlplane.access import Caller
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Writes
from controlplane.docker.registry import KINDS, OWNER, Name, mode_patch, registered
from controlplane.resources import namespace as namespaces
from controlplane.resources.kinds import KINDS as ALL_KINDS
from controlplane.resources.namespace import Namespace
from controlplane.store.following import follow, patiently
from controlplane.store.port import Record, Store
from policies.document import Document

_ENTRIES: Final = "workloadentries.networking.istio.io"
_OWN: Final = Author(
    Caller("system:registrar"), Options(False, "pylis-registrar", "Strict", False), trusted=True
)
log = structlog.get_logger()


class Registrar:
    """`granted`: agent → the namespaces it may register in. What it writes is on record as that agent's."""

    def __init__(self, store: Store, writes: Writes, granted: Mapping[str, frozenset[str]]) -> None:
        self._store = store
        self._writes = writes
        self._granted = granted

    async def prepare(self) -> None:
        """The granted namespaces are there before anybody reports."""
        for namespace in sorted({one for many in self._granted.values() for one in many}):
            target = Target(_kind("namespaces"), "", namespace)
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            if await self._store.get(target.key) is None:
                await self._writes.create(target, body, _author("grants"))

    async def reported(self, agent: str, found: tuple[FoundWorkload, ...]) -> tuple[NotTaken, ...]:
        """What is not taken, and why; everything else is in the store when it returns."""
        mine: dict[Name, Record] = {}
        others: set[Name] = set()
        for resource in KINDS:
            records, _ = await self._store.list(resource)
            for record in records:
                name = (resource, record.key.namespace, record.key.name)
                owner = record.value["metadata"].get("labels", {}).get(OWNER)
                if owner == agent:
                    mine[name] = record
                else:
                    others.add(name)
        granted = self._granted.get(agent, frozenset())
        wanted = registered(agent, granted, found, frozenset(others), await self._namespaces())
        not_taken = list(wanted.not_taken)
        changed = {n: body for n, body in wanted.objects.items() if not _is_written(body, mine.get(n))}
        for name, body in changed.items():
            if reason := await self._write(agent, name, body, mine.get(name)):
                not_taken.append(NotTaken(f"{name[1]}/{name[2]}", reason))
        for name in mine.keys() - wanted.objects.keys():
            await self._remove(agent, name)
        if changed:  # a namespace that was edited while they were written has not met them
            await self.follow_namespaces()
        return tuple(not_taken)

    async def run(self) -> None:
        """An edit of a namespace reaches what is registered in it already, until cancelled. Every server of a store does
        it: what one has written, another finds as it should be."""
        await patiently(self.follow_namespaces)
        async for _ in follow(self._store, self._store.revision, {"namespaces"}):
            await patiently(self.follow_namespaces)

    async def follow_namespaces(self) -> None:
        """Raises: StoreError."""
        known = await self._namespaces()
        records, _ = await self._store.list(_ENTRIES)
        for record in records:
            if OWNER not in record.value["metadata"].get("labels", {}):
                continue
            patch = mode_patch(record.value, known)
            if patch is not None:
                target = Target(_kind(_ENTRIES), record.key.namespace, record.key.name)
                # gone meanwhile, or written by its agent's report, which has looked at the namespace itself
                with contextlib.suppress(ApiError):
                    await self._writes.patch(target, "application/merge-patch+json", patch, _OWN)

    async def _namespaces(self) -> dict[str, Namespace]:
        records, _ = await self._store.list("namespaces")
        parsed = (namespaces.parse(Document(record.value))[0] for record in records)
        return {one.name: one for one in parsed if one is not None}

    async def _write(self, agent: str, name: Name, body: dict[str, Any], old: Record | None) -> str:
        """Why it could not be; "" when it is there."""
        resource, namespace, short = name
        target, author = Target(_kind(resource), namespace, short), _author(agent)
        try:
            if old is None:
                await self._writes.create(target, body, author)
            else:
                await self._writes.replace(target, body, author)
        except ApiError as error:
            return str(error)
        return ""

    async def _remove(self, agent: str, name: Name) -> None:
        resource, namespace, short = name
        try:
            await self._writes.delete(Target(_kind(resource), namespace, short), _author(agent))
        except ApiError as error:
            if error.code != 404:
                log.warning(
                    "workload.not_removed", resource=resource, name=f"{namespace}/{short}", reason=str(error)
                )


def _kind(resource: str) -> Any:
    return next(kind for kind in ALL_KINDS if kind.resource == resource)


def _author(agent: str) -> Author:
    return Author(
        Caller(f"system:agent:{agent}"), Options(False, "pylis-agent", "Strict", True), trusted=True
    )


def _is_written(body: Mapping[str, Any], old: Record | None) -> bool:
    return old is not None and _said(old.value) == _said(body)


def _said(value: Mapping[str, Any]) -> tuple[Any, ...]:
    metadata = value["metadata"]
    return metadata.get("labels"), metadata.get("annotations"), value.get("spec")
