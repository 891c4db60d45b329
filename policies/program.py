"""A DecisionProgram: everything that is decided about requests to one port of one workload.

`lower` makes it, and it is the only meaning a rule has; `evaluate`, `explain`, `scope` and
`xds.compile` are folds over it. It holds no Envoy and no YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from policies.authentication import Authentication
from policies.authorizer import Authorizer
from policies.predicate import Condition
from policies.problem import Origin

DEFAULT_DENY = "default-deny"  # ALLOW policies select the workload and none of their rules matched
DEFAULT_ALLOW = "default-allow"  # no ALLOW policy selects the workload
MALFORMED_IDENTITY = "malformed-identity"  # the peer's certificate carries more than one URI SAN
LATEST = 6  # what a sidecar can keep in mind for connections that are open; older ones the drain has ended
QUARANTINE = "quarantine"  # the peer's identity, or the very certificate, is cut off by a Quarantine


class Action(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class Protocol(StrEnum):
    """How a port's bytes are read. HTTP covers HTTP/1.1, HTTP/2 and gRPC."""

    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Clause:
    """One (from entry, to entry) pair of a rule: a conjunction; no conditions = matches everything.

    `name` is `namespace/policy[rule index]`, shared by the pairs of one rule: it is what Envoy reports.
    """

    name: str
    conditions: tuple[Condition, ...]
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Revoked:
    """Whom a Quarantine cuts off, before any policy is asked.

    `principals` as policies write them (`<td>/ns/<ns>/sa/<sa>`); `serials` of certificates, lower-case hex
    without leading zeros. `latest_…`: at most LATEST of each, the newest first: cut off from raw TCP that is open.
    """

    principals: frozenset[str] = frozenset()
    serials: frozenset[str] = frozenset()
    latest_principals: tuple[str, ...] = ()
    latest_serials: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.principals or self.serials)


@dataclass(frozen=True, slots=True)
class Delegation:
    """CUSTOM: a request that one of the clauses matches is put to `authorizer`; None (not declared): denied."""

    provider: str
    authorizer: Authorizer | None
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class DryRun:
    """Policies that only say what they would do, an independent verdict for each action; None: there are none."""

    deny: tuple[Clause, ...] | None = None
    allow: tuple[Clause, ...] | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class DecisionProgram:
    """In order: `revoked`, `delegations` (all that match must agree), tokens, `deny` (any match denies), `allow`.

    If `allow_applies`, a request needs one matching ALLOW clause; with no `allow` clause that denies everything
    ("allow nothing"). `audit` only marks requests. `dry_run` decides nothing, and neither does `observed`: what would be
    decided if the workload were not only observed.
    `policies` names every policy that selected the workload (`namespace/policy`), for explanations.
    """

    protocol: Protocol
    port: int
    deny: tuple[Clause, ...] = ()
    allow: tuple[Clause, ...] = ()
    allow_applies: bool = False
    policies: tuple[str, ...] = field(default=())
    revoked: Revoked = Revoked()
    audit: tuple[Clause, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    dry_run: DryRun = DryRun()
    authentication: Authentication = Authentication()
    observed: DecisionProgram | None = None

    def clauses(self) -> Iterator[Clause]:
        """Every clause of whatever action, in the order they are asked."""
        for delegation in self.delegations:
            yield from delegation.clauses
        yield from self.audit
        yield from self.deny
        yield from self.allow
        yield from self.dry_run.deny or ()
        yield from self.dry_run.allow or ()
        if self.observed is not None:
            yield from self.observed.clauses()
