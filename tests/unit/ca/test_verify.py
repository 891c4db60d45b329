"""Source: RFC 5280 §6.1, X509-SVID §5 (requirements X-08 to X-21, B-01, B-10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from ca.bundle import TrustBundle
from ca.spiffe_id import TrustDomain
from ca.verify import MAX_CHAIN, svid_problems


def problems(pki: Any, chain: list[Any], bundle: TrustBundle, later: timedelta = timedelta(0)) -> str:
    return "; ".join(svid_problems([one.certificate for one in chain], bundle, pki.now + later))


def constrained(pki: Any, constraints: x509.NameConstraints) -> list[Any]:
    return [*pki.authority_extensions(0), (constraints, True)]


@pytest.mark.spiffe("X-18")
def test_a_chain_to_the_bundle_is_valid(pki: Any) -> None:
    root = pki.root()
    issuing = pki.issuing(root)
    assert problems(pki, [pki.leaf(issuing), issuing], pki.bundle(root)) == ""
    assert problems(pki, [pki.leaf(root)], pki.bundle(pki.root("other"), root)) == ""


def test_the_order_of_intermediates_does_not_matter(pki: Any) -> None:
    root = pki.root()
    upper = pki.make("upper", root, pki.authority_extensions())
    lower = pki.make("lower", upper, pki.authority_extensions(0))
    assert problems(pki, [pki.leaf(lower), upper, lower], pki.bundle(root)) == ""


@pytest.mark.spiffe("X-18")
@pytest.mark.parametrize(
    ("later", "reason"), [(-timedelta(hours=2), "not valid before"), (timedelta(hours=2), "expired at")]
)
def test_every_certificate_is_in_its_time(pki: Any, later: timedelta, reason: str) -> None:
    root = pki.root()
    issuing = pki.issuing(root)
    assert problems(pki, [pki.leaf(issuing), issuing], pki.bundle(root), later).count(reason) == 3


def test_both_ends_of_the_validity_count(pki: Any) -> None:
    root = pki.root()
    for later in (-timedelta(hours=1), timedelta(hours=1)):
        assert problems(pki, [pki.leaf(root)], pki.bundle(root), later) == ""


def test_an_authority_of_the_same_name_is_another(pki: Any) -> None:
    assert "no authority of the bundle" in problems(pki, [pki.leaf(pki.root())], pki.bundle(pki.root()))


def test_a_missing_intermediate_breaks_the_path(pki: Any) -> None:
    root = pki.root()
    assert "no authority of the bundle" in problems(pki, [pki.leaf(pki.issuing(root))], pki.bundle(root))


def test_a_leaf_signs_nothing(pki: Any) -> None:
    root = pki.root()
    thief = pki.make("thief", root, pki.leaf_extensions())
    assert "cA is not set" in problems(pki, [pki.leaf(thief), thief], pki.bundle(root))


@pytest.mark.spiffe("X-08")
def test_an_authority_is_no_workload(pki: Any) -> None:
    root = pki.root()
    assert "signing certificate" in problems(pki, [pki.issuing(root)], pki.bundle(root))


@pytest.mark.spiffe("X-18")
def test_the_path_length_limits_authorities_below(pki: Any) -> None:
    root = pki.root()
    upper = pki.make("upper", root, pki.authority_extensions(0))
    lower = pki.make("lower", upper, pki.authority_extensions())
    assert "at most 0" in problems(pki, [pki.leaf(lower), lower, upper], pki.bundle(root))


@pytest.mark.spiffe("X-11")
@pytest.mark.parametrize(
    ("permitted", "excluded", "valid"),
    [
        (["example.org"], None, True),
        (["other.org", "example.org"], None, True),
        ([".org"], None, True),
        (["other.org"], None, False),
        ([".example.org"], None, False),
        (None, ["example.org"], False),
        (None, ["other.org"], True),
    ],
)
def test_uri_name_constraints_bind_the_trust_domain(
    pki: Any, permitted: list[str] | None, excluded: list[str] | None, valid: bool
) -> None:
    def subtrees(hosts: list[str] | None) -> list[x509.GeneralName] | None:
        return None if hosts is None else [x509.UniformResourceIdentifier(host) for host in hosts]

    root = pki.root()
    issuing = pki.issuing(
        root, constrained(pki, x509.NameConstraints(subtrees(permitted), subtrees(excluded)))
    )
    found = problems(pki, [pki.leaf(issuing), issuing], pki.bundle(root))
    assert (found == "") is valid
    assert valid or "name constraints" in found


@pytest.mark.spiffe("B-01")
def test_the_bundle_of_another_trust_domain_says_nothing(pki: Any) -> None:
    root = pki.root()
    foreign = TrustBundle(TrustDomain.parse("other.org"), (root.der,))
    assert "its trust domain is example.org" in problems(pki, [pki.leaf(root)], foreign)


@pytest.mark.spiffe("B-10")
def test_an_empty_bundle_revokes(pki: Any) -> None:
    assert "revoked" in problems(pki, [pki.leaf(pki.root())], pki.bundle())


def test_every_reason_is_told(pki: Any) -> None:
    leaf = pki.make("", pki.root(), pki.leaf_extensions()[:1], end=timedelta(minutes=-1))
    found = problems(pki, [leaf], pki.bundle(pki.root()))
    assert all(reason in found for reason in ("has no key usage", "expired at", "no authority of the bundle"))


def test_nothing_and_too_much(pki: Any) -> None:
    root = pki.root()
    assert problems(pki, [], pki.bundle(root)) == "there is no certificate"
    assert "at most" in problems(pki, [pki.leaf(root)] * (MAX_CHAIN + 1), pki.bundle(root))


def test_one_good_path_is_enough(pki: Any) -> None:
    root = pki.root()
    issuing = pki.issuing(root)
    old = pki.make(
        "issuing",
        root,
        pki.authority_extensions(0),
        start=timedelta(days=-3),
        end=timedelta(days=-2),
        key=issuing.key,
    )
    assert problems(pki, [pki.leaf(issuing), old, issuing], pki.bundle(root)) == ""


@pytest.mark.spiffe("X-18")
def test_policy_constraints_are_not_passed_over(pki: Any) -> None:
    root = pki.root()
    issuing = pki.issuing(root, [*pki.authority_extensions(0), (x509.PolicyConstraints(0, None), True)])
    assert "unknown critical" in problems(pki, [pki.leaf(issuing), issuing], pki.bundle(root))
