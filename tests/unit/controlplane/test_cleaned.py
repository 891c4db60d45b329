"""Clean objects: what people keep, nothing of the server's, and cleaning twice is cleaning once."""

from __future__ import annotations

from controlplane.cleaned import LAST_APPLIED, cleaned


def test_what_the_server_wrote_is_left_out() -> None:
    obj = {
        "status": {"x": 1}, "kind": "K", "apiVersion": "g/v1", "spec": {"a": 1},
        "metadata": {
            "name": "n", "uid": "u", "resourceVersion": "1", "generation": 2, "managedFields": [], "labels": {"l": "1"},
            "creationTimestamp": "t", "annotations": {LAST_APPLIED: "{}", "mine": "1"},
        },
    }  # fmt: skip
    clean = cleaned(obj)
    assert clean == {
        "apiVersion": "g/v1", "kind": "K",
        "metadata": {"name": "n", "labels": {"l": "1"}, "annotations": {"mine": "1"}}, "spec": {"a": 1},
    }  # fmt: skip
    assert list(clean) == ["apiVersion", "kind", "metadata", "spec"]
    assert cleaned(clean) == clean
    assert "annotations" not in cleaned({"metadata": {"annotations": {LAST_APPLIED: "{}"}}})["metadata"]
