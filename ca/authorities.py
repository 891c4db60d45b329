"""The authorities of a trust domain as a value: who is prepared, active, old; what the bundle holds. Pure.

Every change gives a new value. `sequence` grows with each change that agents have to know of: another bundle,
or an authority that was tainted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ca.bundle import JwtKey, TrustBundle
from ca.errors import AuthorityError
from ca.rotation import TRANSITIONS, WANTED, Event, Family, Lifetime, Status
from ca.spiffe_id import TrustDomain

MAX_REVOKED: Final = 10  # remembered, so that people see what became of one


@dataclass(frozen=True, slots=True)
class Authority:
    """`id`: subject key ID (X.509) or key ID (JWT), hex.

    `roots`: what it puts into the bundle: DER certificates (X.509), one DER public key (JWT).
    `since`: the first sequence whose bundle has it. `retires`: when the last thing it signed has expired; None
    while it may sign.
    """

    id: str
    family: Family
    status: Status
    lifetime: Lifetime
    roots: tuple[bytes, ...]
    since: int
    retires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Authorities:
    sequence: int = 0
    all: tuple[Authority, ...] = ()

    def of(self, family: Family, *statuses: Status) -> tuple[Authority, ...]:
        return tuple(a for a in self.all if a.family is family and (not statuses or a.status in statuses))

    def one(self, family: Family, status: Status) -> Authority | None:
        """The one with that status, None when there is none or several."""
        found = self.of(family, status)
        return found[0] if len(found) == 1 else None

    def find(self, id_: str) -> Authority:
        """Raises: AuthorityError."""
        found = next((a for a in self.all if a.id == id_), None)
        if found is None:
            raise AuthorityError(f"there is no authority {id_!r}: pylis ca status lists them")
        return found

    @property
    def tainted(self) -> tuple[str, ...]:
        return tuple(a.id for a in self.all if a.status is Status.TAINTED)

    def bundle(
        self,
        trust_domain: TrustDomain,
        refresh_hint: int,
        more_roots: tuple[bytes, ...] = (),
        more_jwt: tuple[JwtKey, ...] = (),
    ) -> TrustBundle:
        """`more_…`: what control planes above and below this one have put into the trust domain's bundle."""
        living = [a for a in self.all if a.status is not Status.REVOKED]
        roots = dict.fromkeys(der for a in living if a.family is Family.X509 for der in a.roots)
        roots |= dict.fromkeys(more_roots)
        own = [JwtKey(a.id, a.roots[0]) for a in living if a.family is Family.JWT]
        keys = {key.kid: key for key in (*more_jwt, *own)}
        sequence = max(self.sequence, 1)
        return TrustBundle(trust_domain, tuple(roots), sequence, refresh_hint, tuple(keys.values()))

    def prepare(self, new: Authority) -> Authorities:
        """One prepared before and never used makes room."""
        kept = self._moved(self.of(new.family, Status.PREPARED), Event.RETIRE)
        added = replace(kept, all=(*kept.all, replace(new, status=Status.PREPARED)))
        return added._numbered(self, new.id)

    def activate(self, id_: str, old_retires: datetime) -> Authorities:
        """`old_retires`: when the last thing the one so far active signed will have expired.

        Raises: AuthorityError.
        """
        chosen = self._wanted(id_, Event.ACTIVATE)
        before = self.of(chosen.family, Status.ACTIVE)
        superseded = self._moved(before, Event.SUPERSEDE, retires=old_retires)
        return superseded._moved((chosen,), Event.ACTIVATE)

    def taint(self, id_: str) -> Authorities:
        """All that it signed is to be replaced at once. Raises: AuthorityError."""
        moved = self._moved((self._wanted(id_, Event.TAINT),), Event.TAINT)
        return replace(moved, sequence=self.sequence + 1)

    def revoke(self, id_: str) -> Authorities:
        """Nothing that it signed is believed any more. Raises: AuthorityError."""
        return self._moved((self._wanted(id_, Event.REVOKE),), Event.REVOKE)._numbered(self)

    def retire(self, now: datetime) -> Authorities:
        """Without those whose last signature has expired."""
        over = [
            a for a in self.all if a.status in (Status.OLD, Status.TAINTED) and a.retires and a.retires <= now
        ]
        return self._moved(over, Event.RETIRE)._numbered(self) if over else self

    def touched(self) -> Authorities:
        """The bundle has changed for another reason."""
        return replace(self, sequence=self.sequence + 1)

    def _wanted(self, id_: str, event: Event) -> Authority:
        found = self.find(id_)
        if (found.status, event) not in TRANSITIONS:
            text = f"authority {id_} is {found.status}; only one that is {WANTED[event]} can be"
            raise AuthorityError(f"{text} {_PAST[event]}")
        return found

    def _moved(
        self, which: Iterable[Authority], event: Event, retires: datetime | None = None
    ) -> Authorities:
        ids = {a.id for a in which}
        moved = [
            replace(a, status=TRANSITIONS[a.status, event], retires=retires or a.retires)
            if a.id in ids
            else a
            for a in self.all
        ]
        revoked = [a.id for a in moved if a.status is Status.REVOKED]
        forgotten = set(revoked[:-MAX_REVOKED])
        return replace(self, all=tuple(a for a in moved if a.id not in forgotten))

    def _numbered(self, before: Authorities, new: str = "") -> Authorities:
        """A new sequence number if what the bundle holds has changed; `since` of the `new` one."""
        changed = _material(self) != _material(before)
        sequence = before.sequence + 1 if changed else before.sequence
        all_ = tuple(replace(a, since=sequence) if a.id == new else a for a in self.all)
        return Authorities(sequence, all_)


_PAST: Final = {Event.ACTIVATE: "activated", Event.TAINT: "tainted", Event.REVOKE: "revoked"}


def _material(authorities: Authorities) -> list[tuple[Family, bytes]]:
    living = (a for a in authorities.all if a.status is not Status.REVOKED)
    return sorted({(a.family, der) for a in living for der in a.roots})
