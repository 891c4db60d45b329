"""What a rule means: the only place that says it. Policies of one workload become the program of one port.

Each (from entry, to entry) pair of a rule becomes a clause. Known things are folded away: the destination
port, and on TCP the HTTP-only fields, where an ALLOW rule that has one is dropped whole and a DENY rule loses
the field and widens. Both err on the side of refusing. Every fold reads the result.
Source: docs/reference/policy.md (logic, value matching, trust-domain aliases, TCP versus HTTP).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import product

from policies.attributes import Attribute, Key, Transport, ValueForm
from policies.authorization_policy import AuthorizationPolicy, Match, Rule
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value
from policies.program import Action, Clause, DecisionProgram, Protocol
from policies.trust_domains import expand_principal
from policies.values import fold_case, read_network, read_port
from policies.workload import MeshSettings


class Dropped(StrEnum):
    """Why a rule has no clause in a program."""

    OTHER_PORT = "other ports only"
    NEEDS_HTTP = "has HTTP fields, which an ALLOW rule cannot check on TCP"


def lower(
    selected: Sequence[AuthorizationPolicy], settings: MeshSettings, *, port: int, protocol: Protocol
) -> DecisionProgram:
    """The program for one port; `selected` is what `select` gave for the workload, in that order."""
    clauses: dict[Action, list[Clause]] = {action: [] for action in Action}
    for policy in selected:
        for index in range(len(policy.rules)):
            lowered = lower_rule(policy, index, settings, port=port, protocol=protocol)
            if not isinstance(lowered, Dropped):
                clauses[policy.action] += lowered
    return DecisionProgram(
        protocol=protocol,
        port=port,
        deny=tuple(clauses[Action.DENY]),
        allow=tuple(clauses[Action.ALLOW]),
        allow_applies=any(policy.action is Action.ALLOW for policy in selected),
        policies=tuple(policy.full_name for policy in selected),
    )


def rule_name(policy: AuthorizationPolicy, index: int) -> str:
    """What Envoy reports and `explain` prints for a rule."""
    return f"{policy.full_name}[{index}]"


def lower_rule(
    policy: AuthorizationPolicy, index: int, settings: MeshSettings, *, port: int, protocol: Protocol
) -> tuple[Clause, ...] | Dropped:
    """The clauses of one rule for one port, or why there are none."""
    rule = policy.rules[index]
    if protocol is Protocol.TCP and policy.action is Action.ALLOW and _has_http_field(rule):
        return Dropped.NEEDS_HTTP
    clauses = list[Clause]()
    for source, operation in product(rule.sources or ((),), rule.operations or ((),)):
        matches = [m for m in (*source, *operation, *rule.when) if _is_checked(m, protocol)]
        if all(_port_fits(m, port) for m in matches):
            conditions = tuple(
                lower_match(m, policy, settings)
                for m in matches
                if m.key.attribute is not Attribute.DESTINATION_PORT
            )
            clauses.append(Clause(rule_name(policy, index), conditions, rule.origin))
    return tuple(clauses) or Dropped.OTHER_PORT


def lower_match(match: Match, policy: AuthorizationPolicy, settings: MeshSettings) -> Condition:
    """One list of a rule as a condition."""
    values = dict.fromkeys(_lower_values(match.key, match.values, policy, settings))
    return Condition(match.key, tuple(values), match.negated, match.path, match.origin)


def _lower_values(
    key: Key, values: Iterable[str], policy: AuthorizationPolicy, settings: MeshSettings
) -> Iterable[Value]:
    for value in values:
        match key.row.form:
            case ValueForm.NETWORK:
                network = read_network(value)
                if network is None:
                    raise ValueError(f"{key}: {value!r} was not checked by the parser")
                yield Network(network)
            case ValueForm.EXACT_TEXT:
                yield Exact(value if "/" in value else f"{policy.namespace}/{value}")
            case ValueForm.TEXT if key.attribute is Attribute.PRINCIPAL:
                yield from (lower_text(principal) for principal in expand_principal(value, settings))
            case ValueForm.TEXT:
                yield lower_text(fold_case(value) if key.row.folds_case else value)
            case ValueForm.PORT:
                raise ValueError("ports are folded, not lowered")


def lower_text(value: str) -> Value:
    """`*` is present, a leading or else a trailing * is a wildcard, any other * is itself."""
    if value == "*":
        return Present()
    if value.startswith("*"):
        return Suffix(value[1:])
    if value.endswith("*"):
        return Prefix(value[:-1])
    return Exact(value)


def _has_http_field(rule: Rule) -> bool:
    groups = (*rule.sources, *rule.operations, rule.when)
    return any(m.key.row.transport is Transport.HTTP_ONLY for group in groups for m in group)


def _is_checked(match: Match, protocol: Protocol) -> bool:
    return protocol is Protocol.HTTP or match.key.row.transport is Transport.ANY


def _port_fits(match: Match, port: int) -> bool:
    if match.key.attribute is not Attribute.DESTINATION_PORT:
        return True
    return (port in map(read_port, match.values)) is not match.negated
