"""Source: X509-SVID §2 to §5 (requirements X-02 to X-21)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from ca import check
from ca.errors import SpiffeIdError

UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def changed(extensions: list[Any], kind: type, *replacement: Any) -> list[Any]:
    return [e for e in extensions if not isinstance(e[0], kind)] + list(replacement)


def leaf_problems(pki: Any, extensions: list[Any]) -> str:
    return "; ".join(check.leaf_problems(pki.leaf(pki.root(), extensions).certificate))


def authority_problems(pki: Any, extensions: list[Any]) -> str:
    return "; ".join(check.authority_problems(pki.make("ca", None, extensions).certificate))


def test_certificates_of_the_profile_have_no_problems(pki: Any) -> None:
    root = pki.root()
    assert check.leaf_problems(pki.leaf(root).certificate) == []
    assert check.authority_problems(root.certificate) == []


@pytest.mark.spiffe("X-02", "X-03", "X-20", "X-21")
@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (("spiffe://example.org/a", "spiffe://example.org/b"), "2 URI names"),
        (("spiffe://example.org/a", "https://example.org/"), "2 URI names"),
        (("https://example.org/a",), "scheme"),
        (("spiffe://example.org",), "needs a path"),
        (("spiffe://example.org/a/",), "trailing slash"),
    ],
)
def test_a_leaf_has_exactly_one_workload_id(pki: Any, ids: tuple[str, ...], reason: str) -> None:
    assert reason in leaf_problems(pki, pki.leaf_extensions(*ids))


def test_a_leaf_without_names_has_no_id(pki: Any) -> None:
    certificate = pki.leaf(
        pki.root(), changed(pki.leaf_extensions(), x509.SubjectAlternativeName)
    ).certificate
    assert "0 URI names" in "; ".join(check.leaf_problems(certificate))
    with pytest.raises(SpiffeIdError):
        check.spiffe_id(certificate)


@pytest.mark.spiffe("X-04")
def test_with_an_empty_subject_the_names_are_critical(pki: Any) -> None:
    san = (pki.uris("spiffe://example.org/w"), False)
    assert "not critical" in leaf_problems(
        pki, changed(pki.leaf_extensions(), x509.SubjectAlternativeName, san)
    )


@pytest.mark.spiffe("X-12", "X-14", "X-15", "X-19")
@pytest.mark.parametrize(
    ("names", "critical", "reason"),
    [
        ((), True, "lacks digitalSignature"),
        (("digital_signature", "key_cert_sign"), True, "has keyCertSign"),
        (("digital_signature", "crl_sign"), True, "has cRLSign"),
        (("digital_signature",), False, "key usage is not critical"),
    ],
)
def test_the_key_usage_of_a_leaf(pki: Any, names: tuple[str, ...], critical: bool, reason: str) -> None:
    key_usage = (pki.usage(*names or ("key_encipherment",)), critical)
    assert reason in leaf_problems(pki, changed(pki.leaf_extensions(), x509.KeyUsage, key_usage))


@pytest.mark.spiffe("X-12")
def test_a_leaf_without_key_usage(pki: Any) -> None:
    assert "has no key usage" in leaf_problems(pki, changed(pki.leaf_extensions(), x509.KeyUsage))


@pytest.mark.spiffe("X-17")
@pytest.mark.parametrize("one", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_extended_key_usage_has_both_uses_or_is_absent(pki: Any, one: ObjectIdentifier) -> None:
    half = (x509.ExtendedKeyUsage([one]), False)
    assert "lacks serverAuth" in leaf_problems(
        pki, changed(pki.leaf_extensions(), x509.ExtendedKeyUsage, half)
    )
    assert leaf_problems(pki, changed(pki.leaf_extensions(), x509.ExtendedKeyUsage)) == ""


@pytest.mark.spiffe("X-08", "X-10", "X-19")
def test_a_signing_certificate_authenticates_nobody(pki: Any) -> None:
    limits = (x509.BasicConstraints(ca=True, path_length=None), True)
    assert "signing certificate" in leaf_problems(
        pki, changed(pki.leaf_extensions(), x509.BasicConstraints, limits)
    )


def test_unknown_extensions_matter_only_when_critical(pki: Any) -> None:
    assert "unknown critical" in leaf_problems(pki, [*pki.leaf_extensions(), (UNKNOWN, True)])
    assert leaf_problems(pki, [*pki.leaf_extensions(), (UNKNOWN, False)]) == ""
    assert "unknown critical" in authority_problems(pki, [*pki.authority_extensions(), (UNKNOWN, True)])


def test_every_reason_is_told(pki: Any) -> None:
    san, key_usage = (pki.uris("spiffe://a/", "x:y"), False), (pki.usage("key_cert_sign"), False)
    found = check.leaf_problems(pki.leaf(pki.root(), [san, key_usage]).certificate)
    assert len(found) >= 5


@pytest.mark.spiffe("X-09", "X-12", "X-13")
def test_what_an_authority_must_have(pki: Any) -> None:
    good = pki.authority_extensions()
    not_ca = (x509.BasicConstraints(ca=False, path_length=None), True)
    assert "cA is not set" in authority_problems(pki, changed(good, x509.BasicConstraints, not_ca))
    assert "cA is not set" in authority_problems(pki, changed(good, x509.BasicConstraints))
    assert "lacks keyCertSign" in authority_problems(pki, changed(good, x509.KeyUsage))
    assert "lacks keyCertSign" in authority_problems(
        pki, changed(good, x509.KeyUsage, (pki.usage("crl_sign"), True))
    )


@pytest.mark.spiffe("X-06")
@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (("spiffe://example.org/x",), "has a path"),
        (("spiffe://a", "spiffe://b"), "more than one"),
        (("x:y",), "no SPIFFE ID"),
    ],
)
def test_the_id_of_an_authority_is_its_trust_domains(pki: Any, ids: tuple[str, ...], reason: str) -> None:
    san = (pki.uris(*ids), False)
    found = authority_problems(pki, changed(pki.authority_extensions(), x509.SubjectAlternativeName, san))
    assert reason in found


def test_an_authority_needs_no_id(pki: Any) -> None:
    assert authority_problems(pki, changed(pki.authority_extensions(), x509.SubjectAlternativeName)) == ""
