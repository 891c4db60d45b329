"""STRICT, PERMISSIVE and DISABLE on a real Envoy: who gets in, and who has an identity there."""

from __future__ import annotations

import ssl

import pytest

from bench.guarded import Call, Guarded, application
from bench.one_envoy import free_ports
from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact, Present
from policies.program import Clause, DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds.plan import AccessLog, AppProtocol, InboundPort, ProxyPlan, SocketAddress

pytestmark = pytest.mark.envoy

ME = ("spiffe://td/ns/a/sa/x",)
SNI = Condition(Key(Attribute.SNI), (Exact("b.shop"),))
KNOWN = Clause("n/known[0]", (Condition(Key(Attribute.PRINCIPAL), (Present(),)),))


def a_plan(app: SocketAddress, listen: int, mode: MtlsMode, *deny: Clause) -> ProxyPlan:
    program = DecisionProgram(Protocol.HTTP, 80, deny=deny)
    port = InboundPort(
        f"p{listen}", 80, AppProtocol.HTTP, SocketAddress("127.0.0.1", listen), app, mode, program
    )
    return ProxyPlan("shop/guard", ("td",), PathNormalization.BASE, (port,), None, (), (), AccessLog.OFF)


async def test_who_gets_in(envoy: Guarded) -> None:
    strict, permissive, disabled = free_ports(3)
    modes = {strict: MtlsMode.STRICT, permissive: MtlsMode.PERMISSIVE, disabled: MtlsMode.DISABLE}
    async with application() as (http, _):
        await envoy.offer([a_plan(http, port, mode) for port, mode in modes.items()])
        await envoy.listening(modes)
        assert (await envoy.call(Call(strict, ME))).status == 200
        assert (await envoy.call(Call(strict))).status == 0
        assert (await envoy.call(Call(permissive, ME))).status == 200
        assert (await envoy.call(Call(permissive))).status == 200
        assert (await envoy.call(Call(disabled))).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await envoy.call(Call(disabled, ME))


async def test_identity_and_server_name_are_there_with_tls_only(envoy: Guarded) -> None:
    known, named, strict = free_ports(3)
    by_name = Clause("n/named[0]", (SNI,))
    async with application() as (http, _):
        await envoy.offer(
            [
                a_plan(http, known, MtlsMode.PERMISSIVE, KNOWN),
                a_plan(http, named, MtlsMode.PERMISSIVE, by_name),
                a_plan(http, strict, MtlsMode.STRICT, by_name),
            ]
        )
        await envoy.listening([known, named, strict])
        assert (await envoy.call(Call(known, ME))).status == 403
        assert (await envoy.call(Call(known))).status == 200
        for port in (named, strict):
            assert (await envoy.call(Call(port, ME, sni="b.shop"))).status == 403
            assert (await envoy.call(Call(port, ME, sni="c.shop"))).status == 200
        assert (await envoy.call(Call(named))).status == 200


async def test_two_identities_in_one_certificate_are_none(envoy: Guarded) -> None:
    [port] = free_ports(1)
    async with application() as (http, _):
        await envoy.offer([a_plan(http, port, MtlsMode.STRICT)])
        await envoy.listening([port])
        assert (await envoy.call(Call(port, ME))).status == 200
        assert (await envoy.call(Call(port, (*ME, "spiffe://td/ns/a/sa/y")))).status == 403
