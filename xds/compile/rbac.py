"""The authorization of one port: one ECDS resource that its listener refers to, and on TCP what stands before it.

An edit of policy replaces this resource alone: it is in force on live connections at once and drains none. On
HTTP it holds all the filters a decision takes, in this order; most ports need the last one only.

    texts of the request · CUSTOM per provider · tokens · texts of the token · AUDIT · dry runs · DENY and ALLOW

The network filters of a TCP port know no such chain: what is not ALLOW or DENY stands in the listener there.
Source: envoy.extensions.filters.http.filter_chain.v3; docs/adr/0005-authorization-by-matcher.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.message import Message

from policies.program import Clause, DecisionProgram, Delegation, Protocol
from xds import names
from xds.compile import authorizers, filter_state, tokens
from xds.compile.keys import Source
from xds.compile.matcher import authorization, inputs, verdict
from xds.compile.surroundings import Surroundings
from xds.schema import new, pack

HTTP_RBAC: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK_RBAC: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"
FILTER_CHAIN: Final = "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig"
_NETWORK_STATS: Final = "tcp."

Named = tuple[str, Message]


def extension(port_name: str, program: DecisionProgram, around: Surroundings) -> Message:
    """A TypedExtensionConfig named `rbac:<port name>`."""
    match program.protocol:
        case Protocol.HTTP:
            filters = list(http_filters(program, around))
            config = filters[0][1] if len(filters) == 1 else _chain(filters)
        case Protocol.TCP:
            config = network_rbac(program, around)
    name = names.authorization(port_name)
    return new("envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=pack(config))


def filter_types(protocol: Protocol) -> list[str]:
    """The types the listener expects of the ECDS resource."""
    found = (HTTP_RBAC, FILTER_CHAIN) if protocol is Protocol.HTTP else (NETWORK_RBAC,)
    return [f"type.googleapis.com/{name}" for name in found]


def discovery() -> dict[str, object]:
    """The config source of an ECDS reference."""
    return {"ads": {}, "resource_api_version": "V3"}


def http_filters(program: DecisionProgram, around: Surroundings) -> Iterator[Named]:
    """Every HTTP filter of a decision, in order; the last is DENY and ALLOW."""
    domains = around.trust_domains
    looked_at = inputs(tuple(program.clauses()))
    yield from _texts("request-texts", looked_at, filter_state.REQUEST_TEXTS)
    for delegation in program.delegations:
        yield from _http_custom(delegation, around)
    yield from tokens.filters(program.authentication, dict(around.jwks))
    yield from _texts("token-texts", looked_at, filter_state.TOKEN_TEXTS)
    if program.audit:
        marks = verdict(program.audit, domains, matched="LOG", otherwise=("not-audited", "ALLOW"))
        # the shadow copy names the rule that matched
        named = {"shadow_matcher": marks, "shadow_rules_stat_prefix": names.AUDIT_PREFIX}
        yield "audit", new(HTTP_RBAC, matcher=marks, rules_stat_prefix=names.AUDIT_PREFIX, **named)
    for prefix, tried in _tried(program, domains):
        yield prefix, new(HTTP_RBAC, shadow_matcher=tried, shadow_rules_stat_prefix=prefix)
    enforced = {"matcher": authorization(program, domains), "rules_stat_prefix": names.ENFORCED_PREFIX}
    yield "authorization", new(HTTP_RBAC, **enforced, **_observed(program, domains))


def network_rbac(program: DecisionProgram, around: Surroundings) -> Message:
    matcher = authorization(program, around.trust_domains)
    # the network filter names what it denies; the shadow copy names what it allows
    shadow: dict[str, object] = {"shadow_matcher": matcher, "shadow_rules_stat_prefix": names.ENFORCED_PREFIX}
    shadow |= _observed(program, around.trust_domains)
    return new(NETWORK_RBAC, stat_prefix=_NETWORK_STATS, matcher=matcher, **shadow)


def _observed(program: DecisionProgram, domains: Sequence[str]) -> dict[str, object]:
    """What would be decided stands beside what is: from one to the other is an edit of this resource alone."""
    if program.observed is None:
        return {}
    would = authorization(program.observed, domains)
    return {"shadow_matcher": would, "shadow_rules_stat_prefix": names.OBSERVED_PREFIX}


def network_filters(program: DecisionProgram, around: Surroundings) -> Iterator[Named]:
    """What stands before the ECDS reference in a TCP chain: CUSTOM, AUDIT, dry runs."""
    domains = around.trust_domains
    for delegation in program.delegations:
        yield from _network_custom(delegation, around)
    if program.audit:
        marks = verdict(program.audit, domains, matched="LOG", otherwise=("not-audited", "ALLOW"))
        yield (
            "audit",
            new(
                NETWORK_RBAC,
                stat_prefix=_NETWORK_STATS,
                matcher=marks,
                shadow_matcher=marks,
                shadow_rules_stat_prefix=names.AUDIT_PREFIX,
            ),
        )
    for prefix, tried in _tried(program, domains):
        yield (
            prefix,
            new(
                NETWORK_RBAC,
                stat_prefix=_NETWORK_STATS,
                shadow_matcher=tried,
                shadow_rules_stat_prefix=prefix,
            ),
        )


def _texts(name: str, wanted: set[Source], texts: dict[Source, tuple[str, str]]) -> Iterator[Named]:
    config = filter_state.request_texts(wanted, texts)
    if config is not None:
        yield name, config


def _http_custom(delegation: Delegation, around: Surroundings) -> Iterator[Named]:
    provider = delegation.provider
    if not _is_reachable(delegation, around):
        yield (
            f"custom-{provider}",
            new(HTTP_RBAC, matcher=_refusing(delegation, around), rules_stat_prefix=names.ENFORCED_PREFIX),
        )
        return
    yield (
        f"custom-{provider}",
        new(
            HTTP_RBAC,
            shadow_matcher=_marking(delegation, around),
            shadow_rules_stat_prefix=names.custom_prefix(provider),
        ),
    )
    if delegation.authorizer is not None:
        yield f"ask-{provider}", authorizers.http_filter(delegation.authorizer)


def _network_custom(delegation: Delegation, around: Surroundings) -> Iterator[Named]:
    provider = delegation.provider
    if not _is_reachable(delegation, around):
        refusing = _refusing(delegation, around)
        yield f"custom-{provider}", new(NETWORK_RBAC, stat_prefix=_NETWORK_STATS, matcher=refusing)
        return
    yield (
        f"custom-{provider}",
        new(
            NETWORK_RBAC,
            stat_prefix=_NETWORK_STATS,
            shadow_matcher=_marking(delegation, around),
            shadow_rules_stat_prefix=names.custom_prefix(provider),
        ),
    )
    if delegation.authorizer is not None:
        yield f"ask-{provider}", authorizers.network_filter(delegation.authorizer)


def _is_reachable(delegation: Delegation, around: Surroundings) -> bool:
    """A cluster that is not there would answer every request with an error."""
    asked = delegation.authorizer
    return asked is not None and (asked.service, asked.port) in around.authorizers


def _refusing(delegation: Delegation, around: Surroundings) -> Message:
    return verdict(
        delegation.clauses, around.trust_domains, matched="DENY", otherwise=(authorizers.NOT_ASKED, "ALLOW")
    )


def _marking(delegation: Delegation, around: Surroundings) -> Message:
    marked = [
        Clause(f"{authorizers.MARK}{clause.name}", clause.conditions, clause.origin)
        for clause in delegation.clauses
    ]
    return verdict(marked, around.trust_domains, matched="ALLOW", otherwise=(authorizers.NOT_ASKED, "DENY"))


def _tried(program: DecisionProgram, domains: Sequence[str]) -> Iterator[Named]:
    """A dry run of each action: its own prefix of statistics and metadata, as Istio names them."""
    deny, allow = program.dry_run.deny, program.dry_run.allow
    if deny is not None:
        tried = verdict(deny, domains, matched="DENY", otherwise=("dry-run-deny-none", "ALLOW"))
        yield names.DRY_RUN_DENY_PREFIX, tried
    if allow is not None:
        tried = verdict(allow, domains, matched="ALLOW", otherwise=("dry-run-allow-none", "DENY"))
        yield names.DRY_RUN_ALLOW_PREFIX, tried


def _chain(filters: Sequence[Named]) -> Message:
    listed = [{"name": name, "typed_config": pack(config)} for name, config in filters]
    return new(FILTER_CHAIN, default_filter_chain={"filters": listed})
