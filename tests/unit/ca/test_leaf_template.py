"""Source: RFC 5280 §4.1; X509-SVID §2 to §4. Byte for byte against the library: tests/property/test_leaf_template.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import keys, profile, sign
from ca.csr import prove
from ca.keys import KeyType
from ca.leaf_template import LeafTemplate
from ca.spiffe_id import TrustDomain, workload_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TD = TrustDomain.parse("example.org")
ID = workload_id(TD, "shop", "orders")


def a_leaf(**names: tuple[str, ...]) -> profile.Leaf:
    return profile.Leaf(ID, prove(keys.csr_for(keys.new_key())), NOW, NOW + DAY, 1 << 127, **names)


def a_template(key: keys.PrivateKey) -> tuple[LeafTemplate, x509.Certificate]:
    wanted = profile.Authority(TD, "root", key.public_key(), NOW, NOW + DAY, 1, 1)
    signer = sign.Signer(sign.self_signed(wanted, key), key)
    return signer.leaves, signer.certificate


@pytest.mark.parametrize("kind", KeyType)
def test_a_leaf_is_signed_by_each_kind_of_authority(kind: KeyType) -> None:
    template, authority = a_template(keys.new_key_of(kind))
    der = template.signed(a_leaf())
    leaf = x509.load_der_x509_certificate(der)
    leaf.verify_directly_issued_by(authority)
    assert leaf.signature_algorithm_oid == authority.signature_algorithm_oid
    assert leaf.public_bytes(Encoding.DER) == der


def test_what_is_signed_is_what_was_to_be_signed() -> None:
    template, _ = a_template(keys.new_key())
    leaf = a_leaf()
    signed = x509.load_der_x509_certificate(template.signed(leaf))
    assert signed.tbs_certificate_bytes == template.to_be_signed(leaf)


@pytest.mark.parametrize(("year", "tag"), [(2049, b"\x17\x0d490601"), (2050, b"\x18\x0f20500601")])
def test_the_form_of_times_changes_with_2050(year: int, tag: bytes) -> None:
    template, _ = a_template(keys.new_key())
    start = NOW.replace(year=year)
    leaf = profile.Leaf(ID, prove(keys.csr_for(keys.new_key())), start, start + DAY, 1)
    assert tag in template.to_be_signed(leaf)
    signed = x509.load_der_x509_certificate(template.signed(leaf))
    assert (signed.not_valid_before_utc, signed.not_valid_after_utc) == (start, start + DAY)


def test_a_name_that_is_no_ascii_is_refused() -> None:
    template, _ = a_template(keys.new_key())
    with pytest.raises(ValueError, match="A-label"):
        template.signed(a_leaf(dns_names=("bücher.example",)))


def test_its_key_is_not_in_its_repr() -> None:
    template, _ = a_template(keys.new_key())
    assert "key=" not in repr(template)
