"""P3 offline decisions a second in a mesh of 1,000 policies, P4 `pylis policy test` on the shared cases with start-up.

python -m bench.policy_tools [CASES]        CASES: a directory of PolicyTests (default ../shared/cases/policy)
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import line
from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document
from policies.evaluate import evaluate
from policies.program import Protocol
from policies.request import Request
from policies.side import Policies, Side, Target, side
from policies.workload import MeshSettings, MtlsMode, Workload

CASES = Path("../shared/cases/policy")
MESH = MeshSettings("mesh.example")
POLICIES = 1_000
DECISIONS = 20_000
CALLERS = 5


def a_policy(index: int) -> AuthorizationPolicy:
    """An ALLOW policy of one service: five callers, two methods, a prefix, in one of ten namespaces."""
    namespace = f"ns{index % 10}"
    callers = [f"mesh.example/ns/{namespace}/sa/caller{n}" for n in range(CALLERS)]
    rule = {
        "from": [{"source": {"principals": [*callers]}}],
        "to": [{"operation": {"methods": ["GET", "POST"], "paths": ["/api/*"]}}],
    }
    value = {
        "metadata": {"name": f"p{index}", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": f"app{index}"}}, "rules": [rule]},
    }
    policy, problems = parse(Document(value))  # pyright: ignore[reportArgumentType] - JSON written as Python
    if policy is None:
        raise ValueError(problems)
    return policy


def sides() -> list[Side]:
    policies = Policies(MESH, tuple(a_policy(index) for index in range(POLICIES)))
    found = list[Side]()
    for index in range(POLICIES):
        workload = Workload(f"ns{index % 10}", f"app{index}", "a", {"app": f"app{index}"})
        found.append(side(policies, Target(workload, 8080, Protocol.HTTP)))
    return found


def decisions_a_second(mesh: list[Side], rounds: int) -> list[float]:
    """Of one core, CPU time; requests of known and unknown callers, half of them refused."""
    chance = random.Random(3)
    asked = [
        (
            chance.choice(mesh).program,
            Request(
                f"mesh.example/ns/ns{chance.randrange(10)}/sa/caller{chance.randrange(CALLERS + 1)}",
                method=chance.choice(["GET", "PUT"]),
                path=f"/api/{number % 50}",
            ),
        )
        for number in range(DECISIONS)
    ]
    taken = list[float]()
    for _ in range(rounds):
        began = time.process_time()
        for program, request in asked:
            evaluate(program, request, MESH, MtlsMode.STRICT)
        taken.append(DECISIONS / (time.process_time() - began))
    return taken


def policy_test(cases: Path, rounds: int) -> list[float]:
    """Wall seconds of the whole command."""
    files = sorted(str(file) for file in cases.glob("*.json"))
    taken = list[float]()
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "controlplane.cli", "policy", "test", *files, "-o", "json"],
            check=True, capture_output=True,
        )  # fmt: skip
        taken.append(time.perf_counter() - began)
    return taken


def main(cases: Path = CASES) -> None:
    found = decisions_a_second(sides(), 10)
    line("P3", found, "/s", 50_000, "none", at_least=True)
    if cases.is_dir():
        line("P4", policy_test(cases, 10), "s", 2.5, "none")
    else:
        print(f"P4 needs the shared cases: {cases} is no directory", file=sys.stderr)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
