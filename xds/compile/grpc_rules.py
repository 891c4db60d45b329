"""A DecisionProgram as RBAC `rules`, the only form gRPC enforces; what it cannot say is never sent weaker.

    an ALLOW clause gRPC cannot decide       is left out: fewer calls are allowed
    a DENY clause, a token rule, CUSTOM, or
    a revoked certificate it cannot decide   everything is denied

AUDIT and dry runs decide nothing and leave no trace in gRPC: they are not sent.
Source: gRPC A41; envoy.config.rbac.v3; what grpcio 1.85 accepts and enforces
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from policies.predicate import Exact, Prefix, Present, Suffix
from policies.program import DEFAULT_ALLOW, QUARANTINE, Clause, DecisionProgram
from xds.compile.keys import Check, Form, Range, Regex, Source, Test, translate
from xds.schema import new

_RBAC: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
_ANY: Final[dict[str, object]] = {"any": True}
_DECIDED: Final = frozenset(
    {Source.PRINCIPAL, Source.PATH, Source.METHOD, Source.HOST, Source.HEADER, Source.SOURCE_IP}
)


def filters(program: DecisionProgram, trust_domains: Sequence[str]) -> Iterator[Message]:
    """RBAC filters in the order they run. The last always is an ALLOW: what it does not name is denied."""
    deny = _policies(program.deny, trust_domains)
    if program.revoked.principals:
        revoked = [_name({"exact": f"spiffe://{one}"}) for one in sorted(program.revoked.principals)]
        deny[QUARANTINE] = {"permissions": [_ANY], "principals": revoked}
    if deny:
        yield _rbac("DENY", deny)
    if any(closing(program, trust_domains)):
        yield _rbac("ALLOW", {})
    elif program.allow_applies:
        decided = [clause for clause in program.allow if not _undecided(clause, trust_domains)]
        yield _rbac("ALLOW", _policies(decided, trust_domains))
    else:
        ours = [_name({"prefix": f"spiffe://{domain}/"}) for domain in trust_domains]
        yield _rbac("ALLOW", {DEFAULT_ALLOW: {"permissions": [_ANY], "principals": ours}})


def shortfalls(program: DecisionProgram, trust_domains: Sequence[str]) -> list[str]:
    closed = [f"gRPC cannot enforce {text}: every call is denied" for text in closing(program, trust_domains)]
    allow = program.allow if program.allow_applies else ()
    lost = {c.name: None for c in allow if _undecided(c, trust_domains)}
    return closed + [f"gRPC cannot decide {name}: it allows nothing" for name in lost]


def closing(program: DecisionProgram, trust_domains: Sequence[str]) -> Iterator[str]:
    """What is not decided and would forbid something."""
    if program.revoked.serials:
        yield "a quarantine of single certificates"
    if program.authentication.rules:
        yield "RequestAuthentication"
    yield from (f"CUSTOM by {delegation.provider}" for delegation in program.delegations)
    yield from {clause.name: None for clause in program.deny if _undecided(clause, trust_domains)}


def _undecided(clause: Clause, trust_domains: Sequence[str]) -> bool:
    return any(_test(translate(condition, trust_domains)) is None for condition in clause.conditions)


def _test(check: Check) -> Test | None:
    return check if isinstance(check, Test) and check.input.source in _DECIDED else None


def _policies(clauses: Sequence[Clause], trust_domains: Sequence[str]) -> dict[str, Any]:
    """By the rule's name; the pairs of one rule are numbered. A clause that cannot be decided makes none."""
    found: dict[str, Any] = {}
    for clause in clauses:
        tests = [_test(translate(condition, trust_domains)) for condition in clause.conditions]
        principals, permissions = list[object](), list[object]()
        for test in tests:
            if test is not None and test.input.source in (Source.PRINCIPAL, Source.SOURCE_IP):
                principals.append(
                    _negated(_either([_principal(f) for f in test.forms], "or_ids", "ids"), test, "not_id")
                )
            elif test is not None:
                forms = [_permission(test, form) for form in test.forms]
                permissions.append(_negated(_either(forms, "or_rules", "rules"), test, "not_rule"))
        if None not in tests:
            name = clause.name if clause.name not in found else f"{clause.name}#{len(found)}"
            found[name] = {
                "permissions": [{"and_rules": {"rules": permissions}} if permissions else _ANY],
                "principals": [{"and_ids": {"ids": principals}} if principals else _ANY],
            }
    return found


def _negated(one: object, test: Test, word: str) -> object:
    return {word: one} if test.negated else one


def _either(forms: list[object], kind: str, field: str) -> object:
    return forms[0] if len(forms) == 1 else {kind: {field: forms}}


def _principal(form: Form) -> object:
    if isinstance(form, Range):
        network = form.network
        return {
            "direct_remote_ip": {
                "address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen},
            }
        }  # fmt: skip
    return _name({"prefix": "spiffe://"} if isinstance(form, Present) else _text(form))


def _name(matcher: dict[str, object]) -> object:
    return {"authenticated": {"principal_name": matcher}}


def _permission(test: Test, form: Form) -> object:
    match test.input.source:
        case Source.PATH:
            return _ANY if isinstance(form, Present) else {"url_path": {"path": _text(form)}}
        case Source.METHOD:
            return _header(":method", form)
        case Source.HOST:
            return _header(":authority", form, fold_case=True)
        case _:
            return _header(test.input.header, form)


def _header(name: str, form: Form, *, fold_case: bool = False) -> object:
    if isinstance(form, Present):
        return {"header": {"name": name, "present_match": True}}
    text = {**_text(form), "ignore_case": True} if fold_case and not isinstance(form, Regex) else _text(form)
    return {"header": {"name": name, "string_match": text}}


def _text(form: Form) -> dict[str, object]:
    match form:
        case Exact(text):
            return {"exact": text}
        case Prefix(text):
            return {"prefix": text}
        case Suffix(text):
            return {"suffix": text}
        case Regex(pattern):
            return {"safe_regex": {"google_re2": {}, "regex": pattern}}
        case Present() | Range():
            raise ValueError("no text to compare with")


def _rbac(action: str, policies: dict[str, Any]) -> Message:
    return new(_RBAC, rules={"action": action, "policies": policies})
