"""An object as people keep it in files: without what the server wrote. Pure; idempotent to the byte."""

from __future__ import annotations

from typing import Any, Final

_SERVERS: Final = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp",
     "deletionGracePeriodSeconds"}
)  # fmt: skip
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def cleaned(obj: dict[str, Any]) -> dict[str, Any]:
    """apiVersion, kind, metadata, then what is wanted; no status."""
    metadata = {f: v for f, v in obj.get("metadata", {}).items() if f not in _SERVERS}
    written: dict[str, Any] = metadata.pop("annotations", None) or {}
    annotations = {k: v for k, v in written.items() if k != LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    head = {f: obj[f] for f in ("apiVersion", "kind") if f in obj}
    rest = {f: v for f, v in obj.items() if f not in ("apiVersion", "kind", "metadata", "status")}
    return {**head, "metadata": metadata, **rest}
