"""What a rule means: the only place that says it. Policies of one workload become the program of one port.

Each (from entry, to entry) pair of a rule becomes a clause. Known things are folded away: the destination
port, and on TCP the HTTP-only fields. An ALLOW rule with something that cannot be checked (an HTTP field on
TCP, a field that could not be read) is dropped whole; a rule of any other action loses that field and widens.
Both err on the side of refusing. Every fold reads the result.
Source: docs/reference/policy.md (logic, value matching, trust-domain aliases, TCP versus HTTP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import product

from policies.attributes import Attribute, Key, Transport, ValueForm
from policies.authentication import Authentication
from policies.authorization_policy import AuthorizationPolicy, Match, Rule
from policies.authorizer import Speaks
from policies.predicate import (
    Condition,
    Exact,
    Glob,
    Listed,
    Network,
    Prefix,
    Present,
    RequestPrincipal,
    Suffix,
    Template,
    Text,
    Value,
)
from policies.program import Action, Clause, DecisionProgram, Delegation, DryRun, Protocol
from policies.trust_domains import expand_principal, expand_trust_domain
from policies.values import fold_case, is_template, read_network, read_port
from policies.workload import MeshSettings

Lowered = Callable[[AuthorizationPolicy], tuple[Clause, ...]]


class Dropped(StrEnum):
    """Why a rule has no clause in a program."""

    OTHER_PORT = "other ports only"
    NEEDS_HTTP = "has HTTP fields, which an ALLOW rule cannot check on TCP"
    BROKEN = "has a field that cannot be read, so it allows nothing"
    NO_METADATA = "wants metadata of a filter, and there is none on TCP"


def lower(
    selected: Sequence[AuthorizationPolicy],
    settings: MeshSettings,
    *,
    port: int,
    protocol: Protocol,
    authentication: Authentication = Authentication(),
    lowered: Lowered | None = None,
) -> DecisionProgram:
    """The program for one port; `selected` is what `select` gave for the workload, in that order.

    `lowered`: where the clauses of a policy come from, if not from `lower_policy`: who lowers often remembers them.
    """

    def of(policy: AuthorizationPolicy) -> tuple[Clause, ...]:
        if lowered is not None:
            return lowered(policy)
        return lower_policy(policy, settings, port=port, protocol=protocol)

    def clauses(action: Action, *, dry_run: bool = False) -> tuple[Clause, ...]:
        return tuple(
            clause
            for policy in selected
            if policy.action is action and policy.dry_run is dry_run
            for clause in of(policy)
        )

    def tried(action: Action) -> tuple[Clause, ...] | None:
        if any(policy.action is action and policy.dry_run for policy in selected):
            return clauses(action, dry_run=True)
        return None

    return DecisionProgram(
        protocol=protocol,
        port=port,
        deny=clauses(Action.DENY),
        allow=clauses(Action.ALLOW),
        allow_applies=any(policy.action is Action.ALLOW and not policy.dry_run for policy in selected),
        policies=tuple(policy.full_name for policy in selected),
        audit=clauses(Action.AUDIT),
        delegations=tuple(_delegations(selected, settings, of, protocol=protocol)),
        dry_run=DryRun(deny=tried(Action.DENY), allow=tried(Action.ALLOW)),
        authentication=authentication if protocol is Protocol.HTTP else Authentication(),
    )


def rule_name(policy: AuthorizationPolicy, index: int) -> str:
    """What Envoy reports and `explain` prints for a rule."""
    return f"{policy.full_name}[{index}]"


def lower_rule(
    policy: AuthorizationPolicy, index: int, settings: MeshSettings, *, port: int, protocol: Protocol
) -> tuple[Clause, ...] | Dropped:
    """The clauses of one rule for one port, or why there are none."""
    rule = policy.rules[index]
    if policy.action is Action.ALLOW and rule.broken:
        return Dropped.BROKEN
    if protocol is Protocol.TCP and policy.action is Action.ALLOW and _has_http_field(rule):
        return Dropped.NEEDS_HTTP
    clauses = list[Clause]()
    why = Dropped.OTHER_PORT
    for source, operation in product(rule.sources or ((),), rule.operations or ((),)):
        matches = [m for m in (*source, *operation, *rule.when) if _is_checked(m, protocol)]
        if not all(_port_fits(m, port) for m in matches):
            continue
        if any(_wants_metadata_on_tcp(m, protocol) for m in matches):
            why = Dropped.NO_METADATA
            continue
        conditions = tuple(lower_match(m, policy, settings) for m in matches if not _is_folded(m, protocol))
        clauses.append(Clause(rule_name(policy, index), conditions, rule.origin))
    return tuple(clauses) or why


def lower_match(match: Match, policy: AuthorizationPolicy, settings: MeshSettings) -> Condition:
    """One list of a rule as a condition."""
    key, values = match.key, dict.fromkeys(_lower_values(match.key, match.values, policy, settings))
    if key.attribute is Attribute.TRUST_DOMAIN and Present() in values:
        # every identity has a trust domain
        key, values = Key(Attribute.PRINCIPAL), dict.fromkeys((Present(),))
    return Condition(key, tuple(values), match.negated, match.path, match.origin)


def lower_text(value: str) -> Text:
    """`*` is present, a leading or else a trailing * is a wildcard, any other * is itself."""
    if value == "*":
        return Present()
    if value.startswith("*"):
        return Suffix(value[1:])
    if value.endswith("*"):
        return Prefix(value[:-1])
    return Exact(value)


def lower_request_principal(value: str) -> RequestPrincipal:
    """Split at the last slash, in Istio's order: a leading * makes the subject literal, traps and all."""
    issuer, slash, subject = value.rpartition("/")
    if value == "*":
        return RequestPrincipal(Present(), Present())
    if value.startswith("*"):
        if slash:
            return RequestPrincipal(Present() if issuer == "*" else Suffix(issuer[1:]), Exact(subject))
        return RequestPrincipal(Present(), Suffix(value[1:]))
    if value.endswith("*"):
        if slash:
            return RequestPrincipal(Exact(issuer), Present() if subject == "*" else Prefix(subject[:-1]))
        return RequestPrincipal(Prefix(value[:-1]), Present())
    return (
        RequestPrincipal(Exact(issuer), Exact(subject))
        if slash
        else RequestPrincipal(Exact(value), Exact(""))
    )


def lower_namespace(value: str) -> Text | Glob:
    """Every * of a namespace is a wildcard."""
    ends = lower_text(value)
    return ends if isinstance(ends, Present) or "*" not in ends.text else Glob(value)


def lower_policy(
    policy: AuthorizationPolicy, settings: MeshSettings, *, port: int, protocol: Protocol
) -> tuple[Clause, ...]:
    """All clauses of a policy for one port; nothing else than what is given here goes into them."""
    found = (
        lower_rule(policy, index, settings, port=port, protocol=protocol)
        for index in range(len(policy.rules))
    )
    return tuple(clause for one in found if not isinstance(one, Dropped) for clause in one)


def _delegations(
    selected: Sequence[AuthorizationPolicy], settings: MeshSettings, lowered: Lowered, *, protocol: Protocol
) -> Iterable[Delegation]:
    """One for each provider, in the order of their names."""
    by_provider = dict[str, list[Clause]]()
    for policy in selected:
        if policy.action is Action.CUSTOM:
            by_provider.setdefault(policy.provider, []).extend(lowered(policy))
    for provider, clauses in sorted(by_provider.items()):
        authorizer = settings.authorizer(provider)
        # an HTTP authorizer cannot judge a TCP connection: Istio leaves it out there
        silent = protocol is Protocol.TCP and authorizer is not None and authorizer.speaks is Speaks.HTTP
        if clauses and not silent:
            yield Delegation(provider, authorizer, tuple(clauses))


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
            case ValueForm.GLOB:
                yield lower_namespace(value)
            case ValueForm.TRUST_DOMAIN:
                yield from (lower_text(domain) for domain in expand_trust_domain(value, settings))
            case ValueForm.PATH:
                yield Template(value) if is_template(value) else lower_text(value)
            case ValueForm.REQUEST_PRINCIPAL:
                yield lower_request_principal(value)
            case ValueForm.METADATA:
                listed = value.startswith("[") and value.endswith("]") and len(value) > 2
                yield Listed(lower_text(value[1:-1])) if listed else lower_text(value)
            case ValueForm.PORT:
                raise ValueError("ports are folded, not lowered")


def _has_http_field(rule: Rule) -> bool:
    return any(m.key.row.transport is Transport.HTTP_ONLY for m in rule.matches)


def _is_checked(match: Match, protocol: Protocol) -> bool:
    return protocol is Protocol.HTTP or match.key.row.transport is Transport.ANY


def _is_folded(match: Match, protocol: Protocol) -> bool:
    """Known when the program is made: a port that fits, metadata that is not there on TCP."""
    if match.key.attribute is Attribute.METADATA:
        return protocol is Protocol.TCP
    return match.key.attribute is Attribute.DESTINATION_PORT


def _wants_metadata_on_tcp(match: Match, protocol: Protocol) -> bool:
    return match.key.attribute is Attribute.METADATA and protocol is Protocol.TCP and not match.negated


def _port_fits(match: Match, port: int) -> bool:
    if match.key.attribute is not Attribute.DESTINATION_PORT:
        return True
    return (port in map(read_port, match.values)) is not match.negated
