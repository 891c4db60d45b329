"""The smallest change of policies that allows one refused request, as objects to apply.

Where nothing allows it: one more ALLOW policy for this caller, method, path and port. Where a DENY rule refuses it:
that rule without this request, which is the same rule for every other caller, method, path or port. What no policy
can change (mTLS, a bad token, a Quarantine) is not suggested; the reason is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from policies.attributes import Attribute, Key
from policies.authorization_policy import AuthorizationPolicy, Match, Rule
from policies.evaluate import Facts, Outside, evaluate, seen_in
from policies.lower import rule_name
from policies.problem import Origin
from policies.program import DEFAULT_DENY, Action, Protocol
from policies.request import Request
from policies.side import Policies, Target, selected, side
from policies.values import read_port

MAX_NAME = 63


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`changed` to be applied, an existing policy of the same name replaced; none: `reason` says why."""

    changed: tuple[AuthorizationPolicy, ...] = ()
    reason: str = ""


def suggest(
    policies: Policies, target: Target, request: Request, *, path: str = "", outside: Outside = Outside()
) -> Suggestion:
    """`path`: what the rule shall allow (a pattern), if more than the request's own path."""
    changed = dict[str, AuthorizationPolicy]()
    now = policies
    for _ in range(sum(len(p.rules) for p in policies.authorization) + 2):
        one = side(now, target)
        decision = evaluate(one.program, request, one.settings, one.mode, outside)
        if decision.allowed:
            return Suggestion(tuple(changed.values()), "" if changed else "it is allowed already")
        facts = Facts(seen_in(one.mode, request), one.settings)
        new = (
            _allow(now, target, facts, path)
            if decision.rule == DEFAULT_DENY
            else _narrow(now, target, facts, decision.rule)
        )
        if new is None:
            return Suggestion(reason=decision.rule)
        changed[new.full_name] = new
        kept = (p for p in now.authorization if p.full_name != new.full_name)
        now = replace(now, authorization=(*kept, new))
    return Suggestion(reason="no change of policies allows it")


def _allow(policies: Policies, target: Target, facts: Facts, path: str) -> AuthorizationPolicy | None:
    workload, principal = target.workload, facts.text(Key(Attribute.PRINCIPAL))
    operation = [_match(Attribute.DESTINATION_PORT, str(target.port))]
    if target.protocol is Protocol.HTTP:
        written = path or _as_value(facts.path or "")
        if not written:
            return None
        operation += [_match(Attribute.METHOD, facts.request.method), _match(Attribute.PATH, written)]
    who = (
        [_match(Attribute.PRINCIPAL, principal)]
        if principal
        else [_match(Attribute.PRINCIPAL, "*", negated=True)]
    )
    if principal is None and facts.request.source_ip is not None:
        who.append(_match(Attribute.SOURCE_IP, str(facts.request.source_ip)))
    caller = principal.rpartition("/")[2] if principal else "plaintext"
    name = _free_name(policies, workload.namespace, f"{workload.name}-allow-{caller}")
    rule = Rule((tuple(who),), (tuple(operation),))
    return AuthorizationPolicy(workload.namespace, name, Action.ALLOW, dict(workload.labels), (rule,))


def _narrow(policies: Policies, target: Target, facts: Facts, name: str) -> AuthorizationPolicy | None:
    """The DENY policy of the deciding rule, with that rule for everything but this request."""
    for policy in selected(policies, target.workload):
        for index, rule in enumerate(policy.rules):
            if rule_name(policy, index) == name and policy.action is Action.DENY:
                others = tuple(_all_but(rule, target, facts))
                rules = (*policy.rules[:index], *others, *policy.rules[index + 1 :])
                return replace(policy, rules=rules)
    return None


def _all_but(rule: Rule, target: Target, facts: Facts) -> Iterable[Rule]:
    """Rules that together match what `rule` does without this request: another caller, or method, or path, or port."""
    principal = facts.text(Key(Attribute.PRINCIPAL))
    caller = _match(Attribute.PRINCIPAL, principal or "*", negated=principal is not None)
    yield replace(rule, when=(*rule.when, caller))
    if target.protocol is Protocol.HTTP:
        yield from _without(rule, Attribute.METHOD, facts.request.method)
        yield from _without(rule, Attribute.PATH, facts.path or "")
    yield from _without(rule, Attribute.DESTINATION_PORT, str(target.port))


def _without(rule: Rule, attribute: Attribute, value: str) -> Iterable[Rule]:
    """The rule where the attribute is not `value`; nothing, where it can be no other."""
    if not value or (attribute is Attribute.PATH and _as_value(value) != value):
        return
    narrowed = [
        operation
        for operation in (_add_not(o, attribute, value) for o in rule.operations or ((),))
        if not _is_empty(operation, attribute)
    ]
    if narrowed:
        yield replace(rule, operations=tuple(narrowed))


def _add_not(operation: tuple[Match, ...], attribute: Attribute, value: str) -> tuple[Match, ...]:
    there = next((m for m in operation if m.key.attribute is attribute and m.negated), None)
    if there is None:
        return (*operation, _match(attribute, value, negated=True))
    wider = replace(there, values=tuple(dict.fromkeys((*there.values, value))))
    return tuple(wider if m is there else m for m in operation)


def _is_empty(operation: Sequence[Match], attribute: Attribute) -> bool:
    """Every value that the list allows is taken out again."""
    own = [m for m in operation if m.key.attribute is attribute]
    out = {v for m in own if m.negated for v in m.values}
    if attribute is Attribute.DESTINATION_PORT:
        ports = {read_port(v) for v in out}
        return any(all(read_port(v) in ports for v in m.values) for m in own if not m.negated)
    return any(set(m.values) <= out for m in own if not m.negated)


def _as_value(path: str) -> str:
    """A path as the value of a rule; where it would be read as a template, its beginning as a prefix."""
    start = re.split(r"[{}]", path, maxsplit=1)[0]
    return path if start == path else f"{start}*"


def _match(attribute: Attribute, value: str, *, negated: bool = False) -> Match:
    return Match(Key(attribute), (value,), negated, "", Origin())


def _free_name(policies: Policies, namespace: str, wanted: str) -> str:
    """A name that no policy of the namespace has."""
    base = re.sub(r"[^a-z0-9-]+", "-", wanted.lower()).strip("-")[:MAX_NAME].strip("-")
    taken = {p.name for p in policies.authorization if p.namespace == namespace}
    names = (base, *(f"{base[: MAX_NAME - 5]}-{n}" for n in range(2, 1000)))
    return next(name for name in names if name not in taken)
