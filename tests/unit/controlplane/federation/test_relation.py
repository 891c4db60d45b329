"""Source: SPIFFE_Federation §4.1, §4.2, §6 (requirements F-04 to F-06, F-38, F-39, B-10, B-22)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ca.bundle import TrustBundle
from ca.spiffe_id import TrustDomain
from controlplane.federation.relation import LONGEST, SHORTEST, Relation

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BUNDLE = TrustBundle(TrustDomain.parse("partner.org"), (b"root",), sequence=5, refresh_hint=60)


@pytest.mark.spiffe("F-05", "F-06", "F-35")
def test_the_newest_by_sequence_number_is_kept() -> None:
    known = Relation(BUNDLE)
    newer, older = replace(BUNDLE, sequence=6), replace(BUNDLE, sequence=4)
    assert known.answered(newer, NOW) == Relation(newer, NOW)
    kept = known.answered(older, NOW)
    assert kept.bundle == BUNDLE
    assert "older" in kept.error
    assert known.answered(replace(BUNDLE, x509_authorities=(b"other",)), NOW).bundle != BUNDLE


@pytest.mark.spiffe("F-06")
def test_without_numbers_the_latest_wins() -> None:
    unnumbered = replace(BUNDLE, sequence=0)
    assert Relation(BUNDLE).answered(unnumbered, NOW).bundle == unnumbered


@pytest.mark.spiffe("B-10", "A-25")
def test_an_empty_bundle_is_an_answer_and_a_failure_is_none() -> None:
    known = Relation(BUNDLE, NOW)
    assert known.failed("cannot reach").bundle == BUNDLE
    empty = replace(BUNDLE, x509_authorities=(), sequence=6)
    assert known.answered(empty, NOW).bundle == empty


@pytest.mark.spiffe("F-04", "F-38", "F-39", "B-22")
@pytest.mark.parametrize(
    ("hint", "interval"),
    [(60, timedelta(seconds=60)), (0, SHORTEST), (1, SHORTEST), (10**9, LONGEST), (10**30, LONGEST)],
)
def test_it_is_asked_again_when_the_hint_says_so_after_a_failure_too(hint: int, interval: timedelta) -> None:
    relation = Relation(replace(BUNDLE, refresh_hint=hint))
    assert relation.interval == relation.failed("x").interval == interval
    assert Relation().interval == timedelta(minutes=5)
