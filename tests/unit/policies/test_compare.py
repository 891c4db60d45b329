from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.authorization_policy import parse
from policies.authorizer import Authorizer, Speaks
from policies.compare import Variants, compare
from policies.document import Document
from policies.lower import lower
from policies.pattern import TooManyError
from policies.program import Protocol, Revoked
from policies.side import Side
from policies.workload import MeshSettings, MtlsMode, PathNormalization

MESH = MeshSettings("td", authorizers=(Authorizer("asks", Speaks.GRPC, "authz.shop", 9000),))


def a_side(*rules: Any, mesh: MeshSettings = MESH, mode: MtlsMode = MtlsMode.STRICT, **spec: Any) -> Side:
    document = Document({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"rules": [*rules], **spec}})
    policy, problems = parse(document)
    assert policy is not None, problems
    return Side(lower([policy], mesh, port=80, protocol=Protocol.HTTP), mesh, mode)


def to(**operation: Any) -> Any:
    return {"to": [{"operation": operation}]}


def when(key: str, *values: str) -> Any:
    return {"when": [{"key": key, "values": [*values]}]}


def test_plaintext_is_gained_where_strict_is_given_up() -> None:
    found = compare(a_side({}), a_side({}, mode=MtlsMode.PERMISSIVE))
    assert [witness.request.principal for witness in found.gains] == [None]
    assert not found.losses


def test_an_authorizer_takes_away_what_it_refuses() -> None:
    open_side = a_side({}, action="DENY")
    nothing_denied = replace(open_side, program=replace(open_side.program, deny=()))
    asked = a_side(to(paths=["/pay*"]), action="CUSTOM", provider={"name": "asks"})
    (witness,) = compare(nothing_denied, asked).losses
    assert witness.authorizers == {"asks": False}
    assert witness.request.path.startswith("/pay")


def test_an_identity_that_is_quarantined_loses() -> None:
    side = a_side({})
    cut = replace(side, program=replace(side.program, revoked=Revoked(frozenset({"td/ns/a/sa/x"}))))
    assert [witness.request.principal for witness in compare(side, cut).losses] == ["td/ns/a/sa/x"]


def test_list_claims_can_hold_several_texts() -> None:
    both = a_side(
        {"when": [*when("request.auth.claims[g]", "a")["when"], *when("request.auth.claims[g]", "b")["when"]]}
    )
    either = a_side(when("request.auth.claims[g]", "a"))
    found = compare(both, either)
    assert found.gains
    assert all("b" not in (w.request.claims or {})["g"] for w in found.gains)  # pyright: ignore[reportOperatorIssue]


def test_a_space_that_is_too_large_is_said() -> None:
    none, base = (
        MeshSettings("td", path_normalization=mode)
        for mode in (PathNormalization.NONE, PathNormalization.BASE)
    )
    with pytest.raises(TooManyError, match="normalise paths"):
        compare(a_side({}, mesh=none), a_side({}, mesh=base))
    with pytest.raises(TooManyError, match="inside of it"):
        compare(
            a_side({}), a_side(when("request.auth.claims[a]", "x"), when("request.auth.claims[a][b]", "x"))
        )


def test_variants_of_a_program() -> None:
    side = a_side(to(paths=["/a*"]), to(paths=["/ab"]), to(paths=["/b"]))
    program = side.program
    variants = Variants(side)
    without = [replace(program, allow=(*program.allow[:i], *program.allow[i + 1 :])) for i in range(3)]
    assert [variants.differ(program, other) for other in without] == [True, False, True]
