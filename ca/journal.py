"""The journal: the authorities of a trust domain, and by what names the keystore has their keys. JSON, strict.

No private key is in it. A journal that cannot be read is never replaced by a new one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from ca.authorities import Authorities, Authority
from ca.bundle import JwtKey, TrustBundle, from_spiffe
from ca.errors import BundleError, KeystoreError
from ca.rotation import Family, Lifetime, Status
from ca.spiffe_id import TrustDomain

NAME: Final = "authorities.json"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """`key`: the root's or the JWT authority's, "" when the root is somebody else's.

    `issuing_key` and `chain` (DER: the issuing authority, then what is between it and a root): X.509 only.
    """

    key: str
    issuing_key: str = ""
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Journal:
    """`kept`: authority's ID → its keys. `nested`: JWT keys of control planes below, by their name.

    `above`: what the upstream authority's bundle holds, as last heard.
    """

    trust_domain: TrustDomain
    authorities: Authorities
    kept: Mapping[str, Kept]
    nested: Mapping[str, tuple[JwtKey, ...]]
    above: TrustBundle | None = None


def dump(journal: Journal) -> bytes:
    document = {
        "version": _VERSION,
        "trustDomain": journal.trust_domain.name,
        "sequence": journal.authorities.sequence,
        "authorities": [_authority_json(a, journal.kept.get(a.id)) for a in journal.authorities.all],
        "nested": {
            name: TrustBundle(journal.trust_domain, (), jwt_authorities=keys).to_jwks()
            for name, keys in journal.nested.items()
        },
        "above": journal.above.to_spiffe() if journal.above else None,
    }
    return json.dumps(document, indent=1).encode()


def load(data: bytes) -> Journal:
    """Raises: KeystoreError."""
    try:
        document = cast("dict[str, Any]", json.loads(data))
        if document["version"] != _VERSION:
            raise KeystoreError(f"{NAME} is of version {document['version']}, this Pylis reads {_VERSION}")
        domain = TrustDomain.parse(document["trustDomain"])
        found = [(_authority(item), _kept(item)) for item in document["authorities"]]
        nested = {
            name: from_spiffe(domain, json.dumps(jwks)).jwt_authorities
            for name, jwks in document.get("nested", {}).items()
        }
        above = document.get("above")
        heard = from_spiffe(domain, json.dumps(above)) if above else None
        authorities = Authorities(int(document["sequence"]), tuple(a for a, _ in found))
        return Journal(domain, authorities, {a.id: kept for a, kept in found if kept}, nested, heard)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, BundleError) as error:
        raise KeystoreError(f"{NAME} is damaged ({error}): restore it from a backup") from error


def _authority_json(a: Authority, kept: Kept | None) -> dict[str, Any]:
    keys = (
        {} if kept is None else {"key": kept.key, "issuingKey": kept.issuing_key, "chain": _texts(kept.chain)}
    )
    return {
        "id": a.id, "family": a.family, "status": a.status, "since": a.since,
        "notBefore": a.lifetime.not_before.isoformat(), "notAfter": a.lifetime.not_after.isoformat(),
        "retires": a.retires.isoformat() if a.retires else None, "roots": _texts(a.roots), **keys,
    }  # fmt: skip


def _authority(item: Any) -> Authority:
    return Authority(
        str(item["id"]),
        Family(item["family"]),
        Status(item["status"]),
        Lifetime(datetime.fromisoformat(item["notBefore"]), datetime.fromisoformat(item["notAfter"])),
        _ders(item["roots"]),
        int(item["since"]),
        datetime.fromisoformat(item["retires"]) if item["retires"] else None,
    )


def _kept(item: Any) -> Kept | None:
    return Kept(item["key"], item["issuingKey"], _ders(item["chain"])) if "key" in item else None


def _texts(ders: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(der).decode("ascii") for der in ders]


def _ders(texts: Any) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(text, validate=True) for text in texts)
