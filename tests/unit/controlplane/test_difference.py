"""Differences: what a person would name, bounded, and never a secret."""

from __future__ import annotations

from controlplane.difference import LONGEST, MOST, differences


def test_fields_are_named_and_what_the_server_writes_is_not() -> None:
    old = {
        "metadata": {"name": "a", "resourceVersion": "1", "labels": {"x": "1"}},
        "spec": {"a": [1], "b": 1},
    }
    new = {"metadata": {"name": "a", "resourceVersion": "2", "labels": {}}, "spec": {"a": [2], "c": {"d": 1}}}
    assert differences(old, new) == [
        {"path": "metadata.labels.x", "old": "1"},
        {"path": "spec.a", "old": [1], "new": [2]},
        {"path": "spec.b", "old": 1},
        {"path": "spec.c", "new": {"d": 1}},
    ]


def test_creation_and_deletion() -> None:
    assert differences(None, {"spec": {"a": 1}}) == [{"path": "spec", "new": {"a": 1}}]
    assert differences({"spec": {"a": 1}}, None) == [{"path": "spec", "old": {"a": 1}}]


def test_secrets_are_not_shown() -> None:
    old, new = {"data": {"a": "c2VjcmV0"}, "type": "x"}, {"data": {"a": "b3RoZXI="}, "type": "y"}
    found = differences(old, new, secret=True)
    assert "c2VjcmV0" not in str(found)
    assert "b3RoZXI=" not in str(found)
    assert {"path": "type", "old": "x", "new": "y"} in found
    assert "c2V" not in str(differences(None, new | {"data": {"a": "c2VjcmV0"}}, secret=True))


def test_an_answer_is_bounded() -> None:
    found = differences({}, {f"f{n}": n for n in range(1000)} | {"z": "x" * 10_000})
    assert len(found) == MOST + 1
    assert len(str(differences({}, {"z": "x" * 10_000}))) < LONGEST + 100
