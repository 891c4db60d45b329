"""What ends connections that are open: the runtime layer, and the filter that looks at it. On Envoy: tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest

from policies.program import LATEST, DecisionProgram, Protocol, Revoked
from policies.workload import MtlsMode, PathNormalization
from xds import names, schema
from xds.compile import Compiler, cut
from xds.plan import AppProtocol, InboundPort, ProxyPlan, SocketAddress
from xds.snapshot import EXTENSION, LISTENER, RUNTIME

WHO = "example.org/ns/a/sa/b"


def layer(revoked: Revoked) -> dict[str, Any]:
    decoded: Any = schema.decode("envoy.service.runtime.v3.Runtime", cut.runtime(revoked).body)
    assert decoded.name == names.RUNTIME_LAYER
    return {key: dict(value) if key else value for key, value in decoded.layer.items()}


def a_plan(protocol: AppProtocol, mtls: MtlsMode, revoked: Revoked) -> ProxyPlan:
    kind = Protocol.HTTP if protocol.is_http else Protocol.TCP
    here = SocketAddress("127.0.0.1", 7000)
    program = DecisionProgram(kind, 7000, revoked=revoked)
    port = InboundPort("p", 7000, protocol, here, here, mtls, program)
    return ProxyPlan("a/b", ("example.org",), PathNormalization.BASE, (port,), None, (), ())


def test_without_anybody_there_is_a_layer_that_says_nothing() -> None:
    assert layer(Revoked()) == {}


def test_each_of_the_latest_has_two_hashes_between_two_numbers() -> None:
    said = layer(Revoked(latest_principals=(WHO,), latest_serials=("a1",)))
    assert said["cut.any"] == {"numerator": 1_000_000, "denominator": "MILLION"}
    assert len(said) == 1 + 2 * 2 * 2
    for what in ("id0.1", "id0.2", "serial0.1", "serial0.2"):
        below, to = said[f"cut.{what}.from"], said[f"cut.{what}.to"]
        assert to["numerator"] == below["numerator"] + 1
        assert 0 <= below["numerator"] < 1_000_000
    # as Envoy hashes it: XXH64 of the text with the seed of the filter (tests/e2e/test_quarantine.py asks Envoy)
    assert said["cut.id0.1.from"]["numerator"] != said["cut.id0.2.from"]["numerator"]


def test_every_key_of_the_layer_is_one_that_the_filter_looks_at() -> None:
    texts = tuple(f"example.org/ns/a/sa/{n}" for n in range(LATEST))
    said = layer(Revoked(latest_principals=texts, latest_serials=tuple(f"{n:x}1" for n in range(LATEST))))
    looked_at = cut.extension().body
    assert [key for key in said if key.encode() not in looked_at] == []
    assert len(said) == 1 + LATEST * 2 * 4


@pytest.mark.parametrize(
    ("protocol", "mtls", "ends"),
    [
        (AppProtocol.TCP, MtlsMode.STRICT, True),
        (AppProtocol.TCP, MtlsMode.PERMISSIVE, True),
        (AppProtocol.TCP, MtlsMode.DISABLE, False),
        (AppProtocol.HTTP, MtlsMode.STRICT, False),
    ],
)
def test_raw_tcp_with_an_identity_looks_and_is_told(
    protocol: AppProtocol, mtls: MtlsMode, ends: bool
) -> None:
    revoked = Revoked(frozenset({WHO}), latest_principals=(WHO,))
    snapshot = Compiler().snapshot(a_plan(protocol, mtls, revoked))
    assert (names.CUT in snapshot.resources(EXTENSION)) is ends
    told = snapshot.resources(RUNTIME)[names.RUNTIME_LAYER]
    assert told == cut.runtime(revoked if ends else Revoked())
    assert [r.body.count(b"\n\x03cut") for r in snapshot.resources(LISTENER).values()] == [int(ends)]


def test_an_edit_of_programs_alone_takes_the_layer_along() -> None:
    compiler, before = Compiler(), a_plan(AppProtocol.TCP, MtlsMode.STRICT, Revoked())
    first = compiler.snapshot(before)
    revoked = Revoked(frozenset({WHO}), latest_principals=(WHO,))
    after = a_plan(AppProtocol.TCP, MtlsMode.STRICT, revoked)
    edited = compiler.snapshot(after, (before, first))
    assert edited.resources(RUNTIME)[names.RUNTIME_LAYER] == cut.runtime(revoked)
    assert edited == Compiler().snapshot(after)
    again = compiler.snapshot(after, (after, edited))
    assert again.resources(RUNTIME) is edited.resources(RUNTIME)
