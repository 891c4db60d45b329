"""What an administrator does to the authorities, behind `pylis ca`: each operation (body, caller) → JSON."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from ca.errors import AuthorityError, NotAcknowledgedError
from ca.rotation import Family
from ca.service import CertificateAuthority
from controlplane.api.app import Operation
from controlplane.api.errors import ApiError, bad_request
from controlplane.api.tokens import Caller
from controlplane.audit import Decision, Entry
from controlplane.authority_report import report
from controlplane.store.port import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AuthorityOperations:
    """`in_force` returns once the server's own ports believe what has changed."""

    store: Store
    authority: CertificateAuthority
    in_force: Callable[[], Awaitable[None]]

    def table(self) -> dict[tuple[str, str], Operation]:
        return {
            ("GET", "authorities"): self.status,
            ("POST", "authorities/prepare"): self.prepare,
            ("POST", "authorities/activate"): self.activate,
            ("POST", "authorities/taint"): self.taint,
            ("POST", "authorities/revoke"): self.revoke,
        }

    async def status(self, _body: Any, _caller: Caller | None) -> Any:
        return report(self.authority)

    async def prepare(self, body: Any, caller: Caller | None) -> Any:
        """`{type: x509|jwt}` → `{id}`."""
        fields = body if isinstance(body, dict) else {}
        try:
            family = Family(fields.get("type"))
        except ValueError as error:
            raise bad_request("type is x509 or jwt") from error
        try:
            made = await self.authority.prepare(family)
        except AuthorityError as error:
            await self._record("prepare", caller, "", Decision.REFUSE, str(error))
            raise ApiError(409, "Conflict", str(error)) from error
        await self.in_force()
        await self._record("prepare", caller, made.id)
        return {"id": made.id}

    async def activate(self, body: Any, caller: Caller | None) -> Any:
        """`{id, force}` → the status after it."""
        id_, force = _wanted(body)
        return await self._do("activate", caller, id_, lambda: self.authority.activate(id_, force=force))

    async def taint(self, body: Any, caller: Caller | None) -> Any:
        """`{id}` → the status after it."""
        id_, _ = _wanted(body)
        return await self._do("taint", caller, id_, lambda: self.authority.taint(id_))

    async def revoke(self, body: Any, caller: Caller | None) -> Any:
        """`{id, force}` → the status after it."""
        id_, force = _wanted(body)
        return await self._do("revoke", caller, id_, lambda: self.authority.revoke(id_, force=force))

    async def _do(self, verb: str, caller: Caller | None, id_: str, act: Callable[[], None]) -> Any:
        try:
            async with self.authority.turn():
                act()
        except AuthorityError as error:
            await self._record(verb, caller, id_, Decision.REFUSE, str(error))
            details = {"agents": list(error.agents)} if isinstance(error, NotAcknowledgedError) else {}
            raise ApiError(409, "Conflict", str(error), details) from error
        await self.in_force()
        await self._record(verb, caller, id_)
        return report(self.authority)

    async def _record(
        self,
        verb: str,
        caller: Caller | None,
        id_: str,
        decision: Decision = Decision.ALLOW,
        reason: str = "",
    ) -> None:
        who = caller.name if caller else ""
        log.info("authority.changed", verb=verb, id=id_, by=who, decision=decision, reason=reason)
        entry = Entry(verb, who, decision, resource="authorities", name=id_, reason=reason)
        await self.store.record(entry)


def _wanted(body: Any) -> tuple[str, bool]:
    fields = body if isinstance(body, dict) else {}
    id_, force = fields.get("id"), fields.get("force", False)
    if not isinstance(id_, str) or not id_ or not isinstance(force, bool):
        raise bad_request("id is required, and force is true or false")
    return id_, force
