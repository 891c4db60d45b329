"""What requests can be, as far as given conditions can tell them apart: a finite partition, a dimension at a time.

Each dimension (the caller, the path, one header, …) is independent of the others; its choices hold one value for
every combination of conditions that some value meets, and perhaps more. Whether a condition holds on a choice is
not said here: `evaluate` says it. A real request always has addresses; a peer without a certificate has no SNI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product
from string import hexdigits
from typing import Any, Final, assert_never

from policies.attributes import Attribute, Key
from policies.document import Json
from policies.evaluate import Facts, holds
from policies.normalize import normalize
from policies.pattern import (
    SEGMENT,
    SOME,
    Alphabet,
    Pattern,
    TooManyError,
    Wild,
    literal,
    representatives,
    split_literal,
    unions,
)
from policies.predicate import (
    ANY_SEGMENTS,
    ONE_SEGMENT,
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
)
from policies.program import Protocol
from policies.request import IpAddress, Request
from policies.values import fold_case
from policies.workload import MeshSettings, PathNormalization

_IDENTITY: Final = (
    Attribute.PRINCIPAL,
    Attribute.NAMESPACE,
    Attribute.SERVICE_ACCOUNT,
    Attribute.TRUST_DOMAIN,
    Attribute.SNI,
)
_NICE_ADDRESSES: Final = tuple(map(ip_address, ("192.0.2.1", "10.0.0.1", "2001:db8::1")))
_WELL_FORMED: Final = (*SEGMENT, *literal("/ns/"), *SEGMENT, *literal("/sa/"), *SEGMENT)
_SPIFFE: Final = re.compile(r"[^/]+/ns/[^/]+/sa/[^/]+")
_ESCAPED_IN_PATHS: Final = frozenset('\\"<>^`{|}')

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a dimension, as what it changes in a request; `refuses`: authorizers that say no."""

    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    claims: tuple[tuple[Path, Json], ...] = ()
    metadata: tuple[tuple[Path, Json], ...] = ()
    refuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dimension:
    conditions: tuple[Condition, ...]
    choices: tuple[Choice, ...]


def a_request(protocol: Protocol) -> Request:
    """What a request is where no choice says otherwise; its claims are given, so no token is looked for."""
    nice = _NICE_ADDRESSES[0]
    if protocol is Protocol.TCP:
        return Request(source_ip=nice, remote_ip=nice, destination_ip=nice)
    return Request(source_ip=nice, remote_ip=nice, destination_ip=nice, method="GET", path="/", claims={})


def apply(request: Request, choices: Iterable[Choice]) -> Request:
    """The request with every choice made."""
    for choice in choices:
        request = replace(request, **choice.fields)
        if choice.headers:
            request = replace(request, headers={**request.headers, **choice.headers})
        if choice.claims:
            request = replace(request, claims=_put(request.claims or {}, choice.claims))
        if choice.metadata:
            request = replace(request, metadata=_put(request.metadata, choice.metadata))
    return request


def partition(conditions: Iterable[Condition], settings: MeshSettings, protocol: Protocol) -> list[Dimension]:
    """The dimensions that the conditions look at. Raises: TooManyError."""
    groups = dict[Hashable, list[Condition]]()
    for condition in conditions:
        groups.setdefault(_dimension(condition.key), []).append(condition)
    _refuse_nested([c.key for group in groups.values() for c in group])
    return [Dimension(tuple(group), tuple(_choices(group, settings, protocol))) for group in groups.values()]


def _dimension(key: Key) -> Hashable:
    """Keys that read the same part of a request are of one dimension."""
    match key.attribute:
        case attribute if attribute in _IDENTITY:
            return "identity"
        case Attribute.HEADER if key.name in _PSEUDO:
            return _PSEUDO[key.name]
        case Attribute.REQUEST_PRINCIPAL:
            return "subject"
        case Attribute.AUDIENCES | Attribute.PRESENTER | Attribute.CLAIM:
            return "subject" if key.claim in (("iss",), ("sub",)) else ("claim", key.claim)
        case Attribute.METADATA:
            return ("metadata", key.name, key.path)
        case Attribute.HEADER:
            return ("header", key.name)
        case attribute:
            return attribute


_PSEUDO: Final = {
    "host": Attribute.HOST,
    ":authority": Attribute.HOST,
    ":method": Attribute.METHOD,
    ":path": Attribute.PATH,
}


def _refuse_nested(keys: Sequence[Key]) -> None:
    """A claim that is a text and one inside of it cannot both be there."""
    paths = {k.claim for k in keys if k.row.needs_token and k.claim}
    paths |= {(k.name, *k.path) for k in keys if k.attribute is Attribute.METADATA}
    if any(a != b and b[: len(a)] == a for a, b in product(paths, paths)):
        raise TooManyError("conditions on a claim and on one inside of it")


def _choices(group: Sequence[Condition], settings: MeshSettings, protocol: Protocol) -> Iterable[Choice]:
    key = group[0].key
    match key.attribute:
        case (
            Attribute.PRINCIPAL
            | Attribute.NAMESPACE
            | Attribute.SERVICE_ACCOUNT
            | Attribute.TRUST_DOMAIN
            | Attribute.SNI
        ):
            return _callers(group, settings)
        case Attribute.SOURCE_IP:
            return [Choice({"source_ip": address}) for address in _addresses(group)]
        case Attribute.REMOTE_IP:
            return [Choice({"remote_ip": address}) for address in _addresses(group)]
        case Attribute.DESTINATION_IP:
            return [Choice({"destination_ip": address}) for address in _addresses(group)]
        case Attribute.HOST | Attribute.METHOD | Attribute.PATH:
            return _http(group, settings)
        case Attribute.HEADER:
            return _http(group, settings) if key.name in _PSEUDO else _headers(group, key.name)
        case Attribute.REQUEST_PRINCIPAL:
            return _subjects(group)
        case Attribute.AUDIENCES | Attribute.PRESENTER | Attribute.CLAIM:
            return _subjects(group) if _dimension(key) == "subject" else _claims(group, settings)
        case Attribute.METADATA:
            return _metadata(group, settings)
        case Attribute.DESTINATION_PORT:
            raise ValueError("lowering folds the port away")
        case _:
            assert_never(key.attribute)


# --- the caller ---


def _callers(group: Sequence[Condition], settings: MeshSettings) -> Iterable[Choice]:
    """Plaintext, and identities: of this mesh, or at least of the usual form, where one does."""
    wanted = [_identity_pattern(c.key.attribute, v) for c in group for v in c.values]
    names = [n for c in group if c.key.attribute is Attribute.SNI for n in map(text_pattern, c.values)]
    ours = (*literal(settings.trust_domain), *_WELL_FORMED[len(SEGMENT) :])
    found = representatives([*filter(None, wanted), _WELL_FORMED, ours], _PRINCIPALS)
    start = f"{settings.trust_domain}/"
    found.sort(key=lambda name: (not _SPIFFE.fullmatch(name), not name.startswith(start)))
    servers = representatives(names) if names else [""]
    yield Choice({"principal": None, "sni": ""})
    for principal, server in product(found, servers):
        yield Choice({"principal": principal, "sni": server})


def _identity_pattern(attribute: Attribute, value: Value) -> Pattern | None:
    """What a principal looks like whose namespace, account or trust domain matches."""
    match attribute:
        case Attribute.PRINCIPAL:
            return text_pattern(value)
        case Attribute.NAMESPACE:
            return (*SEGMENT, *literal("/ns/"), *_in_segment(value), *literal("/"), *SOME)
        case Attribute.SERVICE_ACCOUNT:
            namespace, _, account = value.text.partition("/") if isinstance(value, Exact) else ("", "", "")
            return (*SEGMENT, *literal("/ns/"), *literal(namespace), *literal("/sa/"), *literal(account))
        case Attribute.TRUST_DOMAIN:
            return (*_in_segment(value), *literal("/"), *SOME)
        case _:
            return None


def _in_segment(value: Value) -> Pattern:
    within = {Wild.MANY: Wild.MANY_IN_SEGMENT, Wild.ONE: Wild.ONE_IN_SEGMENT}
    return tuple(within.get(p, p) if isinstance(p, Wild) else p for p in text_pattern(value))


def _step_principal(state: Hashable, character: str) -> Hashable | None:
    """A trust domain and a path of segments that are not empty."""
    if character == ",":
        return None
    if character == "/":
        return "/" if state in ("d", "s") else None
    return "d" if state in ("", "d") else "s"


_PRINCIPALS: Final = Alphabet(step=_step_principal, ends=lambda state: state == "s")


# --- addresses ---


def _addresses(group: Sequence[Condition]) -> list[IpAddress]:
    """Networks lie in each other or apart: between their ends nothing changes."""
    starts = [*_NICE_ADDRESSES, IPv4Address(0), IPv6Address(0)]
    for condition in group:
        for value in condition.values:
            if isinstance(value, Network):
                first, last = value.network[0], value.network[-1]
                starts.append(first)
                if int(last) + 1 < 2**last.max_prefixlen:
                    starts.append(last + 1)
    return list(dict.fromkeys(starts))


# --- HTTP ---


def _http(group: Sequence[Condition], settings: MeshSettings) -> Iterable[Choice]:
    patterns = [text_pattern(value) for condition in group for value in condition.values]
    names = {condition.key.name for condition in group}
    match _dimension(group[0].key):
        case Attribute.METHOD:
            texts = representatives(patterns, Alphabet(step=_step_method, ends=bool))
            return [Choice({"method": text}) for text in texts]
        case Attribute.HOST:
            if len(names) > 1:
                raise TooManyError("conditions on hosts and on the host header")
            fold = str if names != {""} else fold_case
            return [Choice({"host": text}) for text in representatives(patterns, Alphabet(fold=fold))]
        case _:
            if ":path" in names:
                raise TooManyError("conditions on the header :path")
            mode = settings.path_normalization
            paths = representatives(patterns, _paths(mode))
            return [Choice({"path": path}) for path in paths if normalize(path, mode) is not None]


def _step_method(_: Hashable, character: str) -> Hashable | None:
    return None if character == "/" or not "!" <= character <= "~" else "some"


def _paths(mode: PathNormalization) -> Alphabet:
    """Paths that normalization leaves as they are; the state is a segment that is still short."""
    merging = mode in (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES)
    as_sent = mode is PathNormalization.NONE

    def step(state: Hashable, character: str) -> Hashable | None:
        if not "!" <= character <= "~" or character in "?#":
            return None
        if state == "":
            return "/" if character == "/" else None
        if as_sent:
            return "long"
        if character in _ESCAPED_IN_PATHS:
            return None
        if character == "/":
            return None if state in ("/.", "/..") or (merging and state == "/") else "/"
        if character == "%":
            return "%"
        if character in hexdigits and state == "%":
            return f"%{character}"
        if character in hexdigits and str(state)[0] == "%":
            return "long" if _stays_escaped(f"{state}{character}", mode) else None
        grown = f"{state}{character}"
        return grown if grown in ("/.", "/..") else "long"

    return Alphabet(step=step, ends=lambda state: state not in ("", "/.", "/.."))


def _stays_escaped(escape: str, mode: PathNormalization) -> bool:
    return normalize(f"/a{escape}", mode) == f"/a{escape}"


def _headers(group: Sequence[Condition], name: str) -> Iterable[Choice]:
    yield Choice()
    patterns = [text_pattern(value) for condition in group for value in condition.values]
    for text in representatives(patterns):
        yield Choice(headers={name: text})


# --- tokens and metadata ---


def _subjects(group: Sequence[Condition]) -> Iterable[Choice]:
    """Issuer and subject together: a request principal looks at both."""
    patterns: dict[str, list[Pattern]] = {"iss": [], "sub": []}
    for condition in group:
        for value in condition.values:
            if isinstance(value, RequestPrincipal):
                patterns["iss"].append(text_pattern(value.issuer))
                patterns["sub"].append(text_pattern(value.subject))
            else:
                patterns[condition.key.claim[0]].append(text_pattern(value))
    issuers, subjects = (representatives(patterns[name]) for name in ("iss", "sub"))
    for issuer, subject in product((*issuers, None), (*subjects, None)):
        claims = [((name,), text) for name, text in (("iss", issuer), ("sub", subject)) if text is not None]
        yield Choice(claims=tuple(claims))


def _claims(group: Sequence[Condition], settings: MeshSettings) -> Iterable[Choice]:
    """A claim is a list: what holds for it is what holds for any of its texts."""
    path = group[0].key.claim
    patterns = [text_pattern(value) for condition in group for value in condition.values]
    yield Choice()
    for texts in _lists(group, settings, representatives(patterns), lambda t: Choice(claims=((path, [t]),))):
        yield Choice(claims=((path, texts),))


def _metadata(group: Sequence[Condition], settings: MeshSettings) -> Iterable[Choice]:
    """Absent, one text, or a list of texts."""
    path = (group[0].key.name, *group[0].key.path)
    values = [value for condition in group for value in condition.values]
    patterns = [text_pattern(v) for v in values if not isinstance(v, Listed)]
    yield Choice()
    yield from (Choice(metadata=((path, text),)) for text in representatives(patterns))
    inside = representatives([text_pattern(v.text) for v in values if isinstance(v, Listed)])
    for texts in _lists(group, settings, inside, lambda t: Choice(metadata=((path, [t]),))):
        yield Choice(metadata=((path, texts),))


def _lists(
    group: Sequence[Condition], settings: MeshSettings, texts: Sequence[str], alone: Callable[[str], Choice]
) -> Iterable[list[Json]]:
    """A list for each set of conditions that some list of texts meets."""
    sets = list[frozenset[int]]()
    for text in texts:
        facts = Facts(apply(Request(), [alone(text)]), settings)
        sets.append(frozenset(i for i, c in enumerate(group) if holds(replace(c, negated=False), facts)))
    return [[texts[index] for index in indexes] for _, indexes in unions(sets)]


# --- values ---


def text_pattern(value: Value) -> Pattern:
    """The texts that a value matches."""
    match value:
        case Exact(text):
            return literal(text)
        case Prefix(text):
            return (*literal(text), Wild.MANY)
        case Suffix(text):
            return (Wild.MANY, *literal(text))
        case Present():
            return SOME
        case Glob(text):
            return split_literal(text, {"*": (Wild.MANY_IN_SEGMENT,)})
        case Template(text):
            return split_literal(text, {ONE_SEGMENT: SEGMENT, ANY_SEGMENTS: (Wild.MANY,)})
        case Network() | RequestPrincipal() | Listed():
            raise ValueError(f"{value} is not compared with one text")
        case _:
            assert_never(value)


def _put(into: Mapping[str, Json], entries: Iterable[tuple[Path, Json]]) -> dict[str, Json]:
    """`into` with each value at its path."""
    result = dict(into)
    for (step, *rest), value in entries:
        inner = result.get(step)
        below = inner if isinstance(inner, dict) else {}
        result[step] = _put(below, [(tuple(rest), value)]) if rest else value
    return result
