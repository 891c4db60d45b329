"""The offline answer: would this request be allowed, and which rule says so?

A fold over a DecisionProgram; the same program compiled to Envoy must answer the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from policies.attributes import Attribute
from policies.normalize import normalize
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value
from policies.program import DEFAULT_ALLOW, DEFAULT_DENY, Clause, DecisionProgram, Protocol
from policies.request import Request
from policies.workload import MeshSettings


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule` is the deciding clause's name or one of the defaults. `status`: 200 or 403, 0 on TCP."""

    allowed: bool
    rule: str
    status: int


def evaluate(program: DecisionProgram, request: Request, settings: MeshSettings) -> Decision:
    """DENY first, in order; then ALLOW, in order."""
    facts = Facts(request, settings)
    denied = next((c for c in program.deny if matches(c, facts)), None)
    if denied is not None:
        return _decision(program, False, denied.name)
    if not program.allow_applies:
        return _decision(program, True, DEFAULT_ALLOW)
    allowed = next((c for c in program.allow if matches(c, facts)), None)
    return _decision(program, allowed is not None, allowed.name if allowed else DEFAULT_DENY)


class Facts:
    """A request's attributes, each worked out once."""

    __slots__ = ("_namespace", "_service_account", "path", "request")

    def __init__(self, request: Request, settings: MeshSettings) -> None:
        self.request = request
        self.path = normalize(request.path, settings.path_normalization)
        self._namespace, self._service_account = _identity(request.principal)

    def text(self, condition: Condition) -> str | None:
        """The attribute's value; None when it is absent."""
        match condition.key.attribute:
            case Attribute.PRINCIPAL:
                return self.request.principal
            case Attribute.NAMESPACE:
                return self._namespace
            case Attribute.SERVICE_ACCOUNT:
                return self._service_account
            case Attribute.HOST:
                return self.request.host.lower() or None
            case Attribute.METHOD:
                return self.request.method or None
            case Attribute.PATH:
                return self.path or None
            case Attribute.HEADER:
                return self.request.headers.get(condition.key.name)
            case Attribute.SOURCE_IP | Attribute.DESTINATION_PORT:
                raise ValueError(f"{condition.key} is no text")
            case _:
                assert_never(condition.key.attribute)


def matches(clause: Clause, facts: Facts) -> bool:
    return all(holds(condition, facts) for condition in clause.conditions)


def holds(condition: Condition, facts: Facts) -> bool:
    """An absent attribute matches no value, so a negated condition on it holds."""
    if condition.key.attribute is Attribute.SOURCE_IP:
        hit = any(_in_network(value, facts.request) for value in condition.values)
    else:
        text = facts.text(condition)
        is_header = condition.key.attribute is Attribute.HEADER
        hit = text is not None and any(matches_text(v, text, empty_is_present=is_header) for v in condition.values)
    return hit is not condition.negated


def matches_text(value: Value, text: str, *, empty_is_present: bool) -> bool:
    match value:
        case Exact(wanted):
            return text == wanted
        case Prefix(wanted):
            return text.startswith(wanted)
        case Suffix(wanted):
            return text.endswith(wanted)
        case Present():
            return bool(text) or empty_is_present
        case Network():
            return False
        case _:
            assert_never(value)


def _in_network(value: Value, request: Request) -> bool:
    return isinstance(value, Network) and request.source_ip is not None and request.source_ip in value.network


def _identity(principal: str | None) -> tuple[str | None, str | None]:
    """Namespace and `namespace/service account` of `td/ns/N/sa/S`; any other shape has neither."""
    match (principal or "").split("/"):
        case [_, "ns", namespace, "sa", account] if namespace and account:
            return namespace, f"{namespace}/{account}"
        case _:
            return None, None


def _decision(program: DecisionProgram, allowed: bool, rule: str) -> Decision:
    if program.protocol is Protocol.TCP:
        return Decision(allowed, rule, 0)
    return Decision(allowed, rule, 200 if allowed else 403)
