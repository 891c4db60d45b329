"""RFC 7396 and RFC 6902: the standards' examples, and that outside bytes end in a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.api.errors import ApiError
from controlplane.api.patches import json_patch, merge_patch

# RFC 7396, appendix A
MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGES)
def test_merge(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def op(name: str, path: str, **rest: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **rest}


PATCHES: list[tuple[Any, list[Any], Any]] = [
    ({"a": 1}, [op("add", "/b", value=2)], {"a": 1, "b": 2}),
    ({"a": [1, 3]}, [op("add", "/a/1", value=2)], {"a": [1, 2, 3]}),
    ({"a": [1]}, [op("add", "/a/-", value=2)], {"a": [1, 2]}),
    ({"a": 1, "b": 2}, [op("remove", "/a")], {"b": 2}),
    ({"a": [1, 2, 3]}, [op("remove", "/a/1")], {"a": [1, 3]}),
    ({"a": 1}, [op("replace", "/a", value=2)], {"a": 2}),
    ({"a": {"x": 1}, "b": {}}, [op("move", "/b/y", **{"from": "/a/x"})], {"a": {}, "b": {"y": 1}}),
    ({"a": {"x": 1}}, [op("copy", "/b", **{"from": "/a"})], {"a": {"x": 1}, "b": {"x": 1}}),
    ({"a/b": 1, "m~n": 2}, [op("test", "/a~1b", value=1), op("remove", "/m~0n")], {"a/b": 1}),
    ({"a": 1}, [op("replace", "", value={"z": 1})], {"z": 1}),
]


@pytest.mark.parametrize(("target", "operations", "result"), PATCHES)
def test_json_patch(target: Any, operations: list[Any], result: Any) -> None:
    assert json_patch(target, operations) == result


REFUSED: list[tuple[Any, int]] = [
    ({}, 400), ("x", 400), ([1], 400), ([{}], 400), ([{"op": "add"}], 400), ([op("dance", "/a")], 400),
    ([op("add", "/b")], 400), ([op("add", "b", value=1)], 400), ([op("remove", "")], 400),
    ([op("replace", "/b", value=1)], 422), ([op("remove", "/b")], 422), ([op("test", "/a", value=2)], 422),
    ([op("add", "/l/9", value=1)], 422), ([op("add", "/l/01", value=1)], 422), ([op("add", "/a/x", value=1)], 422),
    ([op("move", "/c", **{"from": "/b"})], 422), ([op("copy", "/c")], 400), ([op("remove", "/l/-")], 422),
    ([op("add", "/a", value=1)] * 1001, 413),
]  # fmt: skip


@pytest.mark.parametrize(("operations", "code"), REFUSED)
def test_what_is_no_patch_is_refused(operations: Any, code: int) -> None:
    target = {"a": 1, "l": [1]}
    with pytest.raises(ApiError) as refused:
        json_patch(target, operations)
    assert refused.value.code == code
    assert target == {"a": 1, "l": [1]}
