from __future__ import annotations

from typing import Any

import pytest

from controlplane.resources import kinds, quarantine
from controlplane.resources.quarantine import Quarantine, revocations
from policies import codes
from policies.document import Document
from policies.program import LATEST

WEB = "spiffe://example.org/ns/shop/sa/web"


def read(**spec: Any) -> tuple[Quarantine | None, list[str]]:
    document = Document(
        {
            "apiVersion": "pylis.io/v1alpha1",
            "kind": "Quarantine",
            "metadata": {"name": "stolen"},
            "spec": spec,
        }
    )
    found, problems = quarantine.parse(document)
    return found, [problem.code for problem in problems]


def test_identities_and_serials_are_cut_off() -> None:
    found, problems = read(spiffeIDs=[WEB, WEB], serials=["0A:1B"], reason="lost")
    assert found == Quarantine("stolen", (WEB,), ("a1b",), "lost")
    assert problems == []


def test_all_of_them_together_are_what_is_enforced() -> None:
    one, two = Quarantine("a", (WEB,), ("1",), ""), Quarantine("b", (), ("2",), "")
    cut_off = revocations([one, two])
    assert (cut_off.identities, cut_off.serials) == ({WEB}, {"1", "2"})
    assert (cut_off.latest_identities, cut_off.latest_serials) == ((WEB,), ("2", "1"))


def test_the_latest_are_few_and_the_newest_come_first() -> None:
    many = [Quarantine(f"q{n}", (f"{WEB}{n}",), (f"{n + 1}",), "") for n in range(LATEST + 3)]
    cut_off = revocations(many)
    assert len(cut_off.identities) == LATEST + 3
    assert cut_off.latest_identities == tuple(f"{WEB}{n}" for n in range(LATEST + 2, 2, -1))


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({}, codes.EMPTY_LIST),
        ({"spiffeIDs": ["shop/web"]}, codes.BAD_FORMAT),
        ({"spiffeIDs": ["spiffe://example.org"]}, codes.BAD_FORMAT),
        ({"spiffeIDs": ["spiffe://example.org/pylis/server"]}, codes.RESERVED),
        ({"serials": ["no serial"]}, codes.BAD_FORMAT),
        ({"serials": ["1"], "reason": "x" * 2000}, codes.TOO_LONG),
        ({"spiffeIds": [WEB]}, codes.UNKNOWN_FIELD),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: dict[str, Any], code: str) -> None:
    found, problems = read(**spec)
    assert found is None
    assert code in problems


def test_it_belongs_to_the_whole_mesh() -> None:
    kind = kinds.by_word("quarantine")
    assert kind is not None
    assert not kind.namespaced
