"""kubectl ≥ 1.32 sends some requests as Kubernetes protobuf; this reads those messages, by a table. Pure.

    "k8s\\0" + Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: raw }

Only what the table names is read, the rest is skipped; answers are JSON, which every client takes.
Source: k8s.io/apimachinery generated.proto; field numbers tried with kubectl 1.32.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

MAGIC: Final = b"k8s\0"
CONTENT_TYPE: Final = "application/vnd.kubernetes.protobuf"


class BadProtobufError(ValueError):
    """The body is no message of the table."""


class Wire(StrEnum):
    TEXT = "text"
    BYTES = "bytes"
    BOOL = "bool"
    TEXT_MAP = "map"
    BYTES_MAP = "bytes map"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: Wire | str  # a str names another message
    repeated: bool = False


_MESSAGES: Final[dict[str, dict[int, Field]]] = {
    "ObjectMeta": {
        1: Field("name", Wire.TEXT), 2: Field("generateName", Wire.TEXT), 3: Field("namespace", Wire.TEXT),
        5: Field("uid", Wire.TEXT), 6: Field("resourceVersion", Wire.TEXT), 11: Field("labels", Wire.TEXT_MAP),
        12: Field("annotations", Wire.TEXT_MAP), 14: Field("finalizers", Wire.TEXT, repeated=True),
    },
    "Namespace": {1: Field("metadata", "ObjectMeta"), 2: Field("spec", "NamespaceSpec")},
    "NamespaceSpec": {1: Field("finalizers", Wire.TEXT, repeated=True)},
    "ConfigMap": {
        1: Field("metadata", "ObjectMeta"), 2: Field("data", Wire.TEXT_MAP), 3: Field("binaryData", Wire.BYTES_MAP),
        4: Field("immutable", Wire.BOOL),
    },
    "Secret": {
        1: Field("metadata", "ObjectMeta"), 2: Field("data", Wire.BYTES_MAP), 3: Field("type", Wire.TEXT),
        4: Field("stringData", Wire.TEXT_MAP), 5: Field("immutable", Wire.BOOL),
    },
    "PolicyRule": {
        1: Field("verbs", Wire.TEXT, repeated=True), 2: Field("apiGroups", Wire.TEXT, repeated=True),
        3: Field("resources", Wire.TEXT, repeated=True), 4: Field("resourceNames", Wire.TEXT, repeated=True),
        5: Field("nonResourceURLs", Wire.TEXT, repeated=True),
    },
    "Role": {1: Field("metadata", "ObjectMeta"), 2: Field("rules", "PolicyRule", repeated=True)},
    "ClusterRole": {1: Field("metadata", "ObjectMeta"), 2: Field("rules", "PolicyRule", repeated=True)},
    "Subject": {
        1: Field("kind", Wire.TEXT), 2: Field("apiGroup", Wire.TEXT), 3: Field("name", Wire.TEXT),
        4: Field("namespace", Wire.TEXT),
    },
    "RoleRef": {1: Field("apiGroup", Wire.TEXT), 2: Field("kind", Wire.TEXT), 3: Field("name", Wire.TEXT)},
    "RoleBinding": {
        1: Field("metadata", "ObjectMeta"), 2: Field("subjects", "Subject", repeated=True), 3: Field("roleRef", "RoleRef"),
    },
    "ClusterRoleBinding": {
        1: Field("metadata", "ObjectMeta"), 2: Field("subjects", "Subject", repeated=True), 3: Field("roleRef", "RoleRef"),
    },
    "ResourceAttributes": {
        1: Field("namespace", Wire.TEXT), 2: Field("verb", Wire.TEXT), 3: Field("group", Wire.TEXT),
        4: Field("version", Wire.TEXT), 5: Field("resource", Wire.TEXT), 6: Field("subresource", Wire.TEXT),
        7: Field("name", Wire.TEXT),
    },
    "NonResourceAttributes": {1: Field("path", Wire.TEXT), 2: Field("verb", Wire.TEXT)},
    "SelfSubjectAccessReview": {1: Field("metadata", "ObjectMeta"), 2: Field("spec", "SelfSubjectAccessReviewSpec")},
    "SelfSubjectAccessReviewSpec": {
        1: Field("resourceAttributes", "ResourceAttributes"), 2: Field("nonResourceAttributes", "NonResourceAttributes"),
    },
    "SelfSubjectRulesReview": {1: Field("metadata", "ObjectMeta"), 2: Field("spec", "SelfSubjectRulesReviewSpec")},
    "SelfSubjectRulesReviewSpec": {1: Field("namespace", Wire.TEXT)},
    "SelfSubjectReview": {1: Field("metadata", "ObjectMeta")},
    "DeleteOptions": {
        4: Field("propagationPolicy", Wire.TEXT), 5: Field("dryRun", Wire.TEXT, repeated=True),
        2: Field("preconditions", "Preconditions"),
    },
    "Preconditions": {1: Field("uid", Wire.TEXT), 2: Field("resourceVersion", Wire.TEXT)},
}  # fmt: skip


def decode(body: bytes) -> dict[str, Any]:
    """The object as JSON, with apiVersion and kind. Raises: BadProtobufError."""
    if not body.startswith(MAGIC):
        raise BadProtobufError("the body is no Kubernetes protobuf")
    api_version = kind = ""
    raw = b""
    for number, value in _fields(body[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            meta = {n: v for n, v in _fields(value) if isinstance(v, bytes)}
            api_version, kind = _text(meta.get(1, b"")), _text(meta.get(2, b""))
        elif number == 2 and isinstance(value, bytes):
            raw = value
    if kind not in _MESSAGES:
        raise BadProtobufError(f"{kind or 'this message'} is not read as protobuf here; send JSON")
    return {"apiVersion": api_version, "kind": kind, **_message(kind, raw)}


def _message(name: str, data: bytes) -> dict[str, Any]:
    table, result = _MESSAGES[name], dict[str, Any]()
    for number, value in _fields(data):
        field = table.get(number)
        if field is None:
            continue
        match field.type:
            case Wire.TEXT_MAP | Wire.BYTES_MAP:
                pair = dict(_fields(_bytes(value)))
                inner = _bytes(pair.get(2, b""))
                text = _text(inner) if field.type is Wire.TEXT_MAP else base64.b64encode(inner).decode()
                result.setdefault(field.name, {})[_text(_bytes(pair.get(1, b"")))] = text
                continue
            case Wire.TEXT:
                read: Any = _text(_bytes(value))
            case Wire.BYTES:
                read = base64.b64encode(_bytes(value)).decode()
            case Wire.BOOL:
                read = value == 1
            case message:
                read = _message(message, _bytes(value))
        if field.repeated:
            result.setdefault(field.name, []).append(read)
        elif read != "":
            result[field.name] = read
    return result


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 2:
                length, at = _varint(data, at)
                if length > len(data) - at:
                    raise BadProtobufError("the protobuf body is cut off")
                yield tag >> 3, data[at : at + length]
                at += length
            case 1 | 5 as wire:
                at += 8 if wire == 1 else 4
            case _:
                raise BadProtobufError("the protobuf body holds a wire type that is not read")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BadProtobufError("the protobuf body is cut off")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BadProtobufError("a field of the protobuf body has the wrong type")
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadProtobufError("a text of the protobuf body is no UTF-8") from error
