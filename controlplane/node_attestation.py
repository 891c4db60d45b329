"""How an agent joins, or joins again: evidence and a signing request → its SVID and its place in the registry.

    method       proves                                   good for
    join-token   a secret the operator gave out           one use, whoever comes first
    x509pop      the key of a certificate he trusts       again and again
    oidc         a token of a provider he trusts          one use each: a copied token was used already

What is wrong is told in one sentence, and every attempt is on record. Failed attempts are limited: guessing a
token of 256 bits leads nowhere, but costs this server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import structlog

from ca import node_codec, node_protocol
from ca.attest import oidc, x509pop
from ca.attest.join_token import secret_hash
from ca.csr import prove
from ca.errors import AttestationError, CaError, NodeProtocolError
from ca.node_protocol import BANNED, Attest, KeyEvidence, OidcEvidence, TokenEvidence
from ca.revocation import serial_text
from ca.service import CertificateAuthority
from controlplane.agents import AgentRecord, AgentRegistry
from controlplane.api.errors import ApiError, bad_request
from controlplane.attestation_settings import AttestationSettings
from controlplane.audit import Decision, Entry
from controlplane.oidc_keys import ProviderKeys
from controlplane.rate_limit import Rate, RateLimiter
from controlplane.store.port import AlreadyExistsError, Key, Store

JOIN_TOKENS: Final = "jointokens.internal"
CHALLENGES: Final = "challenges.internal"
USED_TOKENS: Final = "usedtokens.internal"
FAILURES: Final = Rate(per_second=10, burst=200)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Proven:
    agent: str
    method: str
    selectors: frozenset[str]


class NodeAttestation:
    def __init__(
        self,
        store: Store,
        authority: CertificateAuthority,
        agents: AgentRegistry,
        settings: AttestationSettings,
        seconds: Callable[[], float],
    ) -> None:
        self._store = store
        self._authority = authority
        self._agents = agents
        self._settings = settings
        self._seconds = seconds
        self._keys = ProviderKeys(seconds)
        self._failures = RateLimiter(FAILURES)
        self._full_until = 0.0

    async def challenge(self, body: Any, source: str) -> Any:
        """`{chain}` (base64 DER, leaf first) → `{challenge, nonce}`. The chain is checked before anything is kept."""
        self._not_flooded()
        try:
            chain = _chain(body)
            x509pop.check_chain(chain, self._settings.x509pop_roots, datetime.now(UTC))
        except AttestationError as error:
            raise await self._refused("x509pop", str(error), source) from error
        await self._forget_expired(CHALLENGES)
        name, nonce = secrets.token_hex(16), secrets.token_bytes(x509pop.CHALLENGE_BYTES)
        expires = datetime.now(UTC) + timedelta(seconds=x509pop.CHALLENGE_SECONDS)
        value = {"chain": [_b64(der) for der in chain], "nonce": _b64(nonce), "expires": expires.isoformat()}
        await self._store.create(Key(CHALLENGES, "", name), value)
        return {"challenge": name, "nonce": _b64(nonce)}

    async def attest(self, body: Any, source: str) -> Any:
        """Evidence and a signing request → the agent's SVID. Raises: ApiError."""
        self._not_flooded()
        try:
            message = node_codec.decode_attest(body)
        except NodeProtocolError as error:
            raise bad_request(str(error)) from error
        try:
            proven = await self._prove(message)
        except AttestationError as error:
            raise await self._refused(_method(message), str(error), source) from error
        if banned := self._agents.ban_reason(proven.agent):
            raise await self._refused(proven.method, f"{BANNED}: {banned}", source)
        try:
            svid = self._authority.issue_agent(proven.agent, prove(message.csr))
        except CaError as error:
            raise bad_request(f"csr: {error}") from error
        serial = serial_text(svid.serial)
        attested = datetime.now(UTC).isoformat(timespec="seconds")
        record = AgentRecord(
            proven.agent, proven.method, tuple(sorted(proven.selectors)), serial, attested, source=source
        )
        entry = Entry(
            "attest", f"agent {proven.agent}", resource="agents", name=proven.agent, source=source,
            detail={"method": proven.method, "selectors": list(record.selectors), "serial": serial},
        )  # fmt: skip
        await self._agents.attested(record, entry)
        log.info("agent.attested", agent=proven.agent, method=proven.method, serial=serial)
        answer = node_protocol.Attested(proven.agent, svid.chain, self._authority.bundle)
        return node_codec.attested_json(answer)

    async def _prove(self, message: Attest) -> _Proven:
        match message.evidence:
            case TokenEvidence(secret):
                return await self._by_token(secret)
            case KeyEvidence(challenge, signature):
                return await self._by_key(challenge, signature, message.csr)
            case OidcEvidence(token):
                return await self._by_provider(token)

    async def _by_token(self, secret: str) -> _Proven:
        """The token is gone whatever follows: of many who bring it, one gets it."""
        record = await self._store.take(Key(JOIN_TOKENS, "", secret_hash(secret)))
        if record is None or _is_over(record.value):
            text = "this join token was used, has expired, or never was"
            raise AttestationError(f"{text}; make a new one with pylis token create")
        agent = str(record.value["agent"])
        return _Proven(agent, "join-token", frozenset({f"join-token:agent:{agent}"}))

    async def _by_key(self, challenge: str, signature: bytes, csr: bytes) -> _Proven:
        record = await self._store.take(Key(CHALLENGES, "", challenge))
        if record is None or _is_over(record.value):
            raise AttestationError("this challenge was answered, has expired, or never was")
        value, now = record.value, datetime.now(UTC)
        chain = x509pop.check_chain(
            [base64.b64decode(der) for der in value["chain"]], self._settings.x509pop_roots, now
        )
        text = x509pop.statement(self._authority.trust_domain.name, base64.b64decode(value["nonce"]), csr)
        x509pop.check_signature(chain[0], signature, text)
        return _Proven(x509pop.agent_name(chain[0]), x509pop.METHOD, x509pop.selectors(chain))

    async def _by_provider(self, token: str) -> _Proven:
        issuer = oidc.issuer_of(token)
        trusted = next((t for t in self._settings.providers if t.provider.issuer == issuer), None)
        if trusted is None:
            raise AttestationError("no provider of this name is trusted here")
        keys = await self._keys.of(issuer, trusted.ca_pem, oidc.key_id(token))
        vouched = oidc.verify(token, trusted.provider, keys, datetime.now(UTC))
        await self._forget_expired(USED_TOKENS)
        expires = vouched.expires + oidc.LEEWAY + timedelta(minutes=1)
        used = Key(USED_TOKENS, "", hashlib.sha256(token.encode()).hexdigest())
        try:
            await self._store.create(used, {"expires": expires.isoformat()})
        except AlreadyExistsError as error:
            raise AttestationError("this token was used already: fetch a new one") from error
        return _Proven(vouched.agent, oidc.METHOD, vouched.selectors)

    async def _forget_expired(self, resource: str) -> None:
        records, _ = await self._store.list(resource)
        for record in records:
            if _is_over(record.value):
                await self._store.take(record.key)

    def _not_flooded(self) -> None:
        if self._seconds() < self._full_until:
            raise ApiError(429, "TooManyRequests", "too many failed attempts to attest: try again later")

    async def _refused(self, method: str, reason: str, source: str = "") -> ApiError:
        now = self._seconds()
        if wait := self._failures.take("attest", now):
            self._full_until = now + min(wait, 1.0)
        log.warning("agent.refused", method=method, reason=reason)
        entry = Entry(
            "attest", "", Decision.REFUSE, resource="agents", source=source, reason=reason, detail={"method": method}
        )  # fmt: skip
        await self._store.record(entry)
        return ApiError(403, "Forbidden", reason)


def _method(message: Attest) -> str:
    match message.evidence:
        case TokenEvidence():
            return "join-token"
        case KeyEvidence():
            return x509pop.METHOD
        case OidcEvidence():
            return oidc.METHOD


def _chain(body: Any) -> list[bytes]:
    chain = cast("dict[str, Any]", body).get("chain") if isinstance(body, dict) else None
    items = cast("list[Any]", chain) if isinstance(chain, list) else []
    if not items or not all(isinstance(one, str) for one in items):
        raise AttestationError("chain is no list of certificates")
    try:
        return [base64.b64decode(one, validate=True) for one in items[: x509pop.MAX_CHAIN + 1]]
    except binascii.Error as error:
        raise AttestationError("chain is not base64") from error


def _is_over(value: dict[str, Any]) -> bool:
    return datetime.fromisoformat(value["expires"]) <= datetime.now(UTC)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
