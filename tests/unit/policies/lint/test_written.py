from __future__ import annotations

import pytest

from policies import codes
from policies.authorization_policy import parse
from policies.document import Document
from policies.lint.world import World
from policies.lint.written import check
from policies.side import Policies
from policies.workload import MeshSettings, PathNormalization


def found(
    source: dict[str, list[str]] | None = None, operation: dict[str, list[str]] | None = None, **more: str
) -> list[tuple[str, str]]:
    rule = {
        **({"from": [{"source": source}]} if source else {}),
        **({"to": [{"operation": operation}]} if operation else {}),
    }
    value = {"metadata": {"name": "p"}, "spec": {"action": more.get("action", "ALLOW"), "rules": [rule]}}
    policy, problems = parse(Document(value))  # pyright: ignore[reportArgumentType] - JSON written as Python
    assert policy is not None, problems
    mode = PathNormalization(more.get("paths", "MERGE_SLASHES"))
    settings = MeshSettings("td", path_normalization=mode)
    return [(p.code, p.hint) for p in check(World(Policies(settings, (policy,))))]


@pytest.mark.parametrize(
    ("principal", "flagged"),
    [
        ("td/ns/a/sa/b", False),
        ("td/ns/*", False),
        ("*/sa/b", False),
        ("*/sa/b*", True),
        ("td/ns/*/sa/b", True),
        ("td/a", True),
        ("cluster.local/ns/a/*", True),
        ("cluster.local/ns/a/sa/b", False),
    ],
)
def test_principals_that_match_nobody(principal: str, flagged: bool) -> None:
    assert (codes.NEVER_MATCHES in dict(found({"principals": [principal]}))) is flagged


@pytest.mark.parametrize(
    ("principal", "flagged"),
    [("*", False), ("*/*", True), ("https://idp.example*", True), ("https://idp.example/*", False)],
)
def test_request_principals_that_match_nobody(principal: str, flagged: bool) -> None:
    assert (codes.NEVER_MATCHES in dict(found({"requestPrincipals": [principal]}))) is flagged


def test_a_path_that_is_never_sent_is_written_as_it_is() -> None:
    assert found(operation={"paths": ["/a//b"]}) == [(codes.PATH_NEVER_SENT, "write /a/b")]
    assert found(operation={"paths": ["a"]})[0][0] == codes.PATH_NEVER_SENT
    assert found(operation={"paths": ["/a", "/a/{*}/c"]})[0][0] == codes.COSTLY


@pytest.mark.parametrize(
    ("mode", "action", "flagged"),
    [
        ("NONE", "ALLOW", True),
        ("BASE", "DENY", True),
        ("BASE", "ALLOW", False),
        ("MERGE_SLASHES", "DENY", False),
    ],
)
def test_normalization(mode: str, action: str, flagged: bool) -> None:
    codes_found = dict(found(operation={"paths": ["/a"]}, action=action, paths=mode))
    assert (codes.NOT_NORMALISED in codes_found) is flagged


def test_values_that_others_cover() -> None:
    assert found({"ipBlocks": ["10.0.0.0/8", "10.1.0.0/16", "::1"]}) == [
        (codes.REPEATED, "remove 10.1.0.0/16")
    ]
    assert found(operation={"methods": ["GET", "G*"]}) == [(codes.REPEATED, "remove GET")]
