"""The compose demo: every line of the demo's table, by real requests through intercepted sockets."""

from __future__ import annotations

import pytest

from demo.container_way import ContainerWay, expectations
from demo.containers import ContainerMesh
from demo.run import Runner


@pytest.fixture(scope="session")
def runner(mesh: ContainerMesh) -> Runner:
    return Runner(ContainerWay(mesh))


def test_every_expectation_holds(runner: Runner) -> None:
    """One after the other, in the table's order: some change a policy and undo it."""
    table = expectations()
    held = list(runner.run(table))
    assert len(held) == len(table)
    assert [(h.expectation.id, h.outcome, h.rule) for h in held if not h.ok] == []
