"""An Explanation in words: a table of rules, the sentence that says what decided, and what would allow it.

Text only, no colour; identities are shortened here and nowhere else. Names no command that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import assert_never

from policies.attributes import Attribute
from policies.evaluate import MALFORMED_PATH, MTLS_STRICT, Decision
from policies.explain import Explanation, Outcome, Step, Unused
from policies.predicate import (
    Exact,
    Glob,
    Listed,
    Network,
    Prefix,
    Present,
    RequestPrincipal,
    Suffix,
    Template,
    Value,
)
from policies.program import DEFAULT_ALLOW, DEFAULT_DENY, MALFORMED_IDENTITY, QUARANTINE, Action
from policies.token import TOKEN_AUDIENCE, TOKEN_INVALID, TOKEN_MISSING

_LABELS = {
    Attribute.PRINCIPAL: "principal",
    Attribute.NAMESPACE: "namespace",
    Attribute.SERVICE_ACCOUNT: "service account",
    Attribute.TRUST_DOMAIN: "trust domain",
    Attribute.REMOTE_IP: "remote ip",
    Attribute.DESTINATION_IP: "destination ip",
    Attribute.SNI: "sni",
    Attribute.REQUEST_PRINCIPAL: "request principal",
    Attribute.AUDIENCES: "audience",
    Attribute.PRESENTER: "presenter",
    Attribute.CLAIM: "claim",
    Attribute.METADATA: "metadata",
    Attribute.SOURCE_IP: "source ip",
    Attribute.DESTINATION_PORT: "port",
    Attribute.HOST: "host",
    Attribute.METHOD: "method",
    Attribute.PATH: "path",
    Attribute.HEADER: "header",
}
MAX_VALUES = 3


def render(explanation: Explanation) -> list[str]:
    """The table, `decided by`, and the hint, a line each."""
    lines = _table(explanation) or ["no policy selects this workload"]
    return [
        *(f"  {line}" for line in lines),
        f"  decided by: {describe_decision(explanation.decision)}.",
        *(f"  {line}" for line in suggest(explanation)),
    ]


def describe_decision(decision: Decision) -> str:
    match decision.rule:
        case rule if rule == MTLS_STRICT:
            return "mTLS is STRICT on this port: plaintext is refused before any policy is asked"
        case rule if rule == MALFORMED_PATH:
            return "Envoy refuses the path itself (400), before any policy is asked"
        case rule if rule == TOKEN_INVALID:
            return "a token the request carries is not valid (401)"
        case rule if rule == TOKEN_AUDIENCE:
            return "the request's token is for another audience (403)"
        case rule if rule == TOKEN_MISSING:
            return "a RequestAuthentication requires a token and the request carries none (401)"
        case rule if decision.asked and not decision.allowed:
            return (
                f"CUSTOM rule {rule} matched and the authorizer {', '.join(decision.asked)} did not allow it"
            )
        case rule if rule == MALFORMED_IDENTITY:
            return "the caller's certificate carries more than one identity"
        case rule if rule == QUARANTINE:
            return "a Quarantine cuts the caller's identity off, before any policy is asked"
        case rule if rule == DEFAULT_ALLOW:
            return "no DENY rule matched and no ALLOW policy selects the workload"
        case rule if rule == DEFAULT_DENY:
            return "no ALLOW rule matched and at least one ALLOW policy selects the workload"
        case rule:
            return f"{'ALLOW' if decision.allowed else 'DENY'} rule {rule} matched"


def suggest(explanation: Explanation) -> list[str]:
    """What would have to change for the request to be allowed; nothing when it is."""
    decision = explanation.decision
    if decision.allowed:
        return []
    if decision.rule == MTLS_STRICT:
        return ["To allow it: call through a sidecar, or set the PeerAuthentication's mode to PERMISSIVE."]
    if decision.rule == QUARANTINE:
        return ["To allow it: lift the Quarantine that names it (pylis get quarantines)."]
    denied = next((o for o in explanation.outcomes if o.action is Action.DENY and o.matched), None)
    if denied is not None and denied.name == decision.rule:
        return [f"To allow it: narrow the DENY rule at {_place(denied)}."]
    if decision.rule != DEFAULT_DENY:
        return []
    nearest = explanation.nearest
    if nearest is None:
        return ["To allow it: write an ALLOW rule for it; none applies to this port."]
    return [f"To allow it: {'; '.join(_change(step) for step in nearest.failed)} (rule {_place(nearest)})."]


def describe_outcome(outcome: Outcome) -> str:
    """`matched`, or what held and the first condition that did not."""
    if not outcome.failed:
        return "matched" if outcome.steps else "matches everything"
    held = ", ".join(dict.fromkeys(_label(step) for step in outcome.held))
    first = outcome.failed[0]
    seen = "absent" if first.seen is None else shorten(first.seen) or '""'
    verb = "must not be" if first.condition.negated else "wants"
    failed = f"{_label(first)}: {verb} {_values(first.condition.values)}, is {seen}"
    return f"matched {held}; {failed}" if held else failed


def written(value: Value) -> str:
    """A value as a policy has it."""
    match value:
        case Exact(text):
            return text
        case Prefix(text):
            return f"{text}*"
        case Suffix(text):
            return f"*{text}"
        case Present():
            return "*"
        case Network(network):
            return str(network)
        case Glob(text) | Template(text):
            return text
        case RequestPrincipal(issuer, Exact("")):
            return f"{written(issuer)} (with an empty subject)"
        case RequestPrincipal(Present(), Present()):
            return "*"
        case RequestPrincipal(issuer, subject):
            return f"{written(issuer)}/{written(subject)}"
        case Listed(text):
            return f"[{written(text)}]"
        case _:
            assert_never(value)


def shorten(text: str) -> str:
    """`td/ns/N/sa/S` → `…/ns/N/sa/S`."""
    domain, mark, rest = text.partition("/ns/")
    return f"…/ns/{rest}" if mark and domain and "/" not in domain and "/sa/" in rest else text


def _table(explanation: Explanation) -> list[str]:
    rows = [("order", "policy", "action", "rule", "outcome", "")]
    items: list[Outcome | Unused] = [*explanation.outcomes, *explanation.unused]
    items.sort(key=lambda item: item.action is Action.ALLOW)
    policies = list(dict.fromkeys((item.action, item.policy) for item in items))
    for order, (action, policy) in enumerate(policies, 1):
        own = [item for item in items if item.policy == policy]
        for position, (name, group) in enumerate(groupby(own, key=lambda item: item.name)):
            first = position == 0
            outcome, place = _row(list(group), explanation)
            rows.append(
                (
                    str(order) if first else "",
                    policy if first else "",
                    str(action) if first else "",
                    name.removeprefix(policy),
                    outcome,
                    place,
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in padded] if len(rows) > 1 else []


def _row(group: list[Outcome | Unused], explanation: Explanation) -> tuple[str, str]:
    """A rule's clause that came nearest stands for the rule."""
    clauses = [item for item in group if isinstance(item, Outcome)]
    if not clauses:
        return _unused_row(group[0])
    best = max(clauses, key=lambda o: (o.matched, o is explanation.nearest, len(o.held), -len(o.failed)))
    mark = "   ← nearest" if best is explanation.nearest else ""
    return describe_outcome(best), f"{_where(best)}{mark}"


def _unused_row(item: Outcome | Unused) -> tuple[str, str]:
    return (item.reason, str(item.origin)) if isinstance(item, Unused) else ("", "")


def _where(outcome: Outcome) -> str:
    origin = outcome.failed[0].condition.origin if outcome.failed else outcome.origin
    return str(origin if str(origin) else outcome.origin)


def _place(outcome: Outcome) -> str:
    where = _where(outcome)
    return f"{outcome.name} {where}" if where else outcome.name


def _change(step: Step) -> str:
    field = step.condition.path.rpartition(".")[2] or _label(step)
    if step.condition.negated:
        return f"take what matches {step.seen or 'it'} out of {field}"
    if step.seen is None and step.condition.key.row.needs_identity:
        return "call with mutual TLS (there is no identity on plaintext)"
    if step.seen is None and step.condition.key.row.needs_token:
        return f"send a valid token with {_label(step)} {_values(step.condition.values)}"
    if step.seen is None:
        return f"send {_label(step)} {_values(step.condition.values)}"
    return (
        f"add {step.seen} to {field} ({_label(step)})" if field == "values" else f"add {step.seen} to {field}"
    )


def _label(step: Step) -> str:
    key = step.condition.key
    match key.attribute:
        case Attribute.HEADER:
            return f"header {key.name}"
        case Attribute.CLAIM:
            return f"claim {'.'.join(key.path)}"
        case Attribute.METADATA:
            return f"metadata {key.name} {'.'.join(key.path)}"
        case attribute:
            return _LABELS[attribute]


def _values(values: Sequence[Value]) -> str:
    shown = [shorten(written(value)) for value in values[:MAX_VALUES]]
    if len(values) > MAX_VALUES:
        shown.append(f"{len(values) - MAX_VALUES} more")
    return " or ".join(shown)
