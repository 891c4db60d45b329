"""Who may do what, in prose: a fold over the policies of one workload. No decision is made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from policies.attributes import Attribute
from policies.authorization_policy import AuthorizationPolicy, Match, Rule
from policies.document import Json
from policies.lower import rule_name
from policies.problem import Origin
from policies.program import Action
from policies.request_authentication import authentication
from policies.scope import may_ever_allow
from policies.side import Policies, Target, mode_of, selected, side
from policies.wording import shorten
from policies.workload import MtlsMode

_MODES = {
    MtlsMode.STRICT: "mutual TLS only",
    MtlsMode.PERMISSIVE: "mutual TLS and plaintext",
    MtlsMode.DISABLE: "plaintext only",
}
_VERBS = {
    Action.ALLOW: "may",
    Action.DENY: "may never",
    Action.CUSTOM: "is asked about to",
    Action.AUDIT: "is marked when it wants to",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One (from entry, to entry) pair of a rule in words; `tried`: it is only tried and decides nothing."""

    action: Action
    rule: str
    text: str
    origin: Origin
    tried: bool = False

    def to_json(self) -> dict[str, Json]:
        return {
            "rule": self.rule,
            "action": str(self.action),
            "dryRun": self.tried,
            "text": self.text,
            "file": self.origin.file or None,
            "line": self.origin.line or None,
        }


@dataclass(frozen=True, slots=True)
class Port:
    """`callers`: those of the known identities that some request of may be allowed."""

    number: int
    protocol: str
    mode: str
    callers: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        callers: list[Json] = [*self.callers]
        return {"port": self.number, "protocol": self.protocol, "mtls": self.mode, "callers": callers}


@dataclass(frozen=True, slots=True)
class Description:
    """`closed`: what no rule allows is denied."""

    namespace: str
    name: str
    ports: tuple[Port, ...]
    closed: bool
    issuers: tuple[str, ...]
    sentences: tuple[Sentence, ...]

    def of(self, action: Action) -> list[Sentence]:
        return [s for s in self.sentences if s.action is action and not s.tried]

    def to_json(self) -> dict[str, Json]:
        issuers: list[Json] = [*self.issuers]
        return {
            "namespace": self.namespace,
            "name": self.name,
            "default": "deny" if self.closed else "allow",
            "ports": [port.to_json() for port in self.ports],
            "tokenIssuers": issuers,
            "rules": [sentence.to_json() for sentence in self.sentences],
        }

    def lines(self) -> list[str]:
        lines = [f"{self.namespace}/{self.name}"]
        for port in self.ports:
            callers = ", ".join(map(shorten, port.callers)) or "nobody that is known"
            lines.append(
                f"  port {port.number} ({port.protocol}) takes {port.mode}; may be reached by {callers}"
            )
        if self.issuers:
            lines.append(f"  tokens of {', '.join(self.issuers)} are checked")
        lines += _section(
            "  nobody may call, but:" if self.closed else "  everybody may call.", self.of(Action.ALLOW)
        )
        lines += _section("  and whatever is allowed:", self.of(Action.DENY))
        lines += _section("  an external authorizer decides further:", self.of(Action.CUSTOM))
        lines += _section("  marked in the access log:", self.of(Action.AUDIT))
        lines += _section("  tried, without effect:", [s for s in self.sentences if s.tried])
        return lines


def describe(policies: Policies, targets: Sequence[Target], callers: Iterable[str]) -> Description:
    """`targets`: the ports of one workload, at least one. `callers`: the known principals."""
    workload = targets[0].workload
    known = sorted(callers)
    own = selected(policies, workload)
    ports = tuple(
        Port(
            target.port,
            str(target.protocol),
            _MODES[mode_of(policies, target).mode],
            tuple(c for c in known if may_ever_allow(side(policies, target).program, c)),
        )
        for target in targets
    )
    tokens = authentication(policies.request_authentications, workload, policies.settings)
    return Description(
        workload.namespace,
        workload.name,
        ports,
        any(policy.action is Action.ALLOW and not policy.dry_run for policy in own),
        tuple(dict.fromkeys(rule.issuer or "any issuer" for rule in tokens.rules)),
        tuple(sentence for policy in own for sentence in describe_policy(policy)),
    )


def describe_policy(policy: AuthorizationPolicy) -> list[Sentence]:
    """A sentence for each way a rule can match."""
    return [
        Sentence(policy.action, rule_name(policy, index), text, rule.origin, policy.dry_run)
        for index, rule in enumerate(policy.rules)
        for text in _texts(policy.action, rule)
    ]


def _texts(action: Action, rule: Rule) -> Iterable[str]:
    for source, operation in product(rule.sources or ((),), rule.operations or ((),)):
        yield f"{_who(source)} {_VERBS[action]} {_what(operation)}{_where(rule.when)}"


def _who(source: tuple[Match, ...]) -> str:
    if not source:
        return "anybody"
    words = [
        _WHO.get(m.key.attribute, "{}").format(_listed(m, "or").replace("anything", "anybody"))
        for m in source
        if m.key.attribute not in _ADDRESSES
    ]
    places = [f"at {_listed(m, 'or')}" for m in source if m.key.attribute in _ADDRESSES]
    return " ".join([" and ".join(words) or "anybody", *places])


_ADDRESSES = (Attribute.SOURCE_IP, Attribute.REMOTE_IP)
_WHO = {
    Attribute.NAMESPACE: "callers of namespace {}",
    Attribute.SERVICE_ACCOUNT: "service account {}",
    Attribute.TRUST_DOMAIN: "callers of trust domain {}",
    Attribute.REQUEST_PRINCIPAL: "holders of a token of {}",
}


def _what(operation: tuple[Match, ...]) -> str:
    by_attribute = {(m.key.attribute, m.negated): m for m in operation}
    methods = by_attribute.get((Attribute.METHOD, False))
    words = [_listed(methods, "or") if methods else "call"]
    for match in _in_order(operation):
        text = _listed(match, "or")
        match match.key.attribute:
            case Attribute.METHOD if match.negated:
                words.append(f"with methods {text}")
            case Attribute.PATH:
                words.append(f"{'paths ' if match.negated or not methods else ''}{text}")
            case Attribute.HOST:
                words.append(f"of host {text}")
            case Attribute.DESTINATION_PORT:
                words.append(f"on port {text}")
            case _:
                continue
    return " ".join(words)


def _where(when: tuple[Match, ...]) -> str:
    conditions = [f"{match.key} is {_state(match)}" for match in when]
    return f", where {' and '.join(conditions)}" if conditions else ""


def _state(match: Match) -> str:
    if match.values == ("*",):
        return "absent" if match.negated else "there"
    return _listed(match, "or")


def _listed(match: Match, joint: str) -> str:
    shown = [shorten(value) if value != "*" else "anything" for value in match.values]
    if len(shown) > 5:
        shown = [*shown[:4], f"{len(shown) - 4} more"]
    text = ", ".join(shown[:-1]) + (f" {joint} " if len(shown) > 1 else "") + shown[-1]
    return f"anything but {text}" if match.negated else text


def _in_order(matches: tuple[Match, ...]) -> list[Match]:
    """What it is about first: path, host, port."""
    order = [Attribute.PATH, Attribute.HOST, Attribute.DESTINATION_PORT]
    return sorted(matches, key=lambda m: order.index(m.key.attribute) if m.key.attribute in order else -1)


def _section(title: str, sentences: Sequence[Sentence]) -> list[str]:
    if not sentences:
        return [title.replace(", but:", ".")] if title.startswith(("  nobody", "  everybody")) else []
    width = max(len(sentence.text) for sentence in sentences)
    return [title, *(f"    {s.text.ljust(width)}  {s.rule}  {s.origin}".rstrip() for s in sentences)]
