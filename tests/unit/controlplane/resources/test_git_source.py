"""GitSource: what it says, and every way a repository's place could lead elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.resources.git_source import GitSource, parse
from policies.document import Document
from policies.problem import Problem


def read(**spec: Any) -> tuple[GitSource | None, list[Problem]]:
    metadata = {"name": "main", "namespace": "shop"}
    return parse(
        Document({"apiVersion": "pylis.io/v1alpha1", "kind": "GitSource", "metadata": metadata, "spec": spec})
    )


def test_a_url_is_enough() -> None:
    found, problems = read(url="https://git.example/shop.git")
    assert not problems
    assert found == GitSource("shop", "main", "https://git.example/shop.git")
    assert found is not None
    assert (found.user, found.ref, found.interval_seconds, found.prune) == (
        "pylis:gitsource:shop:main",
        "HEAD",
        60,
        True,
    )


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"url": "http://git.example/x"}, "spec.url"),
        ({"url": "https://user:secret@git.example/x"}, "spec.url"),
        ({"url": "file:///etc"}, "spec.url"),
        ({"url": "ext::sh -c id"}, "spec.url"),
        ({"url": "--upload-pack=id"}, "spec.url"),
        ({"url": ""}, "spec.url"),
        ({"ref": "--exec=id"}, "spec.ref"),
        ({"ref": "a..b"}, "spec.ref"),
        ({"ref": "main:refs/heads/x"}, "spec.ref"),
        ({"path": "/etc"}, "spec.path"),
        ({"path": "a/../../b"}, "spec.path"),
        ({"intervalSeconds": 1}, "spec.intervalSeconds"),
        ({"secretRef": {}}, "spec.secretRef.name"),
        ({"caBundle": "none"}, "spec.caBundle"),
        ({"hooks": True}, "spec.hooks"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(change: dict[str, Any], path: str) -> None:
    found, problems = read(**{"url": "https://git.example/shop.git", **change})
    assert found is None
    assert [p.path for p in problems] == [path]
