"""A DecisionProgram: everything that is decided about requests to one port of one workload.

`lower` makes it, and it is the only meaning a rule has; `evaluate`, `explain`, `scope` and
`xds.compile.rbac` are folds over it. It holds no Envoy and no YAML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from policies.predicate import Condition
from policies.problem import Origin

DEFAULT_DENY = "default-deny"  # ALLOW policies select the workload and none of their rules matched
DEFAULT_ALLOW = "default-allow"  # no ALLOW policy selects the workload
MALFORMED_IDENTITY = "malformed-identity"  # the peer's certificate carries more than one URI SAN
QUARANTINE = "quarantine"  # the peer's identity, or the very certificate, is cut off by a Quarantine


class Action(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"


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
    without leading zeros.
    """

    principals: frozenset[str] = frozenset()
    serials: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.principals or self.serials)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class DecisionProgram:
    """Who is revoked is denied. Then DENY clauses: any match denies. Then, if `allow_applies`, a request needs one matching ALLOW clause.

    `allow_applies` with no `allow` clause denies everything ("allow nothing").
    `policies` names every policy that selected the workload (`namespace/policy`), for explanations.
    """

    protocol: Protocol
    port: int
    deny: tuple[Clause, ...] = ()
    allow: tuple[Clause, ...] = ()
    allow_applies: bool = False
    policies: tuple[str, ...] = field(default=())
    revoked: Revoked = Revoked()
