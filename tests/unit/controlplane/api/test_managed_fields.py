"""Server-side apply: owners, conflicts, merging, and what is dropped by who no longer sends it."""

from __future__ import annotations

from typing import Any

from controlplane.api.managed_fields import (
    Entry,
    Manager,
    after_update,
    apply,
    conflicts,
    entries_of,
    paths,
    written,
)

Object = dict[str, Any]
TIME, LATER = "2026-11-26T02:00:00Z", "2026-11-26T03:00:00Z"
ONE, TWO = Manager("one", "Apply", "g/v1"), Manager("two", "Apply", "g/v1")
EDITOR = Manager("editor", "Update", "g/v1")


def obj(spec: Object, **metadata: Any) -> Object:
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", **metadata}, "spec": spec}


def test_paths_name_every_owned_field() -> None:
    found = paths(
        obj({"a": 1, "m": {"x": "y"}, "e": {}, "l": [1]}, labels={"t": "1"}, finalizers=["f/x"], uid="u")
    )
    assert set(found) == {
        ("f:metadata", "f:labels"), ("f:metadata", "f:labels", "f:t"), ("f:metadata", "f:finalizers", 'v:"f/x"'),
        ("f:spec",), ("f:spec", "f:a"), ("f:spec", "f:m"), ("f:spec", "f:m", "f:x"), ("f:spec", "f:e"),
        ("f:spec", "f:l"),
    }  # fmt: skip


def test_fields_are_written_as_kubernetes_does_and_read_back() -> None:
    entries = [Entry(ONE, TIME, frozenset(paths(obj({"m": {"x": 1}}, labels={"t": "1"}))))]
    value = obj({}, managedFields=written(entries))
    assert value["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:t": {}}},
        "f:spec": {".": {}, "f:m": {".": {}, "f:x": {}}},
    }
    assert entries_of(value) == entries


def test_a_first_apply_owns_what_it_sends() -> None:
    merged, owners = apply({}, obj({"a": 1}), [], ONE, TIME)
    assert merged["spec"] == {"a": 1}
    assert [(e.manager, e.time) for e in owners] == [(ONE, TIME)]


def test_another_value_is_a_conflict_the_same_is_shared() -> None:
    live, owners = apply({}, obj({"a": 1, "b": 1}), [], ONE, TIME)
    assert conflicts(live, obj({"a": 1}), owners, TWO) == []
    found = conflicts(live, obj({"a": 2, "b": 1}), owners, TWO)
    assert [(c.field, c.message) for c in found] == [(".spec.a", 'conflict with "one"')]
    assert conflicts(live, obj({"a": 2}), owners, ONE) == [], "nobody conflicts with themselves"


def test_force_takes_the_field_away() -> None:
    live, owners = apply({}, obj({"a": 1, "b": 1}), [], ONE, TIME)
    merged, owners = apply(live, obj({"a": 2}), owners, TWO, LATER)
    assert merged["spec"] == {"a": 2, "b": 1}
    held = {e.manager: e.fields for e in owners}
    assert ("f:spec", "f:a") not in held[ONE]
    assert ("f:spec", "f:b") in held[ONE]


def test_what_is_no_longer_sent_goes_unless_another_holds_it() -> None:
    live, owners = apply({}, obj({"a": 1, "m": {"x": 1, "y": 1}}), [], ONE, TIME)
    live, owners = apply(live, obj({"m": {"y": 1}}), owners, TWO, TIME)
    merged, owners = apply(live, obj({"a": 1}), owners, ONE, LATER)
    assert merged["spec"] == {"a": 1, "m": {"y": 1}}
    merged, owners = apply(merged, obj({}), owners, TWO, LATER)
    assert merged["spec"] == {"a": 1}


def test_conditions_are_owned_one_by_one() -> None:
    def status(*types: str) -> Object:
        return {"metadata": {}, "status": {"conditions": [{"type": t, "status": "True"} for t in types]}}

    live, owners = apply({}, status("A"), [], ONE, TIME)
    live, owners = apply(live, status("B"), owners, TWO, TIME)
    assert [c["type"] for c in live["status"]["conditions"]] == ["A", "B"]
    live, owners = apply(live, {"metadata": {}, "status": {"conditions": []}}, owners, ONE, LATER)
    assert [c["type"] for c in live["status"]["conditions"]] == ["B"]


def test_finalizers_are_a_set() -> None:
    live, owners = apply({}, obj({}, finalizers=["a/x"]), [], ONE, TIME)
    live, owners = apply(live, obj({}, finalizers=["a/y"]), owners, TWO, TIME)
    assert live["metadata"]["finalizers"] == ["a/x", "a/y"]
    live, owners = apply(live, obj({}), owners, ONE, LATER)
    assert live["metadata"]["finalizers"] == ["a/y"]


def test_an_update_takes_what_it_changes_and_frees_what_it_removes() -> None:
    live, owners = apply({}, obj({"a": 1, "b": 1, "c": 1}), [], ONE, TIME)
    new = obj({"a": 2, "b": 1})
    owners = after_update(live, new, owners, EDITOR, LATER)
    held = {e.manager: e.fields for e in owners}
    assert held[EDITOR] == {("f:spec", "f:a")}
    assert held[ONE] == {("f:spec",), ("f:spec", "f:b")}
    assert after_update(new, new, owners, EDITOR, LATER) == owners, "what changes nothing owns nothing"


def test_an_update_names_its_time_in_a_conflict() -> None:
    owners = after_update(None, obj({"a": 1}), [], EDITOR, TIME)
    found = conflicts(obj({"a": 1}), obj({"a": 2}), owners, ONE)
    assert found[0].message == f'conflict with "editor" using g/v1 at {TIME}'


def test_an_unchanged_apply_keeps_its_time() -> None:
    live, owners = apply({}, obj({"a": 1}), [], ONE, TIME)
    assert apply(live, obj({"a": 1}), owners, ONE, LATER) == (live, owners)


def test_rubbish_in_managed_fields_is_dropped() -> None:
    assert entries_of(obj({}, managedFields=[{}, 1, {"fieldsV1": 1}])) == []
    assert entries_of(obj({}, managedFields="x")) == []
