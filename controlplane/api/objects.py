"""Objects as the API stores and shows them, and what it demands of their metadata. Pure.

A stored value is `{"metadata": {…}, "spec": …, "status": …}`; version, kind and resourceVersion are added when it is
shown. Metadata stands first: an object is shown by putting a few bytes before its stored text.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.api.errors import ApiError, bad_request, invalid
from controlplane.resources.kinds import Kind
from controlplane.store.port import Key, Record
from policies import codes
from policies.document import Document
from policies.problem import Problem

Object = dict[str, Any]
MAX_ANNOTATIONS: Final = 256 * 1024
MAX_OBJECT: Final = 512 * 1024  # bytes of a stored object
_SERVERS: Final = (
    "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds",
)  # fmt: skip
_WRITERS: Final = (
    "name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "managedFields",
)  # fmt: skip
_PREFIX: Final = '{"metadata":{'
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_DOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request says the object is; `name` "" when the body says it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a new object gets: RFC 3339 time and a UUID."""

    now: str
    uid: str


def key_of(kind: Kind, namespace: str, name: str) -> Key:
    return Key(kind.resource, namespace if kind.namespaced else "", name)


def shown(kind: Kind, record: Record) -> Object:
    """An object as clients see it."""
    value = record.value
    metadata = {**value["metadata"], "resourceVersion": str(record.revision)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, **value, "metadata": metadata}


def shown_text(kind: Kind, record: Record) -> str:
    """The same as JSON, without parsing it."""
    rest = record.text.removeprefix(_PREFIX)
    return f'{{"apiVersion":"{kind.api_version}","kind":"{kind.kind}","metadata":{{"resourceVersion":"{record.revision}",{rest}'


def addressed(kind: Kind, body: Object, place: Place) -> Object:
    """A copy that says what and where it is, as the request does. Raises: ApiError when they differ."""
    body = copy.deepcopy(body)
    metadata = body.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    if place.name and (metadata.get("name") or place.name) != place.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) is not the name in the URL ({place.name})"
        )
    if place.name:
        metadata["name"] = place.name
    if kind.namespaced:
        if (metadata.get("namespace") or place.namespace) != place.namespace:
            text = "the namespace of the object does not match the namespace on the request"
            raise bad_request(f"{text} ({metadata['namespace']} and {place.namespace})")
        metadata["namespace"] = place.namespace
    elif not metadata.get("namespace"):
        metadata.pop("namespace", None)
    if body.get("kind", kind.kind) != kind.kind:
        raise bad_request(f"the object is a {body.get('kind')}, this path takes {kind.kind}")
    if body.get("apiVersion", kind.api_version) not in _versions(kind):
        raise bad_request(
            f"the API version in the data ({body['apiVersion']}) does not match the expected one ({kind.api_version})"
        )
    body["apiVersion"], body["kind"] = kind.api_version, kind.kind
    for field in [f for f, value in metadata.items() if value is None]:
        del metadata[field]
    for field in _SERVERS:
        metadata.pop(field, None)
    if kind.kind == "Secret" and isinstance(body.get("stringData"), dict):
        _encode_strings(body)
    return body


def checked(kind: Kind, body: Object, validation: str) -> tuple[Object, list[Problem]]:
    """The body without unknown fields (unless Strict), and the warnings. Raises: ApiError with every problem."""
    body.pop("status", None)
    metadata = body["metadata"]
    managed = metadata.pop("managedFields", None)
    written = {f: metadata[f] for f in ("name", "namespace", "labels", "annotations") if f in metadata}
    if (
        kind.kind == "Namespace"
        and isinstance(body.get("spec"), dict)
        and set(body["spec"]) <= {"finalizers"}
    ):
        del body["spec"]
    problems = [*metadata_problems(metadata)]
    _, found = kind.parse(Document({**body, "metadata": written}))
    problems += found
    unknown = [p for p in problems if p.code == codes.UNKNOWN_FIELD and p.is_error]
    errors = [p for p in problems if p.is_error and p not in unknown]
    if errors or (unknown and validation == "Strict"):
        raise invalid(kind, str(metadata.get("name", "")), [*errors, *unknown])
    if unknown:
        for problem in unknown:
            _drop(body, problem.path)
        # what is left without them may mean something else, or nothing
        _, again = kind.parse(Document({**body, "metadata": written}))
        if left := [p for p in again if p.is_error]:
            raise invalid(kind, str(metadata.get("name", "")), left)
    if managed is not None:
        metadata["managedFields"] = managed
    warnings = [p for p in problems if not p.is_error]
    return body, [*warnings, *(unknown if validation == "Warn" else [])]


def metadata_problems(metadata: Object) -> Iterator[Problem]:
    """What Kubernetes demands of labels, annotations, finalizers and owner references."""
    for field in metadata:
        if field not in _WRITERS:
            yield Problem(codes.UNKNOWN_FIELD, f"metadata.{field}", "unknown field")
    labels = metadata.get("labels", {})
    for key, value in labels.items() if isinstance(labels, dict) else ():
        if not is_qualified(key):
            yield Problem(
                codes.BAD_LABEL, "metadata.labels", f'"{key}" is no label key', "name, or domain/name"
            )
        if isinstance(value, str) and value and not _NAME.fullmatch(value):
            text = f'"{value}" is no label value'
            yield Problem(
                codes.BAD_LABEL, f"metadata.labels.{key}", text, "at most 63 of A-Z, a-z, 0-9, -, _ and ."
            )
    annotations = metadata.get("annotations", {})
    if isinstance(annotations, dict):
        for key in annotations:
            if not is_qualified(key):
                yield Problem(codes.BAD_LABEL, "metadata.annotations", f'"{key}" is no annotation key')
        if sum(len(str(k)) + len(str(v)) for k, v in annotations.items()) > MAX_ANNOTATIONS:
            yield Problem(codes.TOO_LONG, "metadata.annotations", f"hold more than {MAX_ANNOTATIONS} bytes")
    yield from _list_problems(metadata, "finalizers", is_qualified, "a name as example.org/x")
    yield from _list_problems(
        metadata, "ownerReferences", _is_owner, "an object with apiVersion, kind, name and uid"
    )
    if "managedFields" in metadata and not isinstance(metadata["managedFields"], list):
        yield Problem(codes.WRONG_TYPE, "metadata.managedFields", "must be a list")
    if not isinstance(metadata.get("generateName", ""), str):
        yield Problem(codes.WRONG_TYPE, "metadata.generateName", "must be a string")


def is_qualified(key: Any) -> bool:
    """`name` or `domain/name`, as label keys are."""
    if not isinstance(key, str):
        return False
    domain, slash, name = key.rpartition("/")
    return _NAME.fullmatch(name) is not None and (
        not slash or (len(domain) <= 253 and _DOMAIN.fullmatch(domain) is not None)
    )


def stored(kind: Kind, body: Object, old: Object | None, stamp: Stamp) -> Object:
    """What is kept of a checked body: the server's own metadata, the old status, and a generation that counts
    changes outside metadata and status.
    """
    before: Object = old["metadata"] if old else {}
    metadata = {f: v for f, v in body["metadata"].items() if f not in _SERVERS}
    wanted = {f: v for f, v in body.items() if f not in ("metadata", "apiVersion", "kind", "status")}
    was = {f: v for f, v in (old or {}).items() if f not in ("metadata", "status")}
    if kind.kind == "Namespace":
        metadata["labels"] = {
            **(metadata.get("labels") or {}),
            "kubernetes.io/metadata.name": metadata["name"],
        }
        wanted = {"spec": {"finalizers": ["kubernetes"]}}
    generation = before.get("generation", 0) + (0 if old and was == wanted else 1)
    own = {
        "uid": before.get("uid", stamp.uid), "creationTimestamp": before.get("creationTimestamp", stamp.now),
        "generation": generation,
    }  # fmt: skip
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if field in before:
            own[field] = before[field]
    first = {f: metadata.pop(f) for f in ("name", "namespace") if f in metadata}
    result: Object = {"metadata": {**first, **own, **metadata}, **wanted}
    if old and "status" in old:
        result["status"] = old["status"]
    elif kind.kind == "Namespace":
        result["status"] = {"phase": "Active"}
    return result


def with_status(old: Object, body: Object) -> Object:
    """A write to `/status`: nothing else changes."""
    rest = {f: v for f, v in old.items() if f != "status"}
    status = body.get("status")
    if status is None:
        return rest
    if not isinstance(status, dict):
        raise bad_request("status must be an object")
    return {**rest, "status": status}


def expected_revision(body: Object) -> int | None:
    """`metadata.resourceVersion` of a written body: what the writer had read."""
    metadata = body.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if version in (None, ""):
        return None
    if not isinstance(version, str) or not version.isascii() or not version.isdigit() or len(version) > 18:
        raise ApiError(409, "Conflict", "metadata.resourceVersion is none of this server's")
    return int(version)


def _versions(kind: Kind) -> Sequence[str]:
    older = [f"{kind.group}/{v}" if kind.group else v for v in kind.older_versions]
    return [kind.api_version, *older]


def _is_owner(value: Any) -> bool:
    fields = ("apiVersion", "kind", "name", "uid")
    return isinstance(value, dict) and all(isinstance(value.get(f), str) and value[f] for f in fields)


def _list_problems(metadata: Object, field: str, good: Any, wanted: str) -> Iterator[Problem]:
    value = metadata.get(field, [])
    if not isinstance(value, list):
        yield Problem(codes.WRONG_TYPE, f"metadata.{field}", "must be a list")
        return
    for index, item in enumerate(value):
        if not good(item):
            yield Problem(codes.BAD_FORMAT, f"metadata.{field}[{index}]", f"must be {wanted}")


def _drop(body: Object, path: str) -> None:
    """Removes the field at a path such as `spec.rules[0].to[1].x`."""
    at: Any = body
    steps = [s for s in re.split(r"\.|\[(\d+)\]", path) if s]
    for index, step in enumerate(steps):
        # a field's name may hold dots: what is left may be one name
        rest = ".".join(steps[index:])
        if isinstance(at, dict) and rest in at:
            del at[rest]
            return
        at = at.get(step) if isinstance(at, dict) else at[int(step)] if isinstance(at, list) else None


def _encode_strings(body: Object) -> None:
    """A Secret's `stringData` is written into `data`, never kept as text."""
    import base64

    data = body.get("data")
    given = {
        k: base64.b64encode(v.encode()).decode() for k, v in body["stringData"].items() if isinstance(v, str)
    }
    if len(given) == len(body["stringData"]) and isinstance(data, dict | None):
        body["data"] = {**(data or {}), **given}
        del body["stringData"]
