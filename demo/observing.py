"""One service on the way an existing project takes: observed, with what would be refused, and then enforced.

The commands are an operator's, and run as they are shown. The service is orders: its container asks to be observed
(docker-compose.yml), and its namespace has it enforced (enforced.yaml), before and after. No container starts anew.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from demo.client import Outcome
from demo.container_way import ContainerWay
from demo.containers import ContainerMesh
from demo.expectation import ENFORCE, OBSERVE, Expectation, Held, load
from demo.mesh import HERE, DemoError, run_pylis
from demo.run import Runner

SERVICE, NAMESPACE = "orders", "shop"
TURN_SECONDS = 15.0  # how long a change of the mode may take to be in force everywhere


@dataclass(frozen=True, slots=True)
class Typed:
    """A command as one types it, and what it says."""

    command: str
    said: str
    failed: bool = False


def expectations() -> list[Expectation]:
    return load(HERE / "observing.yaml")


class Observing:
    """`refusals`: what `pylis observed -o json` said while the service was observed."""

    def __init__(self, mesh: ContainerMesh, turn_seconds: float = TURN_SECONDS) -> None:
        self._mesh = mesh
        self._way = ContainerWay(mesh)
        self._runner = Runner(self._way)
        self._turn_seconds = turn_seconds
        self.refusals: list[dict[str, Any]] = []

    def run(self, table: list[Expectation]) -> Iterator[Typed | Held]:
        """In the table's order; whatever happens, the service is enforced in the end. Raises: DemoError."""
        mode = ENFORCE
        try:
            for wanted, rows in groupby(table, lambda e: e.mode):
                if wanted != mode:
                    mode = wanted
                    typed = self._turn(wanted)
                    yield typed
                    if typed.failed:
                        yield from (Held(e, Outcome("error", detail=typed.said), typed.said) for e in rows)
                        continue
                end = time.monotonic() + self._turn_seconds
                held = [self._held(e, end) for e in rows]
                if wanted == OBSERVE:
                    report = self._report()
                    yield from map(self._reported, held)
                    yield report
                else:
                    yield from held
        finally:
            if mode != ENFORCE:
                self._turn(ENFORCE)

    def _turn(self, mode: str) -> Typed:
        arguments = ["enforce", SERVICE, "-n", NAMESPACE, *(["--undo"] if mode == OBSERVE else [])]
        words = ["exec", "-T", "control-plane", "pylis", *arguments]
        command = shlex.join([*self._mesh.compose, "-p", self._mesh.project, *words])
        try:
            return Typed(command, self._mesh.run_compose(*words).strip())
        except DemoError as error:
            self._way.check_alive()
            return Typed(command, str(error), failed=True)

    def _held(self, e: Expectation, end: float) -> Held:
        """A change takes a moment; what is open may notice nothing of it, so that it is asked once."""
        while True:
            [held] = self._runner.run([e])
            if held.ok or e.how == "kept" or time.monotonic() > end:
                return held
            time.sleep(0.05)

    def _report(self) -> Typed:
        command = ["observed", "-p", self._mesh.project]
        try:
            self.refusals = json.loads(run_pylis(*command, "-o", "json"))["refusals"]
            return Typed(shlex.join(["pylis", *command]), run_pylis(*command).rstrip())
        except DemoError as error:
            return Typed(shlex.join(["pylis", *command]), str(error), failed=True)

    def _reported(self, held: Held) -> Held:
        """Whoever would be refused is in the report with the same rule, and nobody else."""
        e = held.expectation
        named = any(
            (one["service"], one["what"]) == (f"{e.service}.{NAMESPACE}", f"{e.method} {e.path}")
            and _is_caller(e, one["caller"])
            and one["rule"] == held.rule
            for one in self.refusals
        )
        if named == e.would_be_refused:
            return held
        return replace(held, rule=f"pylis observed {'names it' if named else 'does not name it'}")


def _is_caller(e: Expectation, caller: str) -> bool:
    namespace, _, account = e.source.partition("/")
    return caller.endswith(f"/ns/{namespace}/sa/{account}") or (
        e.how == "plaintext" and caller.startswith("plain text ")
    )
