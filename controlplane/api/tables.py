"""meta.k8s.io/v1 Table: what `kubectl get` prints. Pure."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from controlplane.resources.kinds import Kind

Object = dict[str, Any]


def table(
    kind: Kind,
    objects: Sequence[Object],
    metadata: Mapping[str, Any],
    now: datetime,
    *,
    header: bool = True,
    include: str = "",
) -> Object:
    """`include`: what a row's object holds (None, Metadata, Object)."""
    columns = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    columns += [
        {"name": c.name, "type": "string", "format": "", "description": c.path, "priority": int(c.wide)}
        for c in kind.columns
    ]
    columns.append({"name": "Age", "type": "date", "format": "", "description": "", "priority": 0})
    rows = [
        {
            "cells": [o["metadata"]["name"], *(cell(o, c.path) for c in kind.columns), age(o["metadata"]["creationTimestamp"], now)],
            **_included(o, include),
        }
        for o in objects
    ]  # fmt: skip
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns if header else [], "rows": rows,
    }  # fmt: skip


def _included(obj: Object, include: str) -> Object:
    match include:
        case "None":
            return {}
        case "Object":
            return {"object": obj}
        case _:
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
            return {"object": {**partial, "metadata": obj["metadata"]}}


def age(created: str, now: datetime) -> str:
    """How long ago, in kubectl's words: 45s, 12m, 3h, 20d."""
    seconds = max(0, int((now - datetime.fromisoformat(created)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def cell(obj: Object, path: str) -> str:
    """A value for people: lists joined, labels as `a=b`, "" for nothing; `@Type` is a condition's status."""
    if path.startswith("@"):
        return _condition(obj, path[1:])
    count = path.startswith("#")
    value: Any = obj
    for part in path.removeprefix("#").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if count:
        return str(len(value) if isinstance(value, list) else 0)
    match value:
        case None:
            return ""
        case list():
            return ",".join(map(str, value))
        case dict():
            return ",".join(f"{k}={v}" for k, v in value.items())
        case _:
            return str(value)


def _condition(obj: Object, type_: str) -> str:
    status = obj.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for item in conditions if isinstance(conditions, list) else []:
        if isinstance(item, dict) and item.get("type") == type_:
            return str(item.get("status", ""))
    return "Unknown"
