"""Which policies apply to a workload: those of its namespace and of the root namespace whose labels fit.

A policy with targets is for gateways and waypoints: no sidecar takes it.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.authorization_policy import AuthorizationPolicy
from policies.selector import selects
from policies.workload import MeshSettings, Workload


def select(
    policies: Iterable[AuthorizationPolicy], workload: Workload, settings: MeshSettings
) -> tuple[AuthorizationPolicy, ...]:
    """Sorted, the root namespace's first: the same policies in any order give the same program."""
    root = settings.root_namespace
    applying = (
        policy
        for policy in policies
        if policy.namespace in (workload.namespace, root)
        and not policy.targets
        and selects(policy.selector, workload.labels)
    )
    return tuple(sorted(applying, key=lambda p: (p.namespace != root, p.namespace, p.name)))
