"""JSON Schemas of every kind, for editors: made from what the parsers ask, so that the two cannot differ. Pure.

A schema says what can be said of single fields: names, types, words, numbers. What several fields must be
together stays with `pylis validate`. Draft 7, which YAML language servers read.
"""

from __future__ import annotations

from typing import Final, assert_never

from controlplane.local import mesh_file
from controlplane.resources import kinds
from controlplane.resources.descriptions import describe
from controlplane.resources.shape import ANY_KEY, Parse, Shape, shape_of
from policies import policy_test
from policies.asked import Form
from policies.attributes import Attribute, Key
from policies.document import Json
from policies.when import read_key

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
MESH_FILE: Final = "mesh.yaml"

JsonObject = dict[str, Json]


def names() -> list[str]:
    """Every kind that has a schema, mesh.yaml last."""
    own = [kind.kind for kind in kinds.KINDS]
    return [*own, *([] if policy_test.KIND in own else [policy_test.KIND]), MESH_FILE]


def json_schema(name: str) -> JsonObject:
    """The schema of one kind of `names()`. Raises: KeyError."""
    return {"$schema": DRAFT, "title": name, **_body(name)}


def combined() -> JsonObject:
    """One schema for any file of ours: `kind` decides, and mesh.yaml is what has none."""
    own = [name for name in names() if name != MESH_FILE]
    cases: list[Json] = [
        {
            "if": {"required": ["kind"], "properties": {"kind": {"const": name}}},
            "then": {"$ref": f"#/definitions/{name}"},
        }
        for name in own
    ]
    mesh: Json = {"if": {"not": {"required": ["kind"]}}, "then": {"$ref": f"#/definitions/{MESH_FILE}"}}
    return {
        "$schema": DRAFT,
        "title": "Pylis",
        "type": "object",
        "properties": {"kind": {"enum": [*own]}},
        "allOf": [*cases, mesh],
        "definitions": {name: _body(name) for name in names()},
    }


def condition_keys() -> list[str]:
    """What `when` may name, without those that carry a name in brackets."""
    return [str(a) for a in Attribute if isinstance(read_key(str(a)), Key)]


def _body(name: str) -> JsonObject:
    kind = next((k for k in kinds.KINDS if k.kind == name), None)
    if kind is not None:
        group = f"{kind.group}/" if kind.group else ""
        served = [f"{group}{version}" for version in (kind.version, *kind.older_versions)]
        return {
            "description": kind.description,
            **_of_kind(name, kind.parse, served, namespaced=kind.namespaced),
        }
    if name == policy_test.KIND:
        return _of_kind(name, policy_test.parse, [policy_test.API_VERSION], namespaced=True)
    if name == MESH_FILE:
        return _render(shape_of(mesh_file.parse, {}), name, "")
    raise KeyError(name)


def _of_kind(name: str, parse: Parse, versions: list[str], *, namespaced: bool) -> JsonObject:
    found = _render(shape_of(parse, {"apiVersion": versions[0], "kind": name}), name, "")
    properties = found["properties"]
    if not isinstance(properties, dict):
        raise TypeError(f"{name} is no object")
    listed: list[Json] = [*versions]
    head: JsonObject = {"apiVersion": {"enum": listed}, "kind": {"const": name}}
    metadata = properties.get("metadata")
    if not namespaced and isinstance(metadata, dict) and isinstance(metadata["properties"], dict):
        metadata["properties"]["namespace"] = False
    required = found.get("required")
    rest: list[Json] = [*required] if isinstance(required, list) else []
    return {
        **found,
        "properties": {**head, **{n: p for n, p in properties.items() if n not in head}},
        "required": ["apiVersion", "kind", *(n for n in rest if n not in head)],
    }


def _render(shape: Shape, kind: str, path: str) -> JsonObject:
    """`path` has no indexes: `spec.rules.from`."""
    found = _typed(shape, kind, path)
    if shape.nullable and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    text = describe(kind, path)
    return {"description": text, **found} if text else found


def _typed(shape: Shape, kind: str, path: str) -> JsonObject:
    match shape.form:
        case Form.TEXT:
            return {"type": "string", **_narrowed(path)}
        case Form.TEXTS:
            size: JsonObject = {"minItems": 1} if shape.not_empty else {}
            return {"type": "array", "items": {"type": "string", "minLength": 1}, **size}
        case Form.TEXT_MAP:
            return {"type": "object", "additionalProperties": {"type": "string"}}
        case Form.WHOLE:
            return {"type": "integer", "minimum": shape.low, "maximum": shape.high}
        case Form.FLAG:
            return {"type": "boolean"}
        case Form.CHOICE:
            return {"type": "string", "enum": [*shape.words]}
        case Form.OBJECT:
            return _object(shape, kind, path)
        case Form.OBJECTS:
            size = {"minItems": 1} if shape.not_empty else {}
            return {"type": "array", "items": _object(shape, kind, path), **size}
        case Form.ANY | Form.ONLY | Form.REQUIRED:
            return {}
        case _:
            assert_never(shape.form)


def _object(shape: Shape, kind: str, path: str) -> JsonObject:
    properties: JsonObject = {}
    for name, found in shape.fields.items():
        inner = _render(found, kind, f"{path}.{name}" if path else name)
        if name in shape.required and found.form is Form.TEXT:
            inner["minLength"] = 1
        properties[name] = inner
    others: Json = not shape.closed
    if shape.values is not None:
        others = _render(shape.values, kind, f"{path}.{ANY_KEY}")
    required: JsonObject = {"required": [*shape.required]} if shape.required else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": others}


def _narrowed(path: str) -> JsonObject:
    """What else the parsers are known to ask of a text."""
    if path.endswith("rules.when.key"):
        return {"anyOf": [{"enum": [*condition_keys()]}, {"pattern": r"\[.+\]$"}]}
    return {}
