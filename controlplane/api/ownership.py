"""The destination's owner decides: which workloads a policy selects, and who owns them. Pure.

A WorkloadEntry names its owners in the annotation `pylis.io/owners`: `user:ann, group:payments`. Then only they, or
who holds the verb `override` on the entry, may write it or any policy that selects it.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.resources.rbac import Subject

OWNERS: Final = "pylis.io/owners"
_KINDS: Final = {"user": "User", "group": "Group"}


def owners_of(entry: Mapping[str, Any]) -> tuple[Subject, ...]:
    """Words that are no owner stand for nobody: what cannot be read opens nothing."""
    annotations = entry.get("metadata", {}).get("annotations")
    text = annotations.get(OWNERS, "") if isinstance(annotations, dict) else ""
    found: list[Subject] = []
    for part in str(text).split(","):
        kind, _, name = part.strip().partition(":")
        if part.strip():
            found.append(Subject(_KINDS.get(kind.strip(), "Nobody"), name.strip()))
    return tuple(found)


def selects_workload(policy: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """By labels only: the caller has looked at namespaces. A selector that cannot be read selects everything."""
    spec = policy.get("spec")
    selector = spec.get("selector") if isinstance(spec, dict) else None
    wanted = selector.get("matchLabels") if isinstance(selector, dict) else None
    if not isinstance(wanted, dict):
        return True
    inner = entry.get("spec")
    labels = inner.get("labels") if isinstance(inner, dict) else None
    have: dict[str, Any] = {**(labels if isinstance(labels, dict) else {})}
    return all(have.get(key) == value for key, value in wanted.items())
