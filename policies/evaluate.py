"""The offline answer: would this request be allowed, and which rule says so?

A fold over a DecisionProgram; the same program compiled to Envoy must answer the same. `Facts` and `holds`
decide one condition, for the other folds too. What a rule means is said in `lower`, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, assert_never

from policies.attributes import Attribute, Key
from policies.normalize import normalize
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value
from policies.program import (
    DEFAULT_ALLOW,
    DEFAULT_DENY,
    MALFORMED_IDENTITY,
    QUARANTINE,
    Clause,
    DecisionProgram,
    Protocol,
)
from policies.request import Request
from policies.values import fold_case
from policies.workload import MeshSettings, MtlsMode

MTLS_STRICT: Final = "mtls-strict"  # plaintext to a port that takes mutual TLS only: reset, no HTTP status
MALFORMED_PATH: Final = "malformed-path"  # Envoy answers 400 before any rule


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule`: the deciding clause's name or one of the constants. `status`: 200, 400, 403; 0 without HTTP."""

    allowed: bool
    rule: str
    status: int


def evaluate(
    program: DecisionProgram,
    request: Request,
    settings: MeshSettings,
    mode: MtlsMode = MtlsMode.PERMISSIVE,
) -> Decision:
    """DENY first, in order; then ALLOW, in order. `mode`: the port's, where it is to be judged too."""
    if mode is MtlsMode.STRICT and request.principal is None:
        return Decision(False, MTLS_STRICT, 0)
    facts = Facts(seen_in(mode, request), settings)
    if program.protocol is Protocol.HTTP and facts.path is None:
        return Decision(False, MALFORMED_PATH, 400)
    return _decide(program, facts)


def seen_in(mode: MtlsMode, request: Request) -> Request:
    """A DISABLE port sees no certificate, so nobody there has an identity."""
    return replace(request, principal=None) if mode is MtlsMode.DISABLE else request


def _decide(program: DecisionProgram, facts: Facts) -> Decision:
    if "," in (facts.request.principal or ""):
        return _decision(program, False, MALFORMED_IDENTITY)
    if facts.request.principal in program.revoked.principals:
        return _decision(program, False, QUARANTINE)
    for clause in program.deny:
        if matches(clause, facts):
            return _decision(program, False, clause.name)
    if not program.allow_applies:
        return _decision(program, True, DEFAULT_ALLOW)
    for clause in program.allow:
        if matches(clause, facts):
            return _decision(program, True, clause.name)
    return _decision(program, False, DEFAULT_DENY)


def _decision(program: DecisionProgram, allowed: bool, rule: str) -> Decision:
    if program.protocol is Protocol.TCP:
        return Decision(allowed, rule, 0)
    return Decision(allowed, rule, 200 if allowed else 403)


class Facts:
    """A request's attributes. `path` is normalised; None: Envoy refuses it."""

    __slots__ = ("_account", "_host", "_namespace", "path", "request")

    def __init__(self, request: Request, settings: MeshSettings) -> None:
        self.request = request
        self.path = normalize(request.path, settings.path_normalization)
        self._host = fold_case(request.host)
        self._namespace, self._account = _identity(request.principal)

    def text(self, key: Key) -> str | None:
        """The attribute's value; None when it is absent."""
        match key.attribute:
            case Attribute.PRINCIPAL:
                return self.request.principal
            case Attribute.NAMESPACE:
                return self._namespace
            case Attribute.SERVICE_ACCOUNT:
                return self._account
            case Attribute.PATH:
                return self.path or None
            case Attribute.METHOD:
                return self.request.method or None
            case Attribute.HOST:
                return self._host or None
            case Attribute.HEADER:
                return self._header(key.name)
            case Attribute.SOURCE_IP:
                return None if self.request.source_ip is None else str(self.request.source_ip)
            case Attribute.DESTINATION_PORT:
                raise ValueError("lowering folds the port away")
            case _:
                assert_never(key.attribute)

    def _header(self, name: str) -> str | None:
        if name == "host":  # Envoy keeps it as :authority
            return self.request.host or None
        return self.request.headers.get(name)


def matches(clause: Clause, facts: Facts) -> bool:
    for condition in clause.conditions:  # noqa: SIM110 (all() with a generator costs a third more)
        if not holds(condition, facts):
            return False
    return True


def holds(condition: Condition, facts: Facts) -> bool:
    """An absent attribute matches no value, so a negated condition on it holds."""
    key = condition.key
    if key.attribute is Attribute.SOURCE_IP:
        return any(_in_network(value, facts.request) for value in condition.values) is not condition.negated
    text = facts.text(key)
    if text is None:
        return condition.negated
    for value in condition.values:
        if _matches(value, text, key.attribute):
            return not condition.negated
    return condition.negated


def _matches(value: Value, text: str, attribute: Attribute) -> bool:
    match value:
        case Exact():
            return text == value.text
        case Prefix():
            return text.startswith(value.text)
        case Suffix():
            return text.endswith(value.text)
        case Present():
            return bool(text) or attribute is Attribute.HEADER
        case Network():
            raise ValueError(f"{attribute} is compared as text")
        case _:
            assert_never(value)


def _in_network(value: Value, request: Request) -> bool:
    return isinstance(value, Network) and request.source_ip is not None and request.source_ip in value.network


def _identity(principal: str | None) -> tuple[str | None, str | None]:
    """Namespace and `namespace/service account` of `td/ns/N/sa/S`; any other shape has neither."""
    match (principal or "").split("/"):
        case [domain, "ns", namespace, "sa", account] if domain and namespace and account:
            return namespace, f"{namespace}/{account}"
        case _:
            return None, None
