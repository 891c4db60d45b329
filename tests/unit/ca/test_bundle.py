"""Source: SPIFFE_Trust_Domain_and_Bundle §4, X509-SVID §6 (requirements X-22 to X-27, B-03 to B-16)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import bundle as bundles
from ca.bundle import TrustBundle
from ca.errors import BundleError
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain

TD = TrustDomain.parse("example.org")


@pytest.fixture
def bundle() -> TrustBundle:
    return CertificateAuthority.open(TD, MemoryKeystore()).bundle


@pytest.mark.spiffe("B-03", "B-04", "B-06", "B-07")
def test_both_forms_are_read_back(bundle: TrustBundle) -> None:
    assert bundles.from_pem(TD, bundle.to_pem().encode()).x509_authorities == bundle.x509_authorities
    assert bundles.from_spiffe(TD, json.dumps(bundle.to_spiffe())) == bundle


@pytest.mark.spiffe("X-22", "X-23", "X-24", "X-25", "B-08", "B-12", "B-13", "B-15")
def test_an_entry_holds_what_spiffe_wants_and_no_more(bundle: TrustBundle) -> None:
    document = bundle.to_spiffe()
    entry, _ = document["keys"]
    assert set(entry) == {"kty", "crv", "x", "y", "use", "x5c"}
    assert (entry["use"], entry["kty"], entry["crv"], len(entry["x5c"])) == ("x509-svid", "EC", "P-256", 1)
    assert base64.b64decode(entry["x5c"][0]) == bundle.x509_authorities[0]
    bundle.certificates[0].verify_directly_issued_by(bundle.certificates[0])  # self-signed
    point = bundle.certificates[0].public_key().public_numbers()  # type: ignore[union-attr] - an EC key
    assert int.from_bytes(base64.urlsafe_b64decode(entry["x"] + "=="), "big") == point.x
    assert len(entry["x"]) == len(entry["y"]) == 43
    assert set(document) == {"keys", "spiffe_sequence", "spiffe_refresh_hint"}


@pytest.mark.spiffe("B-02", "B-08")
def test_an_empty_bundle_is_a_valid_one() -> None:
    assert bundles.from_spiffe(TD, '{"keys": []}').x509_authorities == ()


@pytest.mark.spiffe("X-26", "B-09", "B-16")
def test_entries_of_other_use_or_without_certificate_are_passed_over(bundle: TrustBundle) -> None:
    good: dict[str, Any] = bundle.to_spiffe()["keys"][0]
    without = {k: v for k, v in good.items() if k != "x5c"}
    keys = [
        {**good, "use": "jwt-svid"},
        without,
        {**good, "x5c": []},
        {**good, "use": "X509-SVID"},
        "x",
        None,
        good,
    ]
    found = bundles.from_spiffe(TD, json.dumps({"keys": keys}))
    assert found.x509_authorities == bundle.x509_authorities


@pytest.mark.spiffe("X-27")
def test_only_the_first_certificate_of_an_entry_counts(bundle: TrustBundle) -> None:
    entry: dict[str, Any] = bundle.to_spiffe()["keys"][0]
    entry["x5c"].append("nonsense")
    assert bundles.from_spiffe(TD, json.dumps({"keys": [entry]})).x509_authorities == bundle.x509_authorities


@pytest.mark.spiffe("J-16", "J-17", "B-09", "B-14")
def test_jwt_keys_without_an_id_or_of_other_kinds_are_passed_over(bundle: TrustBundle) -> None:
    good: dict[str, Any] = bundle.to_spiffe()["keys"][1]
    without = {k: v for k, v in good.items() if k != "kid"}
    odd = [{**good, "kid": ""}, {**good, "kid": 1}, {**good, "use": "sig"}, {**good, "kty": "new"}, without]
    found = bundles.from_spiffe(TD, json.dumps({"keys": [*odd, good, good]}))
    assert found.jwt_authorities == bundle.jwt_authorities
    with pytest.raises(BundleError, match="cannot be read"):
        bundles.from_spiffe(TD, json.dumps({"keys": [{**good, "x": "AA"}]}))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": {}}', '{"keys": [{"use":"x509-svid","kty":"EC","x5c":["AAAA"]}]}',
     '{"keys": [{"use":"x509-svid","kty":"EC","x5c":[1]}]}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(text: str) -> None:
    with pytest.raises(BundleError):
        bundles.from_spiffe(TD, text)


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_pem_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        bundles.from_pem(TD, data)


def test_root_hashes_are_of_the_der(bundle: TrustBundle) -> None:
    assert [len(h) for h in bundle.root_hashes] == [64]


def test_an_authority_whose_key_cannot_be_read_or_used_is_none(bundle: TrustBundle) -> None:
    """Found by fuzzing: a certificate's key is read only when it is asked for."""
    good: dict[str, Any] = bundle.to_spiffe()["keys"][0]
    der = bundle.x509_authorities[0]
    point = bundle.certificates[0].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    damaged = der.replace(point, b"\x04" + b"\x01" * 64)
    with pytest.raises(BundleError, match="no certificate"):
        bundles.from_spiffe(TD, json.dumps({"keys": [{**good, "x5c": [base64.b64encode(damaged).decode()]}]}))
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(damaged) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(BundleError):
        bundles.from_pem(TD, pem)
