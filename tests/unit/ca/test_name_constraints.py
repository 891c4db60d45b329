"""Source: RFC 5280 §4.2.1.10."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from cryptography import x509

from ca.name_constraints import name_problems
from ca.verify import svid_problems

NET = x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))


def a_leaf(pki: Any, *more: x509.GeneralName) -> x509.Certificate:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/w"), *more])
    return pki.leaf(pki.root(), [(names, True)]).certificate


@pytest.mark.parametrize(
    ("constraint", "name", "allowed"),
    [
        (x509.DNSName("shop"), x509.DNSName("orders.shop"), True),
        (x509.DNSName("shop"), x509.DNSName("workshop"), False),
        (NET, x509.IPAddress(ipaddress.ip_address("10.1.2.3")), True),
        (NET, x509.IPAddress(ipaddress.ip_address("11.1.2.3")), False),
        (NET, x509.DNSName("anything"), True),
        (x509.RFC822Name("example.org"), x509.RFC822Name("a@example.org"), False),
    ],
)
def test_each_kind_of_name_is_bound(
    pki: Any, constraint: x509.GeneralName, name: x509.GeneralName, allowed: bool
) -> None:
    permitted = x509.NameConstraints([constraint], None)
    assert (name_problems(a_leaf(pki, name), permitted) == []) is allowed


def test_an_exclusion_beats_a_permission(pki: Any) -> None:
    both = x509.NameConstraints([x509.DNSName("shop")], [x509.DNSName("orders.shop")])
    assert name_problems(a_leaf(pki, x509.DNSName("orders.shop")), both)


def test_verification_applies_them(pki: Any) -> None:
    root = pki.root()
    constraint = (x509.NameConstraints([x509.DNSName("shop")], None), True)
    issuing = pki.issuing(root, [*pki.authority_extensions(0), constraint])
    names = pki.uris("spiffe://example.org/w"), x509.DNSName("evil.org")
    san = x509.SubjectAlternativeName([*names[0], names[1]])
    leaf = pki.leaf(issuing, [(san, True), *pki.leaf_extensions()[1:]])
    found = svid_problems([leaf.certificate, issuing.certificate], pki.bundle(root), pki.now)
    assert any("evil.org" in problem for problem in found)
