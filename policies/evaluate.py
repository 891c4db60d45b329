"""The offline answer: would this request be allowed, and which rule says so?

A fold over a DecisionProgram; the same program compiled to Envoy must answer the same. `Facts` and `holds`
decide one condition, for the other folds too. What a rule means is said in `lower`, not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, assert_never

from policies.attributes import Attribute, Key
from policies.authentication import ALWAYS_SPACE_DELIMITED
from policies.document import Json
from policies.normalize import normalize, normalize_raw
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
    Value,
    pattern,
)
from policies.program import (
    DEFAULT_ALLOW,
    DEFAULT_DENY,
    MALFORMED_IDENTITY,
    QUARANTINE,
    Clause,
    DecisionProgram,
    Delegation,
    Protocol,
)
from policies.request import IpAddress, Request
from policies.token import Refusal, authenticate, normalized
from policies.values import fold_case
from policies.workload import MeshSettings, MtlsMode

MTLS_STRICT: Final = "mtls-strict"  # plaintext to a port that takes mutual TLS only: reset, no HTTP status
MALFORMED_PATH: Final = "malformed-path"  # Envoy answers 400 before any rule


@dataclass(frozen=True, slots=True)
class Outside:
    """What a decision needs and no policy says.

    `now`: Unix time (without it no token is good). `jwks`: fetched keys by `JwtRule.key_source`. `authorizers`:
    what each external authorizer answers; one that is not named here denies, as one that is dead does.
    """

    now: float | None = None
    jwks: Mapping[str, str] = field(default_factory=dict[str, str])
    authorizers: Mapping[str, bool] = field(default_factory=dict[str, bool])


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule`: the deciding clause's name or one of the constants. `status`: 200, 400, 401, 403; 0 without HTTP.

    `asked`: the external authorizers it was put to. `audited`: the AUDIT rules that matched.
    """

    allowed: bool
    rule: str
    status: int
    asked: tuple[str, ...] = ()
    audited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRunDecision:
    """What the tried policies would say: the rule that matched or a constant; None where none are tried."""

    deny: Decision | None
    allow: Decision | None


def evaluate(
    program: DecisionProgram,
    request: Request,
    settings: MeshSettings,
    mode: MtlsMode = MtlsMode.PERMISSIVE,
    outside: Outside = Outside(),
) -> Decision:
    """Authorizers, tokens, DENY, ALLOW, each in order. `mode`: the port's, where it is to be judged too."""
    if mode is MtlsMode.STRICT and request.principal is None:
        return Decision(False, MTLS_STRICT, 0)
    arriving = Facts(seen_in(mode, request), settings)
    if program.protocol is Protocol.HTTP and arriving.path is None:
        return Decision(False, MALFORMED_PATH, 400)
    asked = tuple(_asked(program, arriving))
    for delegation, name in asked:
        if not _agrees(delegation, outside):
            return replace(_decision(program, False, name), asked=(delegation.provider,))
    facts = authenticated(program, arriving, outside)
    if isinstance(facts, Refusal):
        return Decision(False, facts.rule, facts.status)
    decision = _decide(program, facts)
    if not asked and not program.audit:
        return decision
    audited = tuple(dict.fromkeys(c.name for c in program.audit if matches(c, facts)))
    return replace(decision, asked=tuple(delegation.provider for delegation, _ in asked), audited=audited)


def evaluate_dry_run(
    program: DecisionProgram,
    request: Request,
    settings: MeshSettings,
    mode: MtlsMode = MtlsMode.PERMISSIVE,
    outside: Outside = Outside(),
) -> DryRunDecision:
    """The verdict of each action's tried policies, whatever the enforced ones say; none on a refused token."""
    arriving = Facts(seen_in(mode, request), settings)
    facts = authenticated(program, arriving, outside)
    deny = allow = None
    if isinstance(facts, Refusal):
        return DryRunDecision(deny, allow)
    if program.dry_run.deny is not None:
        name = next((c.name for c in program.dry_run.deny if matches(c, facts)), None)
        deny = _decision(program, name is None, name or DEFAULT_ALLOW)
    if program.dry_run.allow is not None:
        name = next((c.name for c in program.dry_run.allow if matches(c, facts)), None)
        allow = _decision(program, name is not None, name or DEFAULT_DENY)
    return DryRunDecision(deny, allow)


def seen_in(mode: MtlsMode, request: Request) -> Request:
    """A DISABLE port sees no handshake, so nobody there has an identity or a server name."""
    return replace(request, principal=None, sni="") if mode is MtlsMode.DISABLE else request


def authenticated(program: DecisionProgram, facts: Facts, outside: Outside) -> Facts | Refusal:
    """The facts with what the request's tokens say."""
    if not program.authentication.rules or facts.request.claims is not None:
        return facts
    checked = authenticate(program.authentication, facts.request, outside.now, outside.jwks)
    return checked if isinstance(checked, Refusal) else Facts(checked, facts.settings)


def _asked(program: DecisionProgram, facts: Facts) -> Iterable[tuple[Delegation, str]]:
    """Each delegation that the request falls under, with the rule that says so."""
    for delegation in program.delegations:
        name = next((c.name for c in delegation.clauses if matches(c, facts)), None)
        if name is not None:
            yield delegation, name


def _agrees(delegation: Delegation, outside: Outside) -> bool:
    """Nobody can ask a provider that is not declared."""
    return delegation.authorizer is not None and outside.authorizers.get(delegation.provider, False)


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

    __slots__ = ("_account", "_claims", "_host", "_namespace", "path", "request", "settings")

    def __init__(self, request: Request, settings: MeshSettings) -> None:
        self.request = request
        self.settings = settings
        self.path = normalize(request.path, settings.path_normalization)
        self._host = fold_case(request.host)
        self._namespace, self._account = _identity(request.principal)
        self._claims = None if request.claims is None else normalized(request.claims, ALWAYS_SPACE_DELIMITED)

    def text(self, key: Key) -> str | None:
        """The attribute's value, the texts of a list joined; None when it is absent."""
        match key.attribute:
            case Attribute.PRINCIPAL:
                return self.request.principal
            case Attribute.NAMESPACE:
                return self._namespace
            case Attribute.SERVICE_ACCOUNT:
                return self._account
            case Attribute.TRUST_DOMAIN:
                domain, slash, _ = (self.request.principal or "").partition("/")
                return domain if slash else None
            case Attribute.PATH:
                return self.path or None
            case Attribute.METHOD:
                return self.request.method or None
            case Attribute.HOST:
                return self._host or None
            case Attribute.SNI:
                return self.request.sni or None
            case Attribute.HEADER:
                return self._header(key.name)
            case Attribute.SOURCE_IP | Attribute.REMOTE_IP | Attribute.DESTINATION_IP:
                address = self.address(key.attribute)
                return None if address is None else str(address)
            case Attribute.REQUEST_PRINCIPAL:
                principal = self.request_principal
                return None if principal is None else "/".join(principal)
            case Attribute.AUDIENCES | Attribute.PRESENTER | Attribute.CLAIM | Attribute.METADATA:
                texts = self.texts(key)
                return None if texts is None else ", ".join(texts)
            case Attribute.DESTINATION_PORT:
                raise ValueError("lowering folds the port away")
            case _:
                assert_never(key.attribute)

    def texts(self, key: Key) -> tuple[str, ...] | None:
        """The texts of a claim or of metadata, which may be one or a list; None when it is absent or neither."""
        value = self._json(key)
        if isinstance(value, str):
            return (value,)
        return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else None

    def is_list(self, key: Key) -> bool:
        return isinstance(self._json(key), list)

    def address(self, attribute: Attribute) -> IpAddress | None:
        """Where nobody names the client, it is the direct peer."""
        match attribute:
            case Attribute.SOURCE_IP:
                return self.request.source_ip
            case Attribute.REMOTE_IP:
                return self.request.remote_ip or self.request.source_ip
            case _:
                return self.request.destination_ip

    @property
    def request_principal(self) -> tuple[str, str] | None:
        """Issuer and subject, where the token has both."""
        issuer, subject = (self._claims or {}).get("iss"), (self._claims or {}).get("sub")
        return (issuer, subject) if isinstance(issuer, str) and isinstance(subject, str) else None

    def _json(self, key: Key) -> Json:
        if key.attribute is Attribute.METADATA:
            value, path = self.request.metadata.get(key.name), key.path
        else:
            value, path = self._claims, key.claim
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def _header(self, name: str) -> str | None:
        match name:
            case "host" | ":authority":  # Envoy keeps it as :authority
                return self.request.host or None
            case ":method":
                return self.request.method or None
            case ":path":
                return normalize_raw(self.request.path, self.settings.path_normalization) or None
            case _:
                return self.request.headers.get(name)


def matches(clause: Clause, facts: Facts) -> bool:
    for condition in clause.conditions:  # noqa: SIM110 (all() with a generator costs a third more)
        if not holds(condition, facts):
            return False
    return True


def holds(condition: Condition, facts: Facts) -> bool:
    """An absent attribute matches no value, so a negated condition on it holds."""
    key = condition.key
    if key.attribute in _STRUCTURED:
        return _holds_structured(condition, facts)
    text = facts.text(key)
    if text is None:
        return condition.negated
    for value in condition.values:
        if _matches(value, text, key.attribute):
            return not condition.negated
    return condition.negated


_STRUCTURED: Final = frozenset(
    {
        Attribute.SOURCE_IP,
        Attribute.REMOTE_IP,
        Attribute.DESTINATION_IP,
        Attribute.REQUEST_PRINCIPAL,
        Attribute.AUDIENCES,
        Attribute.PRESENTER,
        Attribute.CLAIM,
        Attribute.METADATA,
    }
)


def _holds_structured(condition: Condition, facts: Facts) -> bool:
    """The attributes that are more than one text."""
    key = condition.key
    match key.attribute:
        case Attribute.REQUEST_PRINCIPAL:
            principal = facts.request_principal
            found = principal is not None and any(_is_principal(v, *principal) for v in condition.values)
        case Attribute.AUDIENCES | Attribute.PRESENTER | Attribute.CLAIM:
            texts = facts.texts(key) or ()
            found = any(_matches(value, text, key.attribute) for text in texts for value in condition.values)
        case Attribute.METADATA:
            texts, listed = facts.texts(key) or (), facts.is_list(key)
            found = any(_is_metadata(value, text, listed) for text in texts for value in condition.values)
        case _:
            address = facts.address(key.attribute)
            found = any(_in_network(value, address) for value in condition.values)
    return found is not condition.negated


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
        case Glob() | Template():
            return _regex(value).fullmatch(text) is not None
        case Network() | RequestPrincipal() | Listed():
            raise ValueError(f"{attribute} is compared as text")
        case _:
            assert_never(value)


@lru_cache(maxsize=4096)
def _regex(value: Glob | Template) -> re.Pattern[str]:
    return re.compile(pattern(value))


def _in_network(value: Value, address: IpAddress | None) -> bool:
    return isinstance(value, Network) and address is not None and address in value.network


def _is_principal(value: Value, issuer: str, subject: str) -> bool:
    if not isinstance(value, RequestPrincipal):
        return False
    attribute = Attribute.REQUEST_PRINCIPAL
    return _matches(value.issuer, issuer, attribute) and _matches(value.subject, subject, attribute)


def _is_metadata(value: Value, text: str, listed: bool) -> bool:
    """`[v]` looks into a list, anything else at a text."""
    if isinstance(value, Listed):
        return listed and _matches(value.text, text, Attribute.METADATA)
    return not listed and _matches(value, text, Attribute.METADATA)


def _identity(principal: str | None) -> tuple[str | None, str | None]:
    """Namespace of `td/ns/N/…`, and `namespace/service account` of exactly `td/ns/N/sa/S`."""
    match (principal or "").split("/"):
        case [domain, "ns", namespace, "sa", account] if domain and namespace and account:
            return namespace, f"{namespace}/{account}"
        case [domain, "ns", namespace, _, *_] if domain and namespace:
            return namespace, None
        case _:
            return None, None
