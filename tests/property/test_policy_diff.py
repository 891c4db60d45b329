"""`compare` against brute force: on every request of a small space the two programs are asked one by one."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.authorization_policy import AuthorizationPolicy, parse
from policies.compare import Variants, compare
from policies.document import Document
from policies.lower import lower
from policies.program import Protocol
from policies.request import Request
from policies.select import select
from policies.side import Side, Witness
from policies.workload import MeshSettings, MtlsMode, PathNormalization, Workload

TARGET = Workload("shop", "b", "b", {"app": "b"})
FIELDS: dict[str, list[str]] = {
    "principals": ["td/ns/a/sa/x", "td/*", "*/sa/y", "*", "cluster.local/ns/b/sa/y"],
    "namespaces": ["a", "b*", "*", "*a"],
    "serviceAccounts": ["x", "a/x"],
    "trustDomains": ["td", "*d", "o*"],
    "ipBlocks": ["10.0.0.0/8", "10.0.0.1", "::1"],
    "remoteIpBlocks": ["10.0.0.0/8"],
    "requestPrincipals": ["*", "i/s", "i/*", "*s", "i*"],
    "hosts": ["A.shop", "*.shop", "a*", "*"],
    "methods": ["GET", "P*", "*"],
    "paths": ["/a", "/a*", "*/b", "/a/{*}", "/{**}/b", "*"],
}  # fmt: skip
WHEN = {
    "request.headers[x]": ["1", "1*", "*2", "*"],
    "request.auth.audiences": ["p", "q*"],
    "request.auth.claims[g]": ["p", "*q", "*"],
    "source.ip": ["10.0.0.0/9"],
    "connection.sni": ["s", "s*"],
}
PATHS = {
    PathNormalization.NONE: ["/", "/a", "/ab", "/a/b", "/a/", "/a//b", "//b", "/c/b"],
    PathNormalization.MERGE_SLASHES: ["/", "/a", "/ab", "/a/b", "/a/", "/a//b", "/a/b/c", "/c/b"],
}  # fmt: skip


@cache
def requests(protocol: Protocol, mode: PathNormalization) -> list[Request]:
    principals = [
        None, "td/ns/a/sa/x", "td/ns/b/sa/y", "td/ns/shop/sa/x", "old/ns/a/sa/x", "td/ns/ba/sa/q", "td/q", "o/ns/a/x/y/sa/y",
    ]  # fmt: skip
    addresses = [ip_address(text) for text in ("10.0.0.1", "10.128.0.1", "192.0.2.9", "::1")]
    found: list[Request] = []
    for who, address in product(principals, addresses):
        found += [
            Request(who, address, remote_ip=other, destination_ip=address, sni=sni)
            for other in addresses[1:3]
            for sni in ([""] if who is None else ["", "s", "st"])
        ]
    if protocol is Protocol.TCP:
        return found
    tokens: list[dict[str, Any]] = [
        {}, {"iss": "i", "sub": "s"}, {"iss": "i", "sub": "t", "aud": ["p", "q"]}, {"iss": "i2", "sub": "xs", "g": "q"},
        {"g": ["p", "zq"], "aud": "qq"}, {"iss": "i", "sub": ""}, {"g": []},
    ]  # fmt: skip
    rest = [
        Request(None, None, method, path, host, {} if header is None else {"x": header}, claims=claims)
        for method, path, host, header, claims in product(
            ["GET", "PUT"], PATHS[mode], ["", "a.shop", "A.x"], [None, "", "1", "12"], tokens
        )
    ]
    # every caller with some of the rest, every rest with some callers
    size = max(len(found), len(rest))
    pairs = [(found[i % len(found)], rest[(i * 7) % len(rest)]) for i in range(size * 2)]
    return [
        Request(
            a.principal, a.source_ip, b.method, b.path, b.host, b.headers, a.remote_ip, a.destination_ip, a.sni, b.claims
        )
        for a, b in pairs
    ]  # fmt: skip


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def an_object(*names: str) -> st.SearchStrategy[dict[str, list[str]]]:
    fields = {name: some(FIELDS[name]) for name in names}
    fields |= {f"not{name[0].upper()}{name[1:]}": some(FIELDS[name]) for name in names}
    keys = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


SOURCES = st.one_of(
    an_object("principals", "namespaces", "trustDomains", "ipBlocks", "remoteIpBlocks", "requestPrincipals"),
    an_object("serviceAccounts", "ipBlocks"),
)
CONDITIONS = st.sampled_from(sorted(WHEN)).flatmap(
    lambda key: st.one_of(
        st.fixed_dictionaries({"key": st.just(key), "values": some(WHEN[key])}),
        st.fixed_dictionaries({"key": st.just(key), "notValues": some(WHEN[key])}),
    )
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(SOURCES.map(lambda source: {"source": source}), min_size=1, max_size=2),
        "to": st.lists(
            an_object("hosts", "methods", "paths").map(lambda operation: {"operation": operation}),
            min_size=1,
            max_size=2,
        ),
        "when": st.lists(CONDITIONS, max_size=2),
    },
)
POLICIES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"action": st.just("ALLOW"), "rules": st.lists(RULES, max_size=2)}),
        st.fixed_dictionaries({"action": st.just("DENY"), "rules": st.lists(RULES, min_size=1, max_size=2)}),
    ),
    max_size=3,
)
MODES = st.sampled_from(list(MtlsMode))
PROTOCOLS = st.sampled_from(list(Protocol))
NORMALIZATIONS = st.sampled_from(list(PATHS))


def a_side(specs: list[dict[str, Any]], protocol: Protocol, mode: MtlsMode, paths: PathNormalization) -> Side:
    mesh = MeshSettings("td", ("old",), "root", paths)
    found: list[AuthorizationPolicy] = []
    for index, spec in enumerate(specs):
        policy, problems = parse(
            Document({"metadata": {"name": f"p{index}", "namespace": "shop"}, "spec": spec})
        )
        assert policy is not None, problems
        found.append(policy)
    program = lower(select(found, TARGET, mesh), mesh, port=80, protocol=protocol)
    return Side(program, mesh, mode)


@settings(max_examples=120, deadline=None)
@given(POLICIES, POLICIES, MODES, MODES, PROTOCOLS, NORMALIZATIONS)
def test_no_request_is_overlooked(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    old_mode: MtlsMode,
    new_mode: MtlsMode,
    protocol: Protocol,
    paths: PathNormalization,
) -> None:
    old, new = a_side(before, protocol, old_mode, paths), a_side(after, protocol, new_mode, paths)
    found = compare(old, new)  # confirms each witness by evaluate itself
    for request in requests(protocol, paths):
        was, now = old.decide(Witness(request)).allowed, new.decide(Witness(request)).allowed
        if now and not was:
            assert found.gains, request
        if was and not now:
            assert found.losses, request


@settings(max_examples=50, deadline=None)
@given(POLICIES, MODES, PROTOCOLS)
def test_a_program_is_equivalent_to_itself_in_any_order(
    specs: list[dict[str, Any]], mode: MtlsMode, protocol: Protocol
) -> None:
    side = a_side(specs, protocol, mode, PathNormalization.BASE)
    found = compare(side, a_side(specs[::-1], protocol, mode, PathNormalization.BASE))
    assert not found.gains
    assert not found.losses
    program = side.program
    assert not Variants(side).differ(program, program)


@pytest.mark.parametrize(("old", "new"), [("/a/*", "/a/{**}"), ("*", "/{**}"), ("/{*}", "/a*")])
def test_templates_and_wildcards(old: str, new: str) -> None:
    sides = [
        a_side(
            [{"rules": [{"to": [{"operation": {"paths": [path]}}]}]}],
            Protocol.HTTP,
            MtlsMode.STRICT,
            PathNormalization.MERGE_SLASHES,
        )
        for path in (old, new)
    ]
    found = compare(*sides)
    assert bool(found.gains or found.losses) is (old == "/{*}")
