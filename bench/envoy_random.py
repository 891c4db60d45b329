"""Random policies × random requests: the offline evaluator, a walk of the compiled tree, and a real Envoy must agree.

    python -m bench.envoy_random --requests 2000 1 2 3        seeds; `make test-envoy-random` runs ten

A part of the ports also look for tokens; there 401 and 403 must be told apart as Envoy does.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from bench import random_policies
from bench.envoy_cases import CLAIMS_HEADER, Signer
from bench.guarded import Answer, Call, Guarded, application, guarded
from bench.matcher_walk import Verdict, decide
from bench.one_envoy import free_ports
from bench.random_policies import PORT, TRUST_DOMAINS
from policies.authentication import Authentication
from policies.authorization_policy import AuthorizationPolicy
from policies.evaluate import Decision, Outside, evaluate
from policies.program import DEFAULT_DENY, DecisionProgram, Protocol
from policies.request import Request
from policies.workload import MeshSettings, MtlsMode
from xds.compile import rbac
from xds.compile.surroundings import Surroundings
from xds.plan import AccessLog, AppProtocol, InboundPort, ProxyPlan, SocketAddress

CALLERS = 4  # connections a port; requests share them
AROUND = Surroundings(TRUST_DOMAINS)


@dataclass(frozen=True)
class Guard:
    """A random set of policies and where Envoy enforces it."""

    settings: MeshSettings
    policies: tuple[AuthorizationPolicy, ...]
    program: DecisionProgram
    port: int
    about_tokens: bool


async def run(seed: int, requests: int) -> tuple[list[str], Counter[str]]:
    """What does not agree, and how many requests ended how."""
    chance = random.Random(seed)
    signer = Signer()
    differences: list[str] = []
    seen: Counter[str] = Counter()
    async with application() as (http, tcp), guarded() as envoy:
        guards, plans = _guards(chance, signer, max(25, requests // 40), http, tcp)
        await envoy.offer(plans)
        await envoy.listening(guard.port for guard in guards)
        for number, guard in enumerate(guards):
            share = requests // len(guards) + (number < requests % len(guards))
            async for word, difference in _ask(envoy, guard, chance, signer, share):
                seen[word] += 1
                if difference:
                    differences.append(f"seed {seed}: {difference}")
    return differences, seen


def _guards(
    chance: random.Random, signer: Signer, count: int, http: SocketAddress, tcp: SocketAddress
) -> tuple[list[Guard], list[ProxyPlan]]:
    guards: list[Guard] = []
    plans: list[ProxyPlan] = []
    listen = free_ports(count)
    for number in range(count):
        settings = random_policies.settings_of(chance)
        selected = random_policies.policies(chance, settings)
        protocol = Protocol.TCP if number % 5 == 4 else Protocol.HTTP
        about_tokens = number % 5 == 3
        rules = (
            random_policies.token_rules(chance, signer.jwks)
            if about_tokens
            else Authentication((signer.rule(),))
        )
        program = random_policies.program_of(selected, settings, protocol, rules)
        is_http = protocol is Protocol.HTTP
        port = InboundPort(
            f"g{number}", PORT, AppProtocol.HTTP if is_http else AppProtocol.TCP,
            SocketAddress("0.0.0.0", listen[number]), http if is_http else tcp, MtlsMode.PERMISSIVE, program,
        )  # fmt: skip
        plan = ProxyPlan(
            "shop/guard", TRUST_DOMAINS, settings.path_normalization, (port,), None, (), (), AccessLog.OFF,
            trusted_proxies=settings.trusted_proxies, explain_denials=True,
        )  # fmt: skip
        guards.append(Guard(settings, selected, program, port.listen.port, about_tokens))
        plans.append(plan)
    return guards, plans


async def _ask(envoy: Guarded, guard: Guard, chance: random.Random, signer: Signer, count: int):
    protocol = guard.program.protocol
    before = list(rbac.network_filters(guard.program, AROUND)) if protocol is Protocol.TCP else []
    extension = rbac.extension("p", guard.program, AROUND)
    callers = [random_policies.caller(chance) for _ in range(CALLERS)]
    now = time.time()
    for _ in range(count):
        who = chance.choice(callers)
        request = random_policies.request(chance, who, protocol)
        if guard.about_tokens:
            sent = random_policies.tokens(chance, signer.token, now)
            request = Request(
                **{name: getattr(request, name) for name in ("principal", "source_ip", "destination_ip", "sni")},
                method=sent.method, path=sent.path, host=sent.host, headers=sent.headers,
                remote_ip=request.remote_ip,
            )  # fmt: skip
        decision = evaluate(guard.program, request, guard.settings, outside=Outside(now))
        walked = None
        if not guard.about_tokens:
            walked = decide(extension, request, guard.settings, [config for _, config in before])
        answer = await envoy.call(_call(guard, who, request, signer))
        difference = _difference(decision, walked, answer, protocol)
        detail = f"{difference}\n  {decision}\n  {walked}\n  {answer}\n  {request}\n  {guard.policies}"
        yield (
            f"{protocol} {answer.status or ('allowed' if answer.allowed else 'closed')}",
            detail if difference else "",
        )


def _call(guard: Guard, who: random_policies.Caller, request: Request, signer: Signer) -> Call:
    headers = dict(request.headers)
    if request.claims is not None:
        headers[CLAIMS_HEADER] = signer.token(dict(request.claims))
    if request.remote_ip is not None:
        headers["x-forwarded-for"] = str(request.remote_ip)
    return Call(
        guard.port,
        None if who.principal is None else (f"spiffe://{who.principal}",),
        request.method, request.path, request.host, headers,
        tcp=guard.program.protocol is Protocol.TCP,
        sni=who.sni, source=who.source, destination=who.destination,
    )  # fmt: skip


def _difference(decision: Decision, walked: Verdict | None, answer: Answer, protocol: Protocol) -> str:
    if answer.allowed is not decision.allowed:
        return "Envoy and the evaluator differ"
    if protocol is Protocol.HTTP and answer.status != decision.status:
        return f"Envoy answered {answer.status}, the evaluator {decision.status}"
    if walked is not None and walked.allowed is not decision.allowed:
        return "the walk of the compiled tree and the evaluator differ"
    if (
        walked is not None
        and answer.status == 403
        and f"[{walked.name.replace(' ', '_')}]" not in answer.body
    ):
        return "Envoy names another rule than the compiled tree"
    if decision.rule == DEFAULT_DENY and answer.status == 403 and f"[{DEFAULT_DENY}" not in answer.body:
        return "Envoy names a rule where none matched"
    return ""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("seeds", type=int, nargs="+")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    failed = 0
    for seed in given.seeds:
        began = time.perf_counter()
        differences, seen = asyncio.run(run(seed, given.requests))
        for difference in differences[:3]:
            print(difference)
        failed += bool(differences)
        ended = ", ".join(f"{word}: {count}" for word, count in sorted(seen.items()))
        print(
            f"seed {seed}: {sum(seen.values())} requests, {len(differences)} differ, "
            f"{time.perf_counter() - began:.1f} s ({ended})",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
