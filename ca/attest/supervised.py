"""A process that the agent itself started, known by its kernel session: supervised:workload:shop/orders."""

from __future__ import annotations


def selectors(namespace: str, name: str) -> frozenset[str]:
    return frozenset({f"supervised:workload:{namespace}/{name}"})
