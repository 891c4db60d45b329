"""AUDIT rules and dry runs change no answer; the access log says what they matched or would have done."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from bench.guarded import Call, Guarded, application
from bench.one_envoy import free_ports
from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact
from policies.program import Clause, DecisionProgram, DryRun, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds.plan import AccessLog, AppProtocol, InboundPort, ProxyPlan, SocketAddress

pytestmark = pytest.mark.envoy


def on(path: str, name: str) -> Clause:
    return Clause(name, (Condition(Key(Attribute.PATH), (Exact(path),)),))


def a_plan(app: SocketAddress, listen: int, program: DecisionProgram, log: AccessLog) -> ProxyPlan:
    is_http = program.protocol is Protocol.HTTP
    port = InboundPort(
        f"p{listen}", 80, AppProtocol.HTTP if is_http else AppProtocol.TCP,
        SocketAddress("127.0.0.1", listen), app, MtlsMode.PERMISSIVE, program,
    )  # fmt: skip
    return ProxyPlan("shop/guard", ("td",), PathNormalization.BASE, (port,), None, (), (), log)


async def logged(envoy: Guarded, *, event: str, **wanted: str) -> dict[str, Any]:
    """The first line of the access log that says all of it."""
    async with asyncio.timeout(20):
        while True:
            for text in envoy.log.read_text().splitlines():
                line = json.loads(text)
                if line.get("event") == event and wanted.items() <= line.items():
                    return line
            await asyncio.sleep(0.05)


async def test_audit_and_dry_runs_on_http(envoy: Guarded) -> None:
    program = DecisionProgram(
        Protocol.HTTP,
        80,
        audit=(on("/seen", "shop/audit[0]"),),
        dry_run=DryRun(deny=(on("/bad", "shop/tried[0]"),), allow=(on("/good", "shop/tried-too[0]"),)),
    )
    every, denied_only = free_ports(2)
    async with application() as (http, _):
        await envoy.offer(
            [
                a_plan(http, every, program, AccessLog.ALL),
                a_plan(http, denied_only, program, AccessLog.DENIED),
            ]
        )
        await envoy.listening([every, denied_only])
        for path in ("/seen", "/bad", "/good"):
            assert (await envoy.call(Call(every, path=path))).status == 200
        assert (await logged(envoy, event="request", path="/seen"))["audit"] == "shop/audit[0]"
        bad = await logged(envoy, event="request", path="/bad")
        assert (bad["dryRunDeny"], bad["dryRunDenyRule"]) == ("denied", "shop/tried[0]")
        assert bad["dryRunAllow"] == "denied"
        good = await logged(envoy, event="request", path="/good")
        assert (good["dryRunDeny"], good["dryRunAllow"], good["dryRunAllowRule"]) == (
            "allowed", "allowed", "shop/tried-too[0]",
        )  # fmt: skip
        # an audited request is logged where only denied ones are
        for path in ("/good", "/seen"):
            assert (await envoy.call(Call(denied_only, path=path, host="second.shop"))).status == 200
        assert (await logged(envoy, event="request", host="second.shop"))["path"] == "/seen"


async def test_audit_and_dry_runs_on_tcp(envoy: Guarded) -> None:
    program = DecisionProgram(
        Protocol.TCP,
        80,
        audit=(Clause("shop/audit[0]", ()),),
        dry_run=DryRun(deny=(Clause("shop/tried[0]", ()),)),
    )
    [listen] = free_ports(1)
    async with application() as (_, tcp):
        await envoy.offer([a_plan(tcp, tcp_port := listen, program, AccessLog.ALL)])
        await envoy.listening([tcp_port])
        assert (await envoy.call(Call(tcp_port, tcp=True))).allowed
        line = await logged(envoy, event="connection", audit="shop/audit[0]")
        assert (line["dryRunDeny"], line["dryRunDenyRule"]) == ("denied", "shop/tried[0]")


async def test_the_body_of_a_denial_is_terse_unless_the_mesh_explains(envoy: Guarded) -> None:
    program = DecisionProgram(Protocol.HTTP, 80, deny=(on("/bad", "shop/no[0]"),))
    terse, chatty = free_ports(2)
    async with application() as (http, _):
        plan = a_plan(http, chatty, program, AccessLog.OFF)
        await envoy.offer([a_plan(http, terse, program, AccessLog.OFF), replace(plan, explain_denials=True)])
        await envoy.listening([terse, chatty])
        assert (await envoy.call(Call(terse, path="/bad"))).body == "RBAC: access denied"
        answer = await envoy.call(Call(chatty, path="/bad", headers={"x-request-id": "r-1"}))
        assert "shop/no[0]" in answer.body
        assert answer.body.endswith("pylis why r-1\n")
