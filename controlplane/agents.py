"""The agents that have joined: how, as what, by which certificate; banned or not. Kept in the store.

    event            its record                        its certificate
    attested         made, or made anew                the new one is the only one taken
    renewed          notes the next certificate        both are taken until the next one is used
    next one used    notes it as the one               the old one is refused
    banned           keeps the reason                  none is taken, and attesting again is refused
    evicted          gone                              none is taken until it attests again

So a copied key is of use until the honest agent renews; whoever renews first shuts the other out, and the
honest one then says so loudly. What is known here follows the store, whoever writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import structlog

from ca.node_protocol import BANNED, MUST_ATTEST
from controlplane.audit import Entry
from controlplane.store.following import follow, patiently
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    Key,
    NotFoundError,
    Record,
    Store,
)

AGENTS: Final = "agents.internal"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """`serial` of the certificate in use, `next_serial` of one that was issued and not used yet ("" for none).

    `attested` RFC 3339; `banned` the reason, "" for none; `source` the address it attested from.
    """

    name: str
    method: str
    selectors: tuple[str, ...]
    serial: str
    attested: str
    next_serial: str = ""
    banned: str = ""
    source: str = ""


class AgentRegistry:
    """`load` first; `run` follows what other writers do. `changed(name)` after each change of an agent."""

    def __init__(self, store: Store, changed: Callable[[str], None]) -> None:
        self._store = store
        self._changed = changed
        self._known: dict[str, AgentRecord] = {}
        self._revisions: dict[str, int] = {}  # of the last change that is known, of evicted ones too
        self._after = 0

    async def load(self) -> None:
        records, self._after = await self._store.list(AGENTS)
        self._known = {record.key.name: _read(record) for record in records}
        self._revisions = {record.key.name: record.revision for record in records}

    async def run(self) -> None:
        """Until cancelled."""
        async for events in follow(self._store, self._after, {AGENTS}):
            for event in events or ():
                self._set(event.record, gone=event.change is Change.DELETED)
            if events is None:
                before = set(self._known)
                await patiently(self.load)
                for name in before | set(self._known):
                    self._changed(name)

    def all(self) -> list[AgentRecord]:
        return sorted(self._known.values(), key=lambda one: one.name)

    def names(self) -> list[str]:
        """Those whose certificates are taken."""
        return [name for name in self._known if self.may_return(name)]

    def may_return(self, name: str) -> bool:
        """Is any certificate of this agent still taken?"""
        known = self._known.get(name)
        return known is not None and not known.banned

    def selectors(self, name: str) -> frozenset[str]:
        """What attestation found out of the agent's machine."""
        known = self._known.get(name)
        return frozenset(known.selectors) if known else frozenset()

    def refusal(self, name: str, serial: str) -> str:
        """Why this certificate of this agent is not taken; "" when it is."""
        known = self._known.get(name)
        if known is None:
            return f"{MUST_ATTEST}: this agent is not known (any more)"
        if known.banned:
            return f"{BANNED}: {known.banned}"
        if serial not in (known.serial, known.next_serial):
            return f"{MUST_ATTEST}: this certificate was replaced by a newer one of the same agent"
        return ""

    def ban_reason(self, name: str) -> str:
        known = self._known.get(name)
        return known.banned if known else ""

    async def look_again(self, name: str) -> None:
        """Reads what another server may have written a moment ago."""
        record = await self._store.get(Key(AGENTS, "", name))
        if record is not None:
            self._set(record, gone=False)

    async def attested(self, record: AgentRecord, audit: Entry) -> None:
        await self._write(record, audit)

    async def used(self, name: str, serial: str) -> None:
        """The next certificate came: the one before is refused from now on."""
        known = self._known.get(name)
        if known is not None and serial and serial == known.next_serial:
            await self._write(replace(known, serial=serial, next_serial=""))

    async def renewed(self, name: str, serial: str) -> None:
        """`serial`: the next one, just issued and not handed out yet."""
        known = self._known.get(name)
        if known is not None:
            await self._write(replace(known, next_serial=serial))

    async def ban(self, name: str, reason: str, audit: Entry) -> bool:
        """False when there is no such agent."""
        known = self._known.get(name)
        if known is None:
            return False
        await self._write(replace(known, banned=reason, next_serial=""), audit)
        return True

    async def evict(self, name: str, audit: Entry) -> bool:
        """False when there is no such agent."""
        try:
            gone = await self._store.delete(Key(AGENTS, "", name), audit=audit)
        except NotFoundError:
            return False
        self._set(gone, gone=True)
        return True

    async def _write(self, record: AgentRecord, audit: Entry | None = None) -> None:
        key, value = Key(AGENTS, "", record.name), asdict(record)
        try:
            written = await self._store.create(key, value, audit=audit)
        except AlreadyExistsError:
            written = await self._store.replace(key, value, audit=audit)
        self._set(written, gone=False)

    def _set(self, record: Record, *, gone: bool) -> None:
        """What was written here is told by the store once more, later: it must not undo what came after."""
        name = record.key.name
        if record.revision <= self._revisions.get(name, 0):
            return
        self._revisions[name] = record.revision
        if gone:
            self._known.pop(name, None)
        else:
            self._known[name] = _read(record)
        self._changed(name)


def _read(record: Record) -> AgentRecord:
    value: dict[str, Any] = record.value
    return AgentRecord(
        value["name"], value["method"], tuple(value["selectors"]), value["serial"], value["attested"],
        value["next_serial"], value["banned"], value["source"],
    )  # fmt: skip
