"""What a linter knows: the policies, and what of workloads and services was given with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policies import codes
from policies.authorization_policy import AuthorizationPolicy, Match
from policies.lower import rule_name
from policies.problem import Origin, Problem, Severity
from policies.side import Policies, Target
from policies.workload import Workload

SEVERITIES: Mapping[str, Severity] = {
    code: Severity.NOTE if code in (codes.ANY_PRINCIPAL, codes.COSTLY, codes.REPEATED) else Severity.WARNING
    for code in codes.CODES
    if code.startswith("PYL13")
}


@dataclass(frozen=True, slots=True)
class World:
    """`workloads` empty: nothing is known of them, and what needs to know them is not checked.

    `targets`: their ports. `callers`: (namespace, service account) of every identity. `hosts`: of services.
    """

    policies: Policies
    workloads: tuple[Workload, ...] = ()
    targets: tuple[Target, ...] = ()
    callers: frozenset[tuple[str, str]] = frozenset()
    hosts: frozenset[str] = frozenset()
    origins: Mapping[str, Origin] = field(default_factory=dict[str, Origin])  # of workloads, by full name

    def matches(self) -> Iterable[tuple[AuthorizationPolicy, Match]]:
        """Every list of every rule."""
        for policy in self.policies.authorization:
            for rule in policy.rules:
                for match in rule.matches:
                    yield policy, match


def finding(code: str, path: str, message: str, hint: str, origin: Origin) -> Problem:
    return Problem(code, path, message, hint, origin, SEVERITIES[code])


def at_match(code: str, policy: AuthorizationPolicy, match: Match, message: str, hint: str = "") -> Problem:
    """A finding at one list; the path begins with the policy."""
    return finding(code, f"{policy.full_name} {match.path}", message, hint, match.origin)


def at_rule(code: str, policy: AuthorizationPolicy, index: int, message: str, hint: str = "") -> Problem:
    return finding(code, rule_name(policy, index), message, hint, policy.rules[index].origin)
