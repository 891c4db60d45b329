"""PolicyTests replayed through a real Envoy: the same requests must get the same answers. `make test-envoy-cases`

One Envoy holds a listener for each port that a case asks. What loopback cannot carry is left out and named: server
names that TLS or Python's ssl would not send as they are, addresses this machine does not have. A verified payload
in `claims` becomes a signed token that the port accepts.

    python -m bench.envoy_cases ../shared/cases/policy/*.json
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from bench.guarded import Answer, Call, Guarded, application, guarded
from bench.one_envoy import free_ports
from controlplane.cli.policy_files import read_tests
from policies.authentication import Authentication, JwtRule, Location, Where
from policies.evaluate import Decision, Outside, evaluate
from policies.judge import program_for
from policies.policy_test import Case, PolicyTest
from policies.program import DEFAULT_DENY, DecisionProgram, Protocol
from policies.workload import MtlsMode
from xds.plan import AccessLog, AppProtocol, InboundPort, ProxyPlan, SocketAddress

CLAIMS_HEADER = "x-test-claims"
EVERYWHERE = "0.0.0.0"


class Signer:
    """A key that vouches for any payload."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self.jwks = json.dumps({"keys": [{**public, "alg": "ES256", "kid": "test"}]})

    def rule(self) -> JwtRule:
        where = (Location(Where.HEADER, CLAIMS_HEADER),)
        return JwtRule("test claims", jwks=self.jwks, locations=where, issuer="", jwks_uri="")

    def token(self, claims: dict[str, object]) -> str:
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self._key, "ES256", {"kid": "test"})


@dataclass(frozen=True)
class Replay:
    """A case, where Envoy listens for it, and what the offline evaluator says."""

    test: PolicyTest
    case: Case
    program: DecisionProgram
    mode: MtlsMode
    port: int


@dataclass(frozen=True)
class Outcome:
    replay: Replay
    answer: Answer | None
    problem: str = ""  # why it does not agree
    left_out: str = ""  # why it was not asked


async def replay(tests: Sequence[PolicyTest]) -> list[Outcome]:
    signer = Signer()
    async with application() as (http, tcp), guarded() as envoy:
        plans, replays = _plans(tests, http, tcp, signer)
        await envoy.offer(plans)
        await envoy.listening({one.port for one in replays})
        return [await _ask(envoy, one, signer) for one in replays]


def _plans(
    tests: Sequence[PolicyTest], http: SocketAddress, tcp: SocketAddress, signer: Signer
) -> tuple[list[ProxyPlan], list[Replay]]:
    plans: list[ProxyPlan] = []
    replays: list[Replay] = []
    listen = iter(free_ports(sum(len(test.cases) for test in tests)))
    for number, test in enumerate(tests):
        ports: dict[tuple[str, str, int, Protocol], InboundPort] = {}
        for case in test.cases:
            key = (case.workload.namespace, case.workload.name, case.port, case.protocol)
            if key not in ports:
                program, mode = program_for(test, case)
                rules = (*program.authentication.rules, signer.rule())
                if case.protocol is Protocol.HTTP and any(c.request.claims is not None for c in test.cases):
                    program = replace(program, authentication=Authentication(rules))
                is_http = case.protocol is Protocol.HTTP
                ports[key] = InboundPort(
                    f"t{number}-{len(ports)}",
                    case.port,
                    AppProtocol.HTTP if is_http else AppProtocol.TCP,
                    SocketAddress(EVERYWHERE, next(listen)),
                    http if is_http else tcp,
                    mode,
                    program,
                )
            port = ports[key]
            replays.append(Replay(test, case, port.program, port.mtls, port.listen.port))
        settings = test.settings
        plan = ProxyPlan(
            "shop/guard", (settings.trust_domain, *settings.trust_domain_aliases), settings.path_normalization,
            tuple(ports.values()), None, (), (), AccessLog.OFF, trusted_proxies=1, explain_denials=True,
        )  # fmt: skip
        plans.append(plan)
    return plans, replays


async def _ask(envoy: Guarded, one: Replay, signer: Signer) -> Outcome:
    reason = _uncarried(one)
    if reason:
        return Outcome(one, None, left_out=reason)
    try:
        answer = await envoy.call(_call(one, signer))
    except OSError as error:
        return Outcome(one, None, left_out=f"this machine cannot connect so: {error}")
    decision = evaluate(one.program, one.case.request, one.test.settings, one.mode, Outside(time.time()))
    return Outcome(one, answer, problem=_difference(one, decision, answer))


def _uncarried(one: Replay) -> str:
    request = one.case.request
    if request.sni and request.principal is None:
        return "a server name without a certificate"
    if request.sni and (
        request.sni != request.sni.lower() or request.sni.startswith(".") or "/" in request.sni
    ):
        return "a server name that TLS does not carry as it is (upper case, a leading dot, a slash)"
    if "/" in request.host or "[" in request.method or "/" in request.method:
        return "a host or method that is none by HTTP's grammar: Envoy's codec refuses it before any filter"
    if one.case.protocol is Protocol.TCP and request.remote_ip not in (None, request.source_ip):
        return "a remote address on TCP (there is no PROXY protocol between sidecars)"
    return ""


def _call(one: Replay, signer: Signer) -> Call:
    request = one.case.request
    headers = dict(request.headers)
    if request.claims is not None:
        headers[CLAIMS_HEADER] = signer.token(dict(request.claims))
    if request.remote_ip is not None and request.remote_ip != request.source_ip:
        headers["x-forwarded-for"] = str(request.remote_ip)
    return Call(
        one.port,
        None if request.principal is None else tuple(f"spiffe://{p}" for p in request.principal.split(",")),
        request.method,
        request.path,
        request.host or "unnamed",
        headers,
        tcp=one.case.protocol is Protocol.TCP,
        sni=request.sni,
        source=str(request.source_ip or "127.0.0.1"),
        destination=str(request.destination_ip or ip_address("127.0.0.1")),
    )


def _difference(one: Replay, decision: Decision, answer: Answer) -> str:
    if answer.allowed != (one.case.expect == "allow"):
        return f"expected {one.case.expect}, Envoy answered {answer.status} {answer.body.strip()[:120]!r}"
    if one.case.status and one.case.status != answer.status:
        return f"expected {one.case.status}, Envoy answered {answer.status}"
    if answer.status == 403 and decision.rule == DEFAULT_DENY and f"[{DEFAULT_DENY}" not in answer.body:
        return f"denied by {DEFAULT_DENY}, Envoy says {answer.body!r}"
    return ""


def report(outcomes: Iterable[Outcome]) -> int:
    """Prints what does not agree and what was left out; the number that do not agree."""
    listed = list(outcomes)
    wrong = [o for o in listed if o.problem]
    left = [o for o in listed if o.left_out]
    for outcome in wrong:
        print(f"DIFFERS   {outcome.replay.test.name} {outcome.replay.case.id}: {outcome.problem}")
    for outcome in left:
        print(f"left out  {outcome.replay.test.name} {outcome.replay.case.id}: {outcome.left_out}")
    for reason, count in Counter(o.left_out for o in left).most_common():
        print(f"{count} left out: {reason}")
    print(f"{len(listed) - len(wrong) - len(left)} agree, {len(wrong)} differ, {len(left)} left out")
    return len(wrong)


def main(files: Sequence[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    tests, problems = read_tests(files)
    if problems or not tests:
        print("\n".join(map(str, problems)) or "no test was given", file=sys.stderr)
        return 2
    return 1 if report(asyncio.run(replay(tests))) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
