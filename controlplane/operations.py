"""What the API does beside the kinds: join tokens, minting, the state of proxies.

Each operation takes (body, caller) and returns JSON; refusals are ApiErrors.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from ca.attest import oidc, x509pop
from ca.attest.join_token import JoinToken, secret_hash
from ca.errors import CaError, SpiffeIdError
from ca.jwt_svid import JWT_TTL, MAX_JWT_TTL
from ca.profile import LEAF_TTL
from ca.revocation import serial_text
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, agent_id
from controlplane.access import Caller
from controlplane.api.app import Operation
from controlplane.api.errors import ApiError, bad_request
from controlplane.api.tokens import TokenInfo, Tokens
from controlplane.audit import Entry
from controlplane.node_attestation import JOIN_TOKENS
from controlplane.proxy_config import resources_json
from controlplane.resources.workload_registration import MAX_TTL
from controlplane.store.port import Key, Store
from xds.ledger import Ledger, ProxyStatus
from xds.snapshot import Snapshot

MAX_TOKEN_TTL: Final = timedelta(days=1)
MAX_RECORDS: Final = 10_000
DEFAULT_API_TOKEN_TTL: Final = 12 * 3600
MAX_API_TOKEN_TTL: Final = 366 * 86400
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Operations:
    """`addresses()` are the API's and the xDS port's `host:port` as agents reach them, and the sidecars' ("": the same)."""

    store: Store
    authority: CertificateAuthority
    ledger: Ledger
    addresses: Callable[[], tuple[str, str, str]]
    tokens: Tokens
    snapshot: Callable[[str], tuple[int, Snapshot]]
    is_revoked: Callable[[SpiffeId, str], bool] = lambda _identity, _serial: False

    def table(self) -> dict[tuple[str, str], Operation]:
        return {
            ("POST", "tokens"): self.create_token,
            ("POST", "svids"): self.mint,
            ("POST", "jwt-svids"): self.mint_jwt,
            ("GET", "proxies"): self.proxies,
            ("GET", "proxyconfigs"): self.proxy_config,
            ("GET", "addresses"): self.where,
            ("GET", "apitokens"): self.list_api_tokens,
            ("POST", "apitokens"): self.create_api_token,
            ("DELETE", "apitokens/{id}"): self.revoke_api_token,
            ("GET", "history"): self.history,
            ("GET", "audit"): self.audit,
            ("GET", "audit/verify"): self.verify_audit,
        }

    async def create_token(self, body: Any, caller: Caller | None) -> Any:
        """`{agent, ttlSeconds}` → `{token, agent, expires}`; the token is shown once. Without a body: an invitation."""
        fields = _object(body)
        api, xds, sidecars = self.addresses()
        bundle = self.authority.bundle
        if not fields:
            invitation = JoinToken(
                api, xds, bundle.trust_domain.name, bundle.root_hashes[0], "", "", sidecars
            )
            return {"token": invitation.encode(), "agent": None, "expires": None}
        agent = _text(fields, "agent")
        try:
            agent_id(self.authority.trust_domain, agent)
        except SpiffeIdError as error:
            raise bad_request(f"agent: {error}") from error
        if agent.startswith((f"{x509pop.METHOD}.", f"{oidc.METHOD}.")):
            raise bad_request("agent: names that begin like this are given by other methods of attestation")
        ttl = fields.get("ttlSeconds", 600)
        if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 < ttl <= MAX_TOKEN_TTL.total_seconds():
            raise bad_request("ttlSeconds must be between 1 and 86400")
        secret = secrets.token_urlsafe(32)
        expires = datetime.now(UTC) + timedelta(seconds=ttl)
        value = {"agent": agent, "expires": expires.isoformat()}
        await self.store.create(Key(JOIN_TOKENS, "", secret_hash(secret)), value)
        token = JoinToken(
            api, xds, bundle.trust_domain.name, self.authority.active_root_hash, agent, secret, sidecars
        )
        log.info("token.created", agent=agent, by=caller.name if caller else "")
        await self._on_record("create", caller, "jointokens", agent, {"expires": value["expires"]})
        return {"token": token.encode(), "agent": agent, "expires": expires.isoformat(timespec="seconds")}

    async def mint(self, body: Any, caller: Caller | None) -> Any:
        """`{spiffeId, csr, ttlSeconds, dnsNames}` → `{chain, bundle}` (PEM): an administrator's choice of identity."""
        fields = _object(body)
        wanted = self._workload(fields)
        try:
            csr = base64.b64decode(_text(fields, "csr"), validate=True)
        except binascii.Error as error:
            raise bad_request(f"{error}") from error
        ttl = _ttl(fields, LEAF_TTL, MAX_TTL)
        dns = fields.get("dnsNames", [])
        if not isinstance(dns, list) or not all(
            isinstance(d, str) and not d.endswith(".internal") for d in dns
        ):
            raise bad_request("dnsNames must be a list of names that are not the control plane's")
        try:
            svid = self.authority.issue_id(wanted, csr, ttl, tuple(dns))
        except (CaError, ValueError) as error:
            raise bad_request(f"csr: {error}") from error
        log.info("svid.minted", id=str(wanted), serial=f"{svid.serial:x}", by=caller.name if caller else "")
        detail = {"serial": serial_text(svid.serial), "notAfter": svid.not_after.isoformat()}
        await self._on_record("mint", caller, "svids", str(wanted), detail)
        return {"chain": svid.chain_pem, "bundle": self.authority.bundle.to_pem()}

    async def mint_jwt(self, body: Any, caller: Caller | None) -> Any:
        """`{spiffeId, audience, ttlSeconds}` → `{token, expires}`: an administrator's choice of identity."""
        fields = _object(body)
        wanted = self._workload(fields)
        audience = fields.get("audience")
        if not isinstance(audience, list) or not all(isinstance(one, str) for one in audience):
            raise bad_request("audience must be a list of texts")
        try:
            svid = self.authority.issue_jwt_id(wanted, audience, _ttl(fields, JWT_TTL, MAX_JWT_TTL))
        except CaError as error:
            raise bad_request(f"{error}") from error
        log.info("jwt_svid.minted", id=str(wanted), audience=audience, by=caller.name if caller else "")
        detail = {"audience": audience, "authority": svid.kid}
        await self._on_record("mint", caller, "jwt-svids", str(wanted), detail)
        return {"token": svid.token, "expires": svid.expires.isoformat()}

    async def _on_record(
        self, verb: str, caller: Caller | None, resource: str, name: str, detail: dict[str, Any]
    ) -> None:
        """What is handed out is in the audit log before the caller has it."""
        who, source, request_id = (caller.name, caller.source, caller.request_id) if caller else ("", "", "")
        await self.store.record(
            Entry(
                verb, who, resource=resource, name=name, source=source, request_id=request_id, detail=detail
            )
        )

    def _workload(self, fields: dict[str, Any]) -> SpiffeId:
        """Raises: ApiError for an ID that an administrator cannot have either."""
        try:
            wanted = SpiffeId.parse(_text(fields, "spiffeId"))
        except SpiffeIdError as error:
            raise bad_request(f"{error}") from error
        if wanted.trust_domain != self.authority.trust_domain or not wanted.path or wanted.is_reserved:
            text = f"this server mints workload identities of {self.authority.trust_domain.id} only"
            raise bad_request(text)
        if self.is_revoked(wanted, ""):
            raise ApiError(403, "Forbidden", f"quarantine: {wanted} is cut off; lift it first")
        return wanted

    async def proxy_config(self, body: Any, _caller: Caller | None) -> Any:
        """`?name=namespace/name` → what that proxy is told, resource by resource."""
        name = _text(_object(body), "name")
        revision, snapshot = self.snapshot(name)
        if not snapshot.by_type:
            raise ApiError(404, "NotFound", f"{name} is no workload that is told anything")
        return {"name": name, "revision": revision, "resources": resources_json(snapshot)}

    async def where(self, _body: Any, _caller: Caller | None) -> Any:
        """How agents and sidecars reach this server, and of which trust domain it is."""
        api, xds, sidecars = self.addresses()
        found = {"api": api, "xds": xds, "trustDomain": self.authority.trust_domain.name}
        return {**found, "sidecars": sidecars} if sidecars else found

    async def proxies(self, _body: Any, _caller: Caller | None) -> Any:
        """What each sidecar holds, as the ledger knows it."""
        return {"items": [_proxy(status) for status in self.ledger.status()]}

    async def create_api_token(self, body: Any, caller: Caller | None) -> Any:
        """`{user, groups, ttlSeconds}` → `{token, id, …}`; the token is shown once."""
        fields = _object(body)
        user, groups = _text(fields, "user"), fields.get("groups", [])
        if not isinstance(groups, list) or not all(isinstance(g, str) and g for g in groups):
            raise bad_request("groups must be a list of names")
        if user.startswith(("system:", "spiffe:")):
            raise bad_request("user: names that begin with system: or spiffe: are the server's own")
        ttl = fields.get("ttlSeconds", DEFAULT_API_TOKEN_TTL)
        if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 < ttl <= MAX_API_TOKEN_TTL:
            raise bad_request(f"ttlSeconds must be between 1 and {MAX_API_TOKEN_TTL}")
        entry = _entry("create", caller, "apitokens", user, {"groups": groups, "ttlSeconds": ttl})
        token, info = await self.tokens.create(user, groups, timedelta(seconds=ttl), entry)
        return {"token": token, **_token_info(info)}

    async def list_api_tokens(self, _body: Any, _caller: Caller | None) -> Any:
        """Who has tokens; never a token."""
        return {"items": [_token_info(info) for info in await self.tokens.list()]}

    async def revoke_api_token(self, body: Any, caller: Caller | None) -> Any:
        """By the `id` that `GET` shows."""
        id_ = _text(_object(body), "id")
        entry = _entry("delete", caller, "apitokens", id_, {})
        info = await self.tokens.revoke(id_, entry)
        if info is None:
            raise ApiError(404, "NotFound", f'no token has the id "{id_}"; pylis token list shows them')
        return _token_info(info)

    async def history(self, body: Any, _: Caller | None) -> Any:
        """`?resource=R&namespace=N&name=M` → the kept revisions, oldest first."""
        fields = _object(body)
        key = Key(_text(fields, "resource"), str(fields.get("namespace", "")), _text(fields, "name"))
        if key.resource == "secrets" or key.resource.endswith(".internal"):
            raise ApiError(403, "Forbidden", "the history of secrets is not shown")
        events = await self.store.history(key)
        items = [
            {
                "revision": e.record.revision, "change": str(e.change), "time": e.time, "author": e.author,
                "object": e.record.value,
            }
            for e in events
        ]  # fmt: skip
        return {"items": items}

    async def audit(self, body: Any, _: Caller | None) -> Any:
        """`?after=N&limit=M` → `{items, head}`; a negative `after` counts from the end."""
        fields, head = _object(body), await self.store.audit_head()
        after, limit = _number(fields, "after", 0), _number(fields, "limit", 1000)
        if after < 0:
            after = max(0, head.sequence + after)
        if not 0 < limit <= MAX_RECORDS:
            raise bad_request(f"limit must be between 1 and {MAX_RECORDS}")
        records = await self.store.audit_records(after, limit)
        items = [json.loads(record.line()) for record in records]
        return {"items": items, "head": {"sequence": head.sequence, "hash": head.hash}}

    async def verify_audit(self, _body: Any, _caller: Caller | None) -> Any:
        """Follows the whole chain → `{ok, records, head, faults}`."""
        head, faults = await self.store.verify_audit()
        return {
            "ok": not faults,
            "head": {"sequence": head.sequence, "hash": head.hash},
            "faults": [{"sequence": f.sequence, "reason": f.reason} for f in faults],
        }


def _entry(verb: str, caller: Caller | None, resource: str, name: str, detail: dict[str, Any]) -> Entry:
    who = caller or Caller("")
    return Entry(
        verb,
        who.name,
        resource=resource,
        name=name,
        source=who.source,
        request_id=who.request_id,
        detail=detail,
    )


def _token_info(info: TokenInfo) -> dict[str, Any]:
    return {
        "id": info.id, "user": info.name, "groups": list(info.groups), "created": info.created, "expires": info.expires,
    }  # fmt: skip


def _number(fields: dict[str, Any], name: str, default: int) -> int:
    text = str(fields.get(name, default))
    if not text.removeprefix("-").isdigit() or not text.isascii() or len(text) > 18:
        raise bad_request(f"{name} must be a whole number")
    return int(text)


def _proxy(s: ProxyStatus) -> dict[str, Any]:
    return {
        "name": s.node_id, "identity": s.identity, "state": str(s.state), "since": s.since.isoformat(),
        "revision": s.revision, "syncedRevision": s.synced_revision, "configBytes": s.config_bytes,
        "svidExpires": s.svid_expires.isoformat() if s.svid_expires else None, "note": s.note,
    }  # fmt: skip


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise bad_request("the body is no object")
    return body


def _ttl(fields: dict[str, Any], default: timedelta, longest: timedelta) -> timedelta:
    ttl = fields.get("ttlSeconds", int(default.total_seconds()))
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 < ttl <= longest.total_seconds():
        raise bad_request(f"ttlSeconds must be between 1 and {int(longest.total_seconds())}")
    return timedelta(seconds=ttl)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"{name} is required")
    return value
