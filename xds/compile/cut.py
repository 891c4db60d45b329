"""Ends raw TCP connections of the revoked that are open: their next bytes are refused, whatever was decided before.

A network filter keeps the configuration its connection was opened with, so no edit of policy reaches it. Envoy's
runtime does: a filter that is asked again at each read compares two hashes of the peer with numbers that the
control plane changes. What a filter looks at has to be there before anybody is revoked, so there is room for a few
(LATEST): whoever is revoked longer than the drain of the port's listener takes has no connection any more.

    cut.any                         100 % while somebody is cut off: else nothing more is looked at
    cut.<what><slot>.<seed>.to      (hash + 1) millionths: matches when the peer's hash is not above
    cut.<what><slot>.<seed>.from    hash millionths: matches when it is below

Two hashes: that another peer has both of one that is cut off happens once in 10^12.
Source: envoy.extensions.matching.input_matchers.runtime_fraction.v3; docs/adr/0014-revocation-by-policy.md
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final

from google.protobuf.message import Message

from policies.program import LATEST, QUARANTINE, Revoked
from policies.workload import MtlsMode
from xds import names
from xds.compile.encoded import listed, matcher_of
from xds.compile.keys import Input, Source
from xds.compile.predicates import answer, combine, input_of
from xds.plan import InboundPort
from xds.schema import decode, encode, new, pack
from xds.snapshot import Resource

NETWORK_RBAC: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"
_PREDICATE: Final = "xds.type.matcher.v3.Matcher.MatcherList.Predicate"
_FRACTION: Final = "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction"
_ANY: Final = "cut.any"
_MILLION: Final = 1_000_000
_SEEDS: Final = (1, 2)
_SOURCES: Final = {"id": Source.PRINCIPAL, "serial": Source.SERIAL}


def ends_open(port: InboundPort) -> bool:
    """Is there anything on the port to end? HTTP asks at each request; on plaintext there is no identity."""
    return port.mtls is not MtlsMode.DISABLE and not port.protocol.is_http


def filter_reference() -> Message:
    """Stands in a TCP chain behind the filter that says who the peer is."""
    return new(
        "envoy.config.listener.v3.Filter",
        name=names.CUT,
        config_discovery={
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "type_urls": [f"type.googleapis.com/{NETWORK_RBAC}"],
        },
    )


@cache
def extension() -> Resource:
    """What the reference leads to: the same for every port and proxy."""
    slots = [_is_cut_off(what, slot) for what in _SOURCES for slot in range(LATEST)]
    nobody = new(_PREDICATE, not_matcher=_fraction("id", _ANY, 0))
    goes_on = answer("not-cut", "ALLOW")
    rules = [
        (encode(nobody), goes_on),
        *((encode(slot), answer(QUARANTINE, "DENY")) for slot in slots),
    ]
    config = new(
        NETWORK_RBAC,
        stat_prefix="cut.",
        enforcement_type="CONTINUOUS",
        matcher=matcher_of(listed(rules, goes_on)),
    )
    found = new("envoy.config.core.v3.TypedExtensionConfig", name=names.CUT, typed_config=pack(config))
    return Resource.of(names.CUT, found)


@lru_cache(maxsize=8)
def runtime(revoked: Revoked) -> Resource:
    """The runtime layer: who is cut off now. Envoy waits for it when it starts, so there is one in any case."""
    layer = {key: {"numerator": n, "denominator": "MILLION"} for key, n in _numbers(revoked)}
    found = new("envoy.service.runtime.v3.Runtime", name=names.RUNTIME_LAYER, layer=layer)
    return Resource.of(names.RUNTIME_LAYER, found)


def _numbers(revoked: Revoked) -> Iterator[tuple[str, int]]:
    """Runtime keys and millionths."""
    found = {
        "id": tuple(f"spiffe://{principal}" for principal in revoked.latest_principals),
        "serial": revoked.latest_serials,
    }
    if any(found.values()):
        yield _ANY, _MILLION
    for what, texts in found.items():
        for slot, text in enumerate(texts[:LATEST]):
            for seed in _SEEDS:
                value = _hash(text, seed)
                yield _key(what, slot, seed, "from"), value
                yield _key(what, slot, seed, "to"), value + 1


def _hash(text: str, seed: int) -> int:
    """As Envoy's runtime takes it of a text."""
    import xxhash  # needed when somebody is cut off, not before

    return xxhash.xxh64_intdigest(text.encode(), seed) % _MILLION


def _is_cut_off(what: str, slot: int) -> Message:
    tests: list[Message] = []
    for seed in _SEEDS:
        tests.append(_fraction(what, _key(what, slot, seed, "to"), seed))
        tests.append(new(_PREDICATE, not_matcher=_fraction(what, _key(what, slot, seed, "from"), seed)))
    return combine("and_matcher", tests)


def _fraction(what: str, key: str, seed: int) -> Message:
    never = {"numerator": 0, "denominator": "MILLION"}
    body = new(_FRACTION, runtime_fraction={"default_value": never, "runtime_key": key}, seed=seed)
    source = decode("xds.core.v3.TypedExtensionConfig", input_of(Input(_SOURCES[what])))
    custom = {"name": "fraction", "typed_config": pack(body)}
    return new(_PREDICATE, single_predicate={"input": source, "custom_match": custom})


def _key(what: str, slot: int, seed: int, bound: str) -> str:
    return f"cut.{what}{slot}.{seed}.{bound}"
