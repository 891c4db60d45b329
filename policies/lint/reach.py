"""What rules name, against what is there: workloads, identities, services, ports, modes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policies import codes
from policies.attributes import Attribute, Key, Transport
from policies.authorization_policy import AuthorizationPolicy, Match
from policies.evaluate import Facts, holds
from policies.lint.world import World, at_match, at_rule, finding
from policies.lower import lower_match
from policies.predicate import Condition
from policies.problem import Origin, Problem
from policies.program import Action, Protocol
from policies.request import Request
from policies.request_authentication import authentication
from policies.select import select
from policies.selector import selects
from policies.side import Target, mode_of
from policies.values import read_port
from policies.workload import MtlsMode, Workload

_NAMED = (Attribute.PRINCIPAL, Attribute.SERVICE_ACCOUNT, Attribute.NAMESPACE, Attribute.HOST)


def check(world: World) -> Iterator[Problem]:
    """Nothing, where no workload is known."""
    if not world.workloads:
        return
    yield from _selects_nothing(world)
    yield from _no_policy(world)
    for policy, match in world.matches():
        targets = [t for t in world.targets if _is_for(world, policy, t.workload)]
        if match.key.attribute in _NAMED:
            yield from _unknown_names(world, policy, match)
        if match.key.attribute is Attribute.DESTINATION_PORT:
            yield from _unknown_port(policy, match, targets)
        if match.key.row.needs_identity:
            yield from _needs_mtls(world, policy, match, targets)
        if match.key.row.needs_token:
            yield from _no_tokens(world, policy, match)
    for policy in world.policies.authorization:
        targets = [t for t in world.targets if _is_for(world, policy, t.workload)]
        yield from _http_on_tcp(policy, targets)


def _is_for(world: World, policy: AuthorizationPolicy, workload: Workload) -> bool:
    return bool(select([policy], workload, world.policies.settings))


def _selects_nothing(world: World) -> Iterable[Problem]:
    settings = world.policies.settings
    objects = (
        *world.policies.authorization,
        *world.policies.peer_authentications,
        *world.policies.request_authentications,
    )
    for found in objects:
        if getattr(found, "targets", ()):
            continue
        everywhere = found.namespace == settings.root_namespace
        inside = [w for w in world.workloads if everywhere or w.namespace == found.namespace]
        if any(selects(found.selector, w.labels) for w in inside) or (everywhere and not found.selector):
            continue
        labels = ", ".join(f"{key}={value}" for key, value in found.selector.items())
        what = (
            f"no workload of {found.namespace} carries {labels}"
            if labels
            else f"{found.namespace} has no workload"
        )
        known = sorted({f"{k}={v}" for w in inside for k, v in w.labels.items()})
        hint = f"labels there: {', '.join(known[:8])}" if known else "is the namespace right?"
        yield finding(codes.SELECTS_NOTHING, f"{found.full_name} spec.selector", what, hint, found.origin)


def _no_policy(world: World) -> Iterable[Problem]:
    settings = world.policies.settings
    for workload in world.workloads:
        if not select(world.policies.authorization, workload, settings):
            name = f"{workload.namespace}/{workload.name}"
            hint = f"an ALLOW policy without rules in {settings.root_namespace} denies what nothing allows"
            text = "no AuthorizationPolicy selects it: every caller is allowed"
            yield finding(codes.NO_POLICY, name, text, hint, world.origins.get(name, Origin()))


def _unknown_names(world: World, policy: AuthorizationPolicy, match: Match) -> Iterable[Problem]:
    """A value that nobody known matches; a wildcard too."""
    if match.key.attribute is Attribute.HOST and not world.hosts:
        return
    known = list(_known(world, match.key))
    for condition in _one_by_one(world, policy, match):
        if not any(holds(condition, facts) for facts in known):
            value = condition.path
            code, text = _unknown(match.key.attribute, value)
            yield at_match(code, policy, match, text, _near(world, match.key.attribute))


def _one_by_one(world: World, policy: AuthorizationPolicy, match: Match) -> Iterable[Condition]:
    """A condition for each written value, which stands in `path`."""
    for value in match.values:
        single = Match(match.key, (value,), False, value, match.origin)
        yield lower_match(single, policy, world.policies.settings)


def _known(world: World, key: Key) -> Iterable[Facts]:
    settings = world.policies.settings
    if key.attribute is Attribute.HOST:
        return (Facts(Request(host=host, path="/"), settings) for host in sorted(world.hosts))
    domains = (settings.trust_domain, *settings.trust_domain_aliases)
    return (
        Facts(Request(f"{domain}/ns/{namespace}/sa/{account}"), settings)
        for domain in domains
        for namespace, account in sorted(world.callers)
    )


def _unknown(attribute: Attribute, value: str) -> tuple[str, str]:
    match attribute:
        case Attribute.HOST:
            return codes.UNKNOWN_HOST, f'no service has the host "{value}"'
        case Attribute.NAMESPACE:
            return codes.UNKNOWN_NAMESPACE, f'nobody calls from the namespace "{value}"'
        case _:
            return codes.UNKNOWN_PRINCIPAL, f'no workload and no registration has the identity "{value}"'


def _near(world: World, attribute: Attribute) -> str:
    match attribute:
        case Attribute.HOST:
            known = sorted(world.hosts)
        case Attribute.NAMESPACE:
            known = sorted({namespace for namespace, _ in world.callers})
        case _:
            known = sorted(f"{namespace}/{account}" for namespace, account in world.callers)
    more = ", …" if len(known) > 8 else ""
    return f"known here: {', '.join(known[:8])}{more}"


def _unknown_port(policy: AuthorizationPolicy, match: Match, targets: list[Target]) -> Iterable[Problem]:
    served = sorted({target.port for target in targets})
    for value in match.values:
        if served and read_port(value) not in served:
            text = f"none of the selected workloads serves port {value}"
            hint = f"they serve {', '.join(map(str, served[:8]))}; the workload's own port counts, not the service's"
            yield at_match(codes.UNKNOWN_PORT, policy, match, text, hint)


def _needs_mtls(
    world: World, policy: AuthorizationPolicy, match: Match, targets: list[Target]
) -> Iterable[Problem]:
    for target in targets:
        found = mode_of(world.policies, target)
        if found.mode is MtlsMode.STRICT:
            continue
        where = f"{target.workload.name}.{target.workload.namespace}:{target.port}"
        by = f" by {found.decided_by.full_name}" if found.decided_by else ""
        effect = "so a not form holds for it" if match.negated else "so no value matches it"
        who = "every caller" if found.mode is MtlsMode.DISABLE else "a plaintext caller"
        text = f"{where} is {found.mode}{by}: {who} has no identity there, {effect}"
        yield at_match(codes.NEEDS_MTLS, policy, match, text, "set mode: STRICT")
        return


def _no_tokens(world: World, policy: AuthorizationPolicy, match: Match) -> Iterable[Problem]:
    settings = world.policies.settings
    for workload in world.workloads:
        if not _is_for(world, policy, workload):
            continue
        if not authentication(world.policies.request_authentications, workload, settings).rules:
            name = f"{workload.namespace}/{workload.name}"
            effect = "holds for every request" if match.negated else "holds for none"
            text = f"no RequestAuthentication selects {name}, so this {effect}"
            yield at_match(codes.NO_TOKENS, policy, match, text, "write one with the issuer and its keys")
            return


def _http_on_tcp(policy: AuthorizationPolicy, targets: list[Target]) -> Iterable[Problem]:
    """Rules that also apply to a port where there is no HTTP to look at."""
    for index, rule in enumerate(policy.rules):
        if not any(match.key.row.transport is Transport.HTTP_ONLY for match in rule.matches):
            continue
        ports = [
            value
            for match in rule.matches
            if match.key.attribute is Attribute.DESTINATION_PORT and not match.negated
            for value in match.values
        ]
        for target in targets:
            if target.protocol is Protocol.HTTP or (ports and str(target.port) not in ports):
                continue
            where = f"{target.workload.name}.{target.workload.namespace}:{target.port}"
            if policy.action is Action.ALLOW:
                if not ports:
                    continue
                text = f"{where} is TCP, where there are no HTTP fields: the rule allows nothing there"
            else:
                text = f"{where} is TCP, where there are no HTTP fields: the rule matches more there"
            yield at_rule(codes.HTTP_ON_TCP, policy, index, text, "name the HTTP ports in to.operation.ports")
            break
