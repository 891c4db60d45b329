"""A leaf's certificate by splicing: what one authority writes into every leaf is encoded once, by the library.

Between those parts go serial number, lifetime, key and names, in DER by hand; `tests/property` holds each byte
against the library's own builder. What comes out is still read and checked by the library before it leaves (`sign`).
Source: RFC 5280 §4.1, §4.2; X.690 §8.1, §10.1
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.keys import PrivateKey, hash_for, sign
from ca.profile import LEAF_USAGE, LEAF_USES, NO_AUTHORITY, Leaf

_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_SEQUENCE: Final = 0x30
_EXTENSIONS: Final = 0xA3  # [3] EXPLICIT
_V3: Final = bytes.fromhex("a003020102")
_CRITICAL: Final = bytes.fromhex("0101ff")
_NO_SUBJECT: Final = bytes.fromhex("3000")
_LAST_UTC_YEAR: Final = 2049
# AlgorithmIdentifier. Source: RFC 5758 §3.2, RFC 4055 §5
_ECDSA: Final = {
    "sha256": bytes.fromhex("300a06082a8648ce3d040302"),
    "sha384": bytes.fromhex("300a06082a8648ce3d040303"),
    "sha512": bytes.fromhex("300a06082a8648ce3d040304"),
}
_RSA_SHA256: Final = bytes.fromhex("300d06092a864886f70d01010b0500")


@dataclass(frozen=True, slots=True)
class LeafTemplate:
    """Of one authority: `key` signs, `issuer` and `issuer_id` name it."""

    key: PrivateKey = field(repr=False)
    issuer: x509.Name
    issuer_id: x509.AuthorityKeyIdentifier
    _algorithm: bytes = field(init=False, repr=False)
    _before_times: bytes = field(init=False, repr=False)
    _after_key_id: bytes = field(init=False, repr=False)
    _after_names: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        algorithm = _algorithm(self.key)
        usage = (
            _extension(NO_AUTHORITY, critical=True)
            + _extension(LEAF_USAGE, critical=True)
            + _extension(LEAF_USES, critical=False)
        )
        object.__setattr__(self, "_algorithm", algorithm)
        object.__setattr__(self, "_before_times", algorithm + self.issuer.public_bytes())
        object.__setattr__(self, "_after_key_id", _extension(self.issuer_id, critical=False))
        object.__setattr__(self, "_after_names", usage)

    def signed(self, leaf: Leaf) -> bytes:
        """The certificate, DER. Raises: ValueError for a name that is no ASCII."""
        tbs = self.to_be_signed(leaf)
        return _tlv(_SEQUENCE, tbs + self._algorithm + _tlv(_BIT_STRING, b"\x00" + sign(self.key, tbs)))

    def to_be_signed(self, leaf: Leaf) -> bytes:
        """TBSCertificate, DER."""
        key_id = x509.SubjectKeyIdentifier.from_public_key(leaf.proven.key)
        extensions = (
            _extension(key_id, critical=False)
            + self._after_key_id
            + _extension(x509.SubjectAlternativeName(_names(leaf)), critical=True)
            + self._after_names
        )
        return _tlv(
            _SEQUENCE,
            _V3
            + _tlv(_INTEGER, _positive(leaf.serial))
            + self._before_times
            + _tlv(_SEQUENCE, _time(leaf.not_before) + _time(leaf.not_after))
            + _NO_SUBJECT
            + leaf.proven.spki
            + _tlv(_EXTENSIONS, _tlv(_SEQUENCE, extensions)),
        )


def _names(leaf: Leaf) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(leaf.spiffe_id))]
    names += [x509.DNSName(name) for name in leaf.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in leaf.ip_addresses]
    return names


def _algorithm(key: PrivateKey) -> bytes:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return _RSA_SHA256
    return _ECDSA[hash_for(key).name]


def _extension(value: x509.ExtensionType, *, critical: bool) -> bytes:
    encoded = _tlv(_OCTET_STRING, value.public_bytes())
    return _tlv(_SEQUENCE, _oid(value.oid) + (_CRITICAL if critical else b"") + encoded)


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    """Of an extension of X.509 itself, id-ce: 2.5.29.n."""
    return bytes((0x06, 3, 0x55, 0x1D, int(oid.dotted_string.removeprefix("2.5.29."))))


def _positive(number: int) -> bytes:
    """With a leading zero bit: a sign."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


@lru_cache(maxsize=64)
def _time(moment: datetime) -> bytes:
    """Of UTC, without fractions; what is signed together has the same times."""
    if moment.year <= _LAST_UTC_YEAR:
        return _tlv(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return _tlv(_GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content
