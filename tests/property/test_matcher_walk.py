"""The evaluator and a walk of what was compiled give the same answer, for every construct. Random, from fixed seeds."""

from __future__ import annotations

import random

import pytest

from bench import random_policies
from bench.matcher_walk import decide
from policies.evaluate import Facts, evaluate, matches
from policies.program import DEFAULT_DENY, Protocol
from xds.compile import rbac
from xds.compile.surroundings import Surroundings

AROUND = Surroundings(random_policies.TRUST_DOMAINS)


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("seed", range(20))
def test_the_compiled_tree_answers_as_the_evaluator(seed: int, protocol: Protocol) -> None:
    chance = random.Random(f"{seed}{protocol}")
    for _ in range(12):
        settings = random_policies.settings_of(chance)
        selected = random_policies.policies(chance, settings)
        program = random_policies.program_of(selected, settings, protocol)
        before = list(rbac.network_filters(program, AROUND)) if protocol is Protocol.TCP else []
        extension = rbac.extension("p", program, AROUND)
        for _ in range(25):
            request = random_policies.request(chance, random_policies.caller(chance), protocol)
            decision = evaluate(program, request, settings)
            verdict = decide(extension, request, settings, [config for _, config in before])
            what = (seed, selected, request, decision, verdict)
            assert verdict.allowed is decision.allowed, what
            if decision.rule == DEFAULT_DENY:
                assert verdict.name.startswith(DEFAULT_DENY), what
            elif "[" in decision.rule:
                facts = Facts(request, settings)
                matching = {c.name for c in program.clauses() if matches(c, facts)}
                assert verdict.name in matching, what
            else:
                assert verdict.name == decision.rule, what
