"""Selectors: what Kubernetes takes, and a refusal for the rest."""

from __future__ import annotations

import pytest

from controlplane.api.errors import ApiError
from controlplane.api.selectors import field_selector, label_selector

LABELS = {"app": "web", "tier": "front", "example.org/team": "a", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app=db", False), ("app!=db", True), ("app!=web", False),
        ("other!=x", True), ("app", True), ("other", False), ("!other", True), ("!app", False), ("! other", True),
        ("app in (web,db)", True), ("app in (db)", False), ("app notin (db)", True), ("other notin (x)", True),
        ("app notin (web , x)", False), ("app=web,tier=front", True), ("app=web,tier=back", False),
        ("app in (web,db),tier notin (back)", True), ("example.org/team=a", True), ("empty=", True), ("app = web", True),
    ],
)  # fmt: skip
def test_labels(text: str, matches: bool) -> None:
    assert label_selector(text)(LABELS) is matches


@pytest.mark.parametrize(
    "text", ["a b", "=x", "a=b=c", "a in x", "a in (", "a>1", "-a=b", "a" * 20_000, "a;b", "a in ()b"]
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        label_selector(text)
    assert refused.value.code == 400


def test_fields() -> None:
    obj = {"metadata": {"name": "a", "namespace": "shop"}, "status": {"phase": "Active"}}
    assert field_selector("metadata.name=a,metadata.namespace!=x,status.phase==Active")(obj)
    assert not field_selector("metadata.name!=a")(obj)
    for text in ("spec.x=1", "metadata.name", "x"):
        with pytest.raises(ApiError):
            field_selector(text)
