"""Parser and schema agree on random documents: an editor never marks what the API takes, and marks what it can.

Documents are drawn from the schema itself and then damaged, so that both sides of each rule are met.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from controlplane.local import mesh_file
from controlplane.resources import kinds
from controlplane.resources.schema import json_schema, names
from policies import codes, policy_test
from policies.document import Document
from policies.problem import Problem

JUNK: list[Any] = [None, True, 7, -1, 1.5, "", "junk", [], [""], ["x"], {}, {"a": 1}]
WORDS = [
    "x", "a-b", "10.0.0.1", "80", "/items/*", "*", "GET", "source.ip", "request.headers[x]", "1h", "unix:uid:1",
    "td/ns/a/sa/b", "shop.example", "junk!",
]  # fmt: skip


@cache
def schema_of(name: str) -> Any:
    return json_schema(name)


def drawn(schema: Any) -> st.SearchStrategy[Any]:
    """Mostly what the schema takes."""
    if schema is True or schema == {}:
        return st.sampled_from(JUNK)
    if schema is False:
        return st.nothing()
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return an_object(schema)
        case "array":
            return st.lists(drawn(schema["items"]), max_size=2)
        case "integer":
            return st.integers(schema["minimum"] - 1, schema["maximum"] + 1)
        case "boolean":
            return st.booleans()
        case _:
            return st.sampled_from(WORDS)


def an_object(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    properties = {n: drawn(s) for n, s in schema.get("properties", {}).items() if s is not False}
    required = {n: s for n, s in properties.items() if n in schema.get("required", [])}
    optional = {n: s for n, s in properties.items() if n not in required}
    known = st.fixed_dictionaries(required, optional=optional)
    others = schema.get("additionalProperties", True)
    if others in (True, False):
        return known
    more = st.dictionaries(st.sampled_from(["x", "80", "http"]), drawn(others), max_size=2)
    return st.tuples(known, more).map(lambda pair: {**pair[0], **pair[1]})


def damaged(value: Any, chance: Any, path: tuple[Any, ...] = ()) -> Any:
    """One place somewhere in `value` is changed: a value, a name, or a field less."""
    places = list(places_of(value, path))
    where = chance.draw(st.sampled_from(places))
    how = chance.draw(st.sampled_from(["replace", "add", "remove", "keep"]))
    return changed(value, where, how, chance.draw(st.sampled_from(JUNK)))


def places_of(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("apiVersion", "kind"):
                yield from places_of(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places_of(inner, (*path, index))


def changed(value: Any, path: tuple[Any, ...], how: str, junk: Any) -> Any:
    if not path:
        return {**value, "unheard": junk} if how == "add" and isinstance(value, dict) else value
    head, *rest = path
    inner = changed(value[head], tuple(rest), how, junk) if rest or how == "add" else junk
    if isinstance(value, list):
        return [inner if i == head else v for i, v in enumerate(value)]
    if not rest and how == "remove":
        return {n: v for n, v in value.items() if n != head}
    return {**value, head: inner} if how != "keep" else value


def problems_of(name: str, value: Any) -> list[Problem]:
    document = Document(value)
    kind = next((k for k in kinds.KINDS if k.kind == name), None)
    if kind is not None:
        return kind.parse(document)[1]
    return (mesh_file.parse if name == "mesh.yaml" else policy_test.parse)(document)[1]


def is_of_one_field(problem: Problem, schema: Any) -> bool:
    """A field that the kind does not have, or of a wrong type; what fields must be together is beyond a schema."""
    if problem.code == codes.UNKNOWN_FIELD:
        return problem.message == "unknown field"
    return problem.code == codes.WRONG_TYPE and typed(schema, problem.path)


def typed(schema: Any, path: str) -> bool:
    """False for a field that the parser reads by itself, of which the schema says nothing."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        schema = (
            schema.get("items", {})
            if index
            else schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
        )
        if not isinstance(schema, dict) or not {"type", "enum", "const"} & schema.keys():
            return False
    return True


@pytest.mark.parametrize("name", names())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_parser_and_schema_agree(name: str, data: Any) -> None:
    schema = schema_of(name)
    value = damaged(data.draw(drawn(schema)), data)
    validator: Any = Draft7Validator(schema)
    marked = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value)]
    problems = problems_of(name, value)
    if marked:
        assert any(problem.is_error for problem in problems), f"only the editor refuses: {marked}"
    else:
        assert not [str(p) for p in problems if p.is_error and is_of_one_field(p, schema)]
