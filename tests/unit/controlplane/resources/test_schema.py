"""Schemas are JSON Schemas, for every kind, and take the documents that the project itself ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from controlplane.resources import kinds
from controlplane.resources.descriptions import DESCRIPTIONS
from controlplane.resources.read import read_paths
from controlplane.resources.schema import combined, condition_keys, json_schema, names

ROOT = Path(__file__).parents[4]
SHIPPED = [ROOT / "demo/policies", ROOT / "demo/mesh.yaml", ROOT / "tests/golden/shop.in.yaml"]


@pytest.mark.parametrize("name", names())
def test_each_is_a_schema(name: str) -> None:
    Draft7Validator.check_schema(json_schema(name))


def test_every_kind_of_the_api_has_one() -> None:
    assert {kind.kind for kind in kinds.KINDS} | {"PolicyTest", "mesh.yaml"} == set(names())


def test_the_combined_schema_takes_what_is_shipped_and_nothing_else() -> None:
    found: Any = combined()
    Draft7Validator.check_schema(found)
    validator: Any = Draft7Validator(found)
    documents, problems = read_paths(SHIPPED)
    assert not problems
    for document in documents:
        assert not [e.message for e in validator.iter_errors(document.value)], document.file
        broken = {**document.value, "specs": {}}
        assert not validator.is_valid(broken)
    assert not validator.is_valid({"kind": "Deployment"})


def test_condition_keys_complete() -> None:
    assert {"source.principal", "source.ip", "destination.port"} <= set(condition_keys())
    assert "request.path" not in condition_keys()


def test_no_description_is_of_a_field_that_is_gone() -> None:
    described = set[str]()
    for name in names():
        _collect(json_schema(name), described)
    unused = {text for text in DESCRIPTIONS.values() if text not in described}
    assert unused <= {DESCRIPTIONS[path] for path in DESCRIPTIONS if path.endswith(NOT_YET)}


NOT_YET = ("requestPrincipals", "trustDomains", "remoteIpBlocks")


def _collect(value: Any, found: set[str]) -> None:
    match value:
        case dict():
            if isinstance(value.get("description"), str):
                found.add(value["description"])
            for inner in value.values():
                _collect(inner, found)
        case list():
            for inner in value:
                _collect(inner, found)
        case _:
            return
