"""Objects as the API stores and shows them: metadata, patches, selectors, tables. Pure."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from controlplane.api.errors import ApiError, bad_request, invalid
from controlplane.resources.kinds import Kind
from controlplane.store.port import Key, Record
from policies.document import Document

Object = dict[str, Any]
_OWNED: Final = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "managedFields")


def key_of(kind: Kind, namespace: str, name: str) -> Key:
    return Key(kind.resource, namespace if kind.namespaced else "", name)


def shown(kind: Kind, record: Record) -> Object:
    """An object as clients see it."""
    value = record.value
    metadata = {**value["metadata"], "resourceVersion": str(record.revision)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, **value, "metadata": metadata}


def accept(
    kind: Kind, body: Object, namespace: str, name: str, old: Object | None, now: str, uid: str
) -> Object:
    """What is stored for a written body. Raises: ApiError with every problem."""
    body = copy.deepcopy(body)
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    if name and metadata.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) is not the name in the URL ({name})")
    if kind.namespaced and metadata.setdefault("namespace", namespace) != namespace:
        text = (
            f"the namespace of the object ({metadata['namespace']}) is not that of the request ({namespace})"
        )
        raise bad_request(text)
    if body.get("kind", kind.kind) != kind.kind:
        raise bad_request(f"the object is a {body.get('kind')}, this path takes {kind.kind}")
    body["apiVersion"], body["kind"] = kind.api_version, kind.kind
    body.pop("status", None)
    _, problems = kind.parse(Document(body))
    if any(p.is_error for p in problems):
        raise invalid(kind, str(metadata.get("name", "")), [p for p in problems if p.is_error])
    for field in _OWNED:
        metadata.pop(field, None)
    before = old["metadata"] if old else {}
    same_spec = old is not None and old.get("spec") == body.get("spec")
    generation = before.get("generation", 0) + (0 if same_spec else 1)
    stored: Object = {
        "metadata": {
            **metadata,
            "uid": before.get("uid", uid),
            "creationTimestamp": before.get("creationTimestamp", now),
            "generation": generation,
        },
        **{k: v for k, v in body.items() if k not in ("metadata", "apiVersion", "kind")},
    }
    if kind.kind == "Namespace":
        labels = {**stored["metadata"].get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}
        stored["metadata"]["labels"] = labels
        stored["status"] = {"phase": "Active"}
    return stored


def expected_revision(body: Object) -> int | None:
    """`metadata.resourceVersion` of a written body: what the writer had read."""
    metadata = body.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if version in (None, ""):
        return None
    if not isinstance(version, str) or not version.isascii() or not version.isdigit():
        raise ApiError(409, "Conflict", "metadata.resourceVersion is none of this server's")
    return int(version)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result: Object = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises: ApiError 400 when it is no patch, 422 when a test or a path fails."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    document = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("every operation of a JSON patch has op and path")
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Object) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _set(document, path, copy.deepcopy(operation.get("value")), insert=True)
        case "replace":
            _look(document, path)
            return _set(document, path, copy.deepcopy(operation.get("value")), insert=False)
        case "remove":
            return _remove(document, path)
        case "test":
            if _look(document, path) != operation.get("value"):
                raise ApiError(422, "Invalid", f"the test of {operation['path']} failed")
            return document
        case "move" | "copy" as what if isinstance(operation.get("from"), str):
            source = _pointer(operation["from"])
            value = copy.deepcopy(_look(document, source))
            if what == "move":
                document = _remove(document, source)
            return _set(document, path, value, insert=True)
        case other:
            raise bad_request(f"{other!r} is no operation of a JSON patch")


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise bad_request(f"{text!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _look(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        match document:
            case dict() if part in document:
                document = document[part]
            case list() if part.isdigit() and int(part) < len(document):
                document = document[int(part)]
            case _:
                raise ApiError(422, "Invalid", f"/{'/'.join(path)} does not exist")
    return document


def _set(document: Any, path: Sequence[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _look(document, path[:-1]), path[-1]
    match parent:
        case dict():
            parent[last] = value
        case list() if last == "-":
            parent.append(value)
        case list() if last.isdigit() and int(last) <= len(parent):
            parent[int(last) : int(last) + (0 if insert else 1)] = [value]
        case _:
            raise ApiError(422, "Invalid", f"/{'/'.join(path)} does not exist")
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    _look(document, path)
    if not path:
        raise bad_request("the whole object cannot be removed by a patch")
    parent = _look(document, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[int(path[-1])]
    return document


def label_selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """`a=b,c!=d,e,!f,g in (x,y)`. Raises: ApiError."""
    tests = [_label_test(part) for part in _split(text)]
    return lambda labels: all(test(labels) for test in tests)


def _split(text: str) -> list[str]:
    parts, depth, current = list[str](), 0, ""
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in (*parts, current) if part.strip()]


def _label_test(part: str) -> Callable[[Mapping[str, str]], bool]:
    for word, wanted in ((" notin ", False), (" in ", True)):
        if word in part:
            key, _, values = part.partition(word)
            allowed = {v.strip() for v in values.strip().strip("()").split(",")}
            return lambda labels: (labels.get(key.strip()) in allowed) is wanted
    if "!=" in part:
        key, _, value = part.partition("!=")
        return lambda labels: labels.get(key.strip()) != value.strip()
    if "=" in part:
        key, _, value = part.replace("==", "=").partition("=")
        return lambda labels: labels.get(key.strip()) == value.strip()
    if part.startswith("!"):
        return lambda labels: part[1:].strip() not in labels
    return lambda labels: part in labels


def field_selector(text: str) -> Callable[[Object], bool]:
    """`metadata.name=x,metadata.namespace!=y`. Raises: ApiError for any other field."""
    tests: list[tuple[str, str, bool]] = []
    for part in _split(text):
        negated = "!=" in part
        field, _, value = part.partition("!=" if negated else "=")
        if field not in ("metadata.name", "metadata.namespace"):
            raise bad_request(f"field label not supported: {field}")
        tests.append((field.removeprefix("metadata."), value.lstrip("="), negated))
    return lambda obj: all((obj["metadata"].get(f, "") == v) is not negated for f, v, negated in tests)


def table(
    kind: Kind, objects: Sequence[Object], revision: int, now: datetime, *, header: bool = True
) -> Object:
    """meta.k8s.io/v1 Table, what `kubectl get` prints."""
    columns = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    columns += [
        {"name": c.name, "type": "string", "format": "", "description": "", "priority": int(c.wide)}
        for c in kind.columns
    ]
    columns.append({"name": "Age", "type": "date", "format": "", "description": "", "priority": 0})
    rows = [
        {
            "cells": [o["metadata"]["name"], *(cell(o, c.path) for c in kind.columns), age(o["metadata"]["creationTimestamp"], now)],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]},
        }
        for o in objects
    ]  # fmt: skip
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": str(revision)},
        "columnDefinitions": columns if header else [], "rows": rows,
    }  # fmt: skip


def age(created: str, now: datetime) -> str:
    """How long ago, in kubectl's words: 45s, 12m, 3h, 20d."""
    seconds = max(0, int((now - datetime.fromisoformat(created)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def cell(obj: Object, path: str) -> str:
    """A value for people: lists joined, labels as `a=b`, "" for nothing."""
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
