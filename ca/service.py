"""The certificate authority of one trust domain: owns the authorities, issues, rotates them.

The root signs nothing but issuing authorities; an issuing authority lives a day, replaced at half of it. What
happens to authorities is in `rotation` and `authorities`, new ones are made by `authority_maker`, what they sign with
is `material`; here are the journal, the clock, and who may change what when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from ca import journal, jwt_svid, keys, profile
from ca.authorities import Authorities, Authority
from ca.authority_maker import AuthorityMaker, CaSettings
from ca.bundle import JwtKey, TrustBundle
from ca.csr import ProvenKey, prove
from ca.errors import AuthorityError, KeystoreError, NotAcknowledgedError, RegistrationError
from ca.issue import X509Svid, issue, signers
from ca.journal import Journal
from ca.jwt_svid import MAX_JWT_TTL, JwtSvid
from ca.keystore import Keystore
from ca.material import Material, lifetime_of, load
from ca.registrations import Registration, name_problems
from ca.rotation import Family, Status, must_replace
from ca.spiffe_id import SpiffeId, TrustDomain, agent_id, server_id, xds_id
from ca.upstream import Above, Upstream, sign_issuing

SERVER_DNS_NAME: Final = "server.pylis.internal"
XDS_DNS_NAME: Final = "xds.pylis.internal"
LOOK_AGAIN_SECONDS: Final = 60.0  # clocks may jump
FIRST_LOOK_SECONDS: Final = 1.0
ASK_ABOVE_SECONDS: Final = 2.0
MAX_NESTED_KEYS: Final = 16
log = structlog.get_logger()


def utc_now() -> datetime:
    return datetime.now(UTC)


def nobody(_: int) -> tuple[str, ...]:
    return ()


class CertificateAuthority:
    """Make it with `open`; `run` keeps the authorities fresh.

    `unacknowledged(sequence)` names the agents that may not know that bundle yet; it is set by who knows them.
    `turn` is set where several servers share the keystore: in such a block no other server changes anything, and what
    they have changed is known. Who calls a method that changes authorities, and is no coroutine, is in one.
    """

    def __init__(
        self,
        keystore: Keystore,
        found: Journal,
        clock: Callable[[], datetime],
        new_serial: Callable[[], int],
        settings: CaSettings,
        upstream: Upstream | None,
    ) -> None:
        self.trust_domain = found.trust_domain
        self.jwt_issuer = ""
        self.unacknowledged: Callable[[int], Sequence[str]] = nobody
        self.authorities: Authorities = found.authorities
        self.bundle: TrustBundle = TrustBundle(found.trust_domain, ())
        self._nested = dict(found.nested)
        self._above: TrustBundle | None = found.above
        self._tainted_above: tuple[str, ...] = ()
        self._keystore = keystore
        self._clock = clock
        self._new_serial = new_serial
        self._settings = settings
        self._upstream = upstream
        self._make = AuthorityMaker(found.trust_domain, keystore, clock, new_serial, settings)
        self._watchers: list[Callable[[], None]] = []
        self.is_narrower = False  # did the last change take a root out of the bundle?
        self.turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        self._changing = asyncio.Lock()
        self._material: dict[str, Material] = {}
        for authority in found.authorities.all:
            if (kept := found.kept.get(authority.id)) is not None and authority.status is not Status.REVOKED:
                self._material[authority.id] = load(keystore, authority, kept)
        self._know()

    @classmethod
    def open(
        cls,
        trust_domain: TrustDomain,
        keystore: Keystore,
        *,
        clock: Callable[[], datetime] = utc_now,
        new_serial: Callable[[], int] = keys.new_serial,
        settings: CaSettings = CaSettings(),
        upstream: Upstream | None = None,
    ) -> Self:
        """Loads the authorities, or makes them on first use. Raises: KeystoreError; AuthorityError."""
        data = keystore.load(journal.NAME)
        if data is None and keystore.load("root.pem") is not None:
            raise KeystoreError("the keystore is of an older Pylis (root.pem): move it away to begin anew")
        found = Journal(trust_domain, Authorities(), {}, {}) if data is None else journal.load(data)
        if found.trust_domain != trust_domain:
            raise KeystoreError(
                f"the keystore holds the authority of {found.trust_domain}, not of {trust_domain}"
            )
        authority = cls(keystore, found, clock, new_serial, settings, upstream)
        authority._begin()
        return authority

    @property
    def active_root_hash(self) -> str:
        """SHA-256 (hex) of the root that the server's own certificate chains to: what join tokens name."""
        roots = self._active(Family.X509).roots
        return TrustBundle(self.trust_domain, roots[:1]).root_hashes[0]

    @property
    def tainted(self) -> tuple[str, ...]:
        return (*self.authorities.tainted, *self._tainted_above)

    def watch(self, changed: Callable[[], None]) -> None:
        """`changed` is called after each change of the bundle, and of who signs."""
        self._watchers.append(changed)

    def issue(self, registration: Registration, csr_der: bytes) -> X509Svid:
        """Raises: CsrError; RegistrationError for a name no workload may have."""
        return self.issue_to(registration, prove(csr_der))

    def issue_to(self, registration: Registration, proven: ProvenKey) -> X509Svid:
        """Raises: RegistrationError for a name no workload may have."""
        return self._issue_workload(registration.spiffe_id, proven, registration.ttl, registration.dns_names)

    def issue_id(
        self, spiffe_id: SpiffeId, csr_der: bytes, ttl: timedelta, dns_names: tuple[str, ...]
    ) -> X509Svid:
        """An administrator's own choice of ID. Raises: CsrError; RegistrationError as in `issue`."""
        return self._issue_workload(spiffe_id, prove(csr_der), ttl, dns_names)

    def issue_jwt(self, registration: Registration, audience: Sequence[str]) -> JwtSvid:
        """Raises: JwtError for a bad audience; RegistrationError for a name no workload may have."""
        return self.issue_jwt_id(registration.spiffe_id, audience, registration.jwt_ttl)

    def issue_jwt_id(self, spiffe_id: SpiffeId, audience: Sequence[str], ttl: timedelta) -> JwtSvid:
        """An administrator's own choice of ID. Raises: as `issue_jwt`."""
        if problems := name_problems(spiffe_id, (), self.trust_domain):
            raise RegistrationError("; ".join(problems))
        return jwt_svid.mint(
            spiffe_id,
            audience,
            signer=self._jwt,
            now=self._clock(),
            ttl=ttl,
            token_id=f"{self._new_serial():x}",
            issuer=self.jwt_issuer,
        )

    def issue_agent(self, name: str, proven: ProvenKey) -> X509Svid:
        """Raises: SpiffeIdError for a name that is no path segment."""
        return self._issue(agent_id(self.trust_domain, name), proven, profile.LEAF_TTL)

    def issue_server(self, csr_der: bytes, dns_names: Sequence[str], ip_addresses: Sequence[str]) -> X509Svid:
        """The control plane's own certificate: its SPIFFE ID, and the names people reach the API by."""
        names = tuple(dict.fromkeys((*dns_names, "localhost", SERVER_DNS_NAME)))
        ips = tuple(dict.fromkeys((*ip_addresses, "127.0.0.1")))
        return self._issue(server_id(self.trust_domain), prove(csr_der), profile.LEAF_TTL, names, ips)

    def issue_xds(self, csr_der: bytes) -> X509Svid:
        """For a process that sidecars connect to: it cannot pass for the server, to agents or to the API's clients."""
        identity = xds_id(self.trust_domain)
        return self._issue(identity, prove(csr_der), profile.LEAF_TTL, (XDS_DNS_NAME,))

    def issue_nested(self, csr_der: bytes, ttl: timedelta) -> bytes:
        """An issuing authority (DER) for a control plane nested below this one, under the active root.

        Raises: CsrError; AuthorityError when this one is nested itself.
        """
        root = self._material[self._active(Family.X509).id].root
        if root is None:
            raise AuthorityError("this control plane has an upstream authority itself: nest below that one")
        ttl = min(ttl, profile.ISSUING_TTL)
        certificate = sign_issuing(self.trust_domain, csr_der, root, self._clock(), ttl)
        return certificate.public_bytes(Encoding.DER)

    def nested_keys(self, name: str) -> tuple[JwtKey, ...]:
        """What the control plane `name` below this one has published."""
        return self._nested.get(name, ())

    def publish_nested(self, name: str, jwt_keys: tuple[JwtKey, ...]) -> None:
        """The JWT keys of the control plane `name` below this one are in the bundle from now on.

        Raises: AuthorityError for too many, or for one that has an ID of ours.
        """
        own = {key.kid for key in self._jwt_keys()}
        if len(jwt_keys) > MAX_NESTED_KEYS or own & {key.kid for key in jwt_keys}:
            raise AuthorityError(f"more than {MAX_NESTED_KEYS} keys, or one with the ID of a key of ours")
        if self._nested.get(name, ()) != jwt_keys:
            self._nested[name] = jwt_keys
            self._install(self.authorities.touched())

    async def run(self, leads: Callable[[], bool] = lambda: True) -> None:
        """Rotates by lifetime, and hears from the upstream authority, until cancelled.

        `leads`: of several servers that share the keystore, one does it.
        """
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        while True:
            if not leads():
                await asyncio.sleep(FIRST_LOOK_SECONDS)
                continue
            try:
                async with self._changing:
                    if self._upstream is not None:
                        await self._ask_upstream(self._upstream)
                    async with self.turn():
                        self.refresh()
            except KeystoreError as error:  # it is away: what is due is done when it is back
                log.warning("authority.keystore", error=str(error))
            await asyncio.sleep(LOOK_AGAIN_SECONDS if self._upstream is None else ASK_ABOVE_SECONDS)

    async def prepare(self, family: Family) -> Authority:
        """A new authority, known to everybody before it signs. Raises: AuthorityError."""
        async with self._changing:
            if family is Family.X509 and self._upstream is not None:
                made = await asyncio.to_thread(self._make.below, self._upstream, self.bundle.x509_authorities)
                async with self.turn():
                    return self._adopt(*made)
            async with self.turn():
                return self._prepare(family)

    def activate(self, id_: str, *, force: bool = False) -> None:
        """It signs from now on. Raises: AuthorityError; NotAcknowledgedError unless forced."""
        authority = self.authorities.find(id_)
        if not force and (waiting := self.unacknowledged(authority.since)):
            raise NotAcknowledgedError(waiting)
        self._install(self.authorities.activate(id_, self._old_retires(authority.family)))

    def taint(self, id_: str) -> None:
        """Everything it signed is replaced at once. Raises: AuthorityError."""
        if self.authorities.find(id_).family is Family.X509 and self._upstream is not None:
            text = "an upstream authority signs here: taint there what it should not have signed"
            raise AuthorityError(text)
        self._install(self.authorities.taint(id_))

    def revoke(self, id_: str, *, force: bool = False) -> None:
        """Nothing it signed is believed any more. Raises: AuthorityError; NotAcknowledgedError unless forced."""
        authority = self.authorities.find(id_)
        if not force and authority.status is Status.TAINTED and (waiting := self.waiting):
            raise NotAcknowledgedError(waiting)
        self._install(self.authorities.revoke(id_))

    @property
    def waiting(self) -> Sequence[str]:
        """Agents that have not acknowledged the state of now."""
        return self.unacknowledged(self.authorities.sequence)

    def reload(self) -> None:
        """Another server that shares the keystore may have changed the authorities. Raises: KeystoreError."""
        data = self._keystore.load(journal.NAME)
        if data is None:
            raise KeystoreError("the journal of authorities is gone: restore a backup")
        found = journal.load(data)
        if (
            found.authorities == self.authorities
            and found.above == self._above
            and found.nested == self._nested
        ) and all(found.kept.get(id_) == held.kept for id_, held in self._material.items()):
            return
        living = [a for a in found.authorities.all if a.status is not Status.REVOKED]
        self._material = {
            a.id: load(self._keystore, a, found.kept[a.id]) for a in living if a.id in found.kept
        }
        self.authorities, believed = found.authorities, set(self.bundle.x509_authorities)
        self._nested, self._above = dict(found.nested), found.above
        self._know()
        self.is_narrower = not believed <= set(self.bundle.x509_authorities)
        for watcher in self._watchers:
            watcher()

    def refresh(self) -> bool:
        """Does what is due by lifetime; says whether anything was."""
        now, before = self._clock(), (self.authorities, dict(self._material))
        retired = self.authorities.retire(now)
        if retired != self.authorities:
            self._install(retired)
        self._renew_issuing(now)
        for family in Family:
            self._rotate(family, now)
        return (self.authorities, self._material) != before

    def _begin(self) -> None:
        """An authority of each family signs; one that slept through its life is replaced."""
        now = self._clock()
        for family in Family:
            active = self.authorities.one(family, Status.ACTIVE)
            if active is not None and now < active.lifetime.not_before:
                raise AuthorityError(
                    f"the {family} authority is not valid at {now.isoformat()}: is the clock right?"
                )
            if active is None or now >= active.lifetime.not_after:
                prepared = self.authorities.one(family, Status.PREPARED)
                if prepared is None or now >= prepared.lifetime.not_after:
                    prepared = self._prepare(family)
                self._install(self.authorities.activate(prepared.id, now))
        if self._upstream is not None:
            self._hear(self._upstream.publish(self._jwt_keys(), self.bundle.x509_authorities))
        self.refresh()

    def _rotate(self, family: Family, now: datetime) -> None:
        active = self._active(family)
        prepared = self.authorities.one(family, Status.PREPARED)
        asks_above = family is Family.X509 and self._upstream is not None
        if prepared is None and now >= active.lifetime.prepare_at and not asks_above:
            prepared = self._prepare(family)
        if prepared is None or now < active.lifetime.activate_at:
            return
        if now >= active.lifetime.insist_at or not self.unacknowledged(prepared.since):
            self.activate(prepared.id, force=True)

    async def _ask_upstream(self, upstream: Upstream) -> None:
        """What blocks runs in a thread; what changes does so here."""
        try:
            above = await asyncio.to_thread(upstream.publish, self._jwt_keys(), self.bundle.x509_authorities)
            if self._is_news(above):
                async with self.turn():
                    self._hear(above)
            active = self._active(Family.X509)
            due = self._clock() >= active.lifetime.prepare_at and not self.authorities.of(
                Family.X509, Status.PREPARED
            )
            if due or self._is_tainted_above(active):
                made = await asyncio.to_thread(self._make.below, upstream, self.bundle.x509_authorities)
                async with self.turn():
                    id_ = self._adopt(*made).id
                    if self._is_tainted_above(active):
                        self.activate(id_, force=True)
        except AuthorityError as error:
            log.warning("upstream.failed", error=str(error))

    def _is_tainted_above(self, authority: Authority) -> bool:
        return bool(signers(self._material[authority.id].kept.chain) & set(self._tainted_above))

    def _is_news(self, above: Above | None) -> bool:
        if above is None:
            return False
        known, same_taint = self._above, set(above.tainted) == set(self._tainted_above)
        return not (known and _same_content(above.bundle, known) and same_taint)

    def _hear(self, above: Above | None) -> None:
        if above is None or not self._is_news(above):
            return
        self._above, self._tainted_above = above.bundle, above.tainted
        self._install(self.authorities.touched())

    def _renew_issuing(self, now: datetime) -> None:
        """Under our own root: leaves chain to it whatever issuing authority signed them."""
        for authority in self.authorities.of(Family.X509, Status.ACTIVE, Status.PREPARED):
            held = self._material[authority.id]
            if held.root is None or held.issuing is None or not must_replace(lifetime_of(held.issuing), now):
                continue
            self._material[authority.id] = self._make.under(held.kept.key, held.root)
            self._install(self.authorities)
            self._keystore.forget_key(held.kept.issuing_key)

    def _prepare(self, family: Family) -> Authority:
        if family is Family.JWT:
            return self._adopt(*self._make.jwt())
        if self._upstream is not None:
            return self._adopt(*self._make.below(self._upstream, self.bundle.x509_authorities))
        return self._adopt(*self._make.own_root())

    def _adopt(self, made: Authority, material: Material) -> Authority:
        self._material[made.id] = material
        self._install(self.authorities.prepare(made))
        return self.authorities.find(made.id)

    def _old_retires(self, family: Family) -> datetime:
        """When the last thing the active authority signed, or signs now, will have expired."""
        active = self.authorities.one(family, Status.ACTIVE)
        if active is None:
            return self._clock()
        issuing = self._material[active.id].issuing
        if issuing is not None:
            return issuing.certificate.not_valid_after_utc
        return min(self._clock() + MAX_JWT_TTL, active.lifetime.not_after)

    def _install(self, authorities: Authorities) -> None:
        """Durable first, then in force, then said."""
        living = {a.id for a in authorities.all if a.status is not Status.REVOKED}
        kept = {id_: held.kept for id_, held in self._material.items() if id_ in living}
        self._keystore.store(
            journal.NAME,
            journal.dump(Journal(self.trust_domain, authorities, kept, self._nested, self._above)),
        )
        over = [self._material.pop(id_) for id_ in list(self._material) if id_ not in living]
        self.authorities, believed = authorities, set(self.bundle.x509_authorities)
        self._know()
        self.is_narrower = not believed <= set(self.bundle.x509_authorities)
        for watcher in self._watchers:
            watcher()
        for held in over:
            for name in filter(None, (held.kept.key, held.kept.issuing_key)):
                self._keystore.forget_key(name)

    def _know(self) -> None:
        """What every issuance asks for, worked out once."""
        nested = tuple(key for found in self._nested.values() for key in found)
        roots, keys_above = (
            (self._above.x509_authorities, self._above.jwt_authorities) if self._above else ((), ())
        )
        self.bundle = self.authorities.bundle(
            self.trust_domain, self._settings.refresh_hint, roots, (*keys_above, *nested)
        )
        x509_, jwt_ = (self.authorities.one(family, Status.ACTIVE) for family in (Family.X509, Family.JWT))
        if x509_ is not None and (issuing := self._material[x509_.id].issuing) is not None:
            self._issuing = issuing
        if jwt_ is not None and (signer := self._material[jwt_.id].jwt) is not None:
            self._jwt = signer

    def _active(self, family: Family) -> Authority:
        found = self.authorities.one(family, Status.ACTIVE)
        if found is None:
            raise AuthorityError(f"no {family} authority is active")
        return found

    def _jwt_keys(self) -> tuple[JwtKey, ...]:
        living = (a for a in self.authorities.of(Family.JWT) if a.status is not Status.REVOKED)
        return tuple(JwtKey(a.id, a.roots[0]) for a in living)

    def _issue_workload(
        self, spiffe_id: SpiffeId, proven: ProvenKey, ttl: timedelta, dns_names: tuple[str, ...]
    ) -> X509Svid:
        if problems := name_problems(spiffe_id, dns_names, self.trust_domain):
            raise RegistrationError("; ".join(problems))
        return self._issue(spiffe_id, proven, ttl, dns_names)

    def _issue(
        self,
        spiffe_id: SpiffeId,
        proven: ProvenKey,
        ttl: timedelta,
        dns_names: tuple[str, ...] = (),
        ip_addresses: tuple[str, ...] = (),
    ) -> X509Svid:
        return issue(
            spiffe_id,
            proven,
            signer=self._issuing,
            now=self._clock(),
            serial=self._new_serial(),
            ttl=ttl,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )


def _same_content(one: TrustBundle, other: TrustBundle) -> bool:
    return (one.x509_authorities, one.jwt_authorities) == (other.x509_authorities, other.jwt_authorities)
