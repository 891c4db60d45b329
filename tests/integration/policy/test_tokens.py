"""Keys that were fetched reach Envoy, and one that could not be fetched refuses every token."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from bench.envoy_cases import Signer
from bench.guarded import Call, Guarded, application
from bench.one_envoy import free_ports
from policies.authentication import Authentication, JwtRule, Location, Where
from policies.program import DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds.plan import AccessLog, AppProtocol, InboundPort, ProxyPlan, SocketAddress

pytestmark = pytest.mark.envoy

SOURCE = "https://idp.example/keys"
RULE = JwtRule("shop/t jwtRules[0]", "idp", jwks_uri=SOURCE)


def a_plan(app: SocketAddress, listen: int, *rules: JwtRule, keys: str = "") -> ProxyPlan:
    program = DecisionProgram(Protocol.HTTP, 80, authentication=Authentication(rules))
    port = InboundPort(
        f"p{listen}",
        80,
        AppProtocol.HTTP,
        SocketAddress("127.0.0.1", listen),
        app,
        MtlsMode.PERMISSIVE,
        program,
    )
    return ProxyPlan(
        "shop/guard", ("td",), PathNormalization.BASE, (port,), None, (), (), AccessLog.OFF,
        jwks=((SOURCE, keys),) if keys else (),
    )  # fmt: skip


async def test_without_keys_no_token_is_good_and_with_them_it_is(envoy: Guarded) -> None:
    signer, [listen] = Signer(), free_ports(1)
    token = {"authorization": f"Bearer {signer.token({'iss': 'idp', 'sub': 's'})}"}
    async with application() as (http, _):
        await envoy.offer([a_plan(http, listen, RULE)])
        await envoy.listening([listen])
        assert (await envoy.call(Call(listen, headers=token))).status == 401
        assert (await envoy.call(Call(listen))).status == 200
        await envoy.offer([a_plan(http, listen, RULE, keys=signer.jwks)])
        status, until = 401, time.monotonic() + 10
        while status != 200 and time.monotonic() < until:
            status = (await envoy.call(Call(listen, headers=token))).status
        assert status == 200


async def test_claims_go_to_headers_wherever_the_token_stood_and_nobody_forges_them(envoy: Guarded) -> None:
    signer, [listen] = Signer(), free_ports(1)
    rule = replace(
        RULE, jwks=signer.jwks, jwks_uri="", claim_headers=(("x-team", "team"),), payload_header="x-payload",
        locations=(Location(Where.HEADER, "authorization", "Bearer "), Location(Where.PARAM, "access_token")),
    )  # fmt: skip
    token = signer.token({"iss": "idp", "team": "red"})
    async with application() as (http, _):
        await envoy.offer([a_plan(http, listen, rule)])
        await envoy.listening([listen])
        for call in (
            Call(listen, headers={"authorization": f"Bearer {token}", "x-team": "forged"}),
            Call(listen, path=f"/?access_token={token}", headers={"x-team": "forged"}),
        ):
            seen = json.loads((await envoy.call(call)).body)
            assert seen["x-team"] == "red"
            assert seen["x-payload"] == token.split(".")[1]
            assert "authorization" not in seen
        none = json.loads((await envoy.call(Call(listen, headers={"x-team": "forged"}))).body)
        assert "x-team" not in none


async def test_a_good_token_lets_no_bad_one_pass(envoy: Guarded) -> None:
    signer, [listen] = Signer(), free_ports(1)
    one = replace(RULE, jwks=signer.jwks, jwks_uri="")
    other = replace(one, source="other", issuer="idp2", locations=(Location(Where.HEADER, "x-token"),))
    good, other_good = signer.token({"iss": "idp"}), signer.token({"iss": "idp2"})
    async with application() as (http, _):
        await envoy.offer([a_plan(http, listen, one, other)])
        await envoy.listening([listen])

        async def status(first: str, second: str) -> int:
            headers = {"authorization": f"Bearer {first}", "x-token": second}
            return (await envoy.call(Call(listen, headers=headers))).status

        assert await status(good, other_good) == 200
        assert await status(good, "garbage") == 401
        assert await status("garbage", other_good) == 401
        assert await status(good, good) == 401
