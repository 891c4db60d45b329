"""What a certificate says, as data and as lines. Pure; whether it is valid is asked of `ca.verify`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca import check
from policies.document import Json

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_ROWS = (
    ("spiffeId", "SPIFFE ID"), ("serial", "serial"), ("subject", "subject"), ("issuer", "issuer"),
    ("notBefore", "not before"), ("notAfter", "not after"), ("key", "key"), ("dnsNames", "DNS names"),
    ("ipAddresses", "IP addresses"), ("sha256", "SHA-256"), ("profile", "profile"),
)  # fmt: skip


def chain_report(chain: Sequence[x509.Certificate]) -> dict[str, Json]:
    """`chain`: leaf first."""
    return {"certificates": [certificate_report(one) for one in chain]}


def certificate_report(certificate: x509.Certificate) -> dict[str, Json]:
    """Raises: ValueError when an extension cannot be read."""
    authority = _find(certificate, x509.BasicConstraints)
    signs = authority is not None and authority.ca
    problems = check.authority_problems(certificate) if signs else check.leaf_problems(certificate)
    names = _find(certificate, x509.SubjectAlternativeName)
    uris = check.uri_names(certificate)
    return {
        "role": "authority" if signs else "leaf",
        "spiffeId": uris[0] if len(uris) == 1 else None,
        "uriNames": list(uris),
        "serial": f"{certificate.serial_number:x}",
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "notBefore": rfc3339(certificate.not_valid_before_utc),
        "notAfter": rfc3339(certificate.not_valid_after_utc),
        "key": _key(certificate),
        "dnsNames": list(names.get_values_for_type(x509.DNSName)) if names else [],
        "ipAddresses": [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] if names else [],
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "profileProblems": list(problems),
    }


def report_lines(report: dict[str, Json], now: datetime) -> list[str]:
    """A block for each certificate of a `chain_report`."""
    certificates = report["certificates"]
    blocks = (
        [_block(one, now) for one in certificates if isinstance(one, dict)]
        if isinstance(certificates, list)
        else []
    )
    return [line for index, block in enumerate(blocks) for line in ([""] if index else []) + block]


def rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def for_people(span: timedelta) -> str:
    """`59 min`, `23 h`, `3649 d`: the largest unit that fits, to the nearest half minute."""
    seconds = int(abs(span).total_seconds())
    seconds += 30 if seconds >= 60 else 0
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _block(certificate: dict[str, Json], now: datetime) -> list[str]:
    values = {**certificate, "profile": _profile(certificate), "notAfter": _until(certificate, now)}
    rows = [(label, _text(values.get(name))) for name, label in _ROWS]
    return [str(certificate["role"]), *(f"  {label:<13}{text}" for label, text in rows if text)]


def _until(certificate: dict[str, Json], now: datetime) -> str:
    end = datetime.fromisoformat(str(certificate["notAfter"]))
    span = for_people(end - now)
    return f"{certificate['notAfter']} ({f'in {span}' if end >= now else f'{span} ago'})"


def _profile(certificate: dict[str, Json]) -> str:
    problems = certificate["profileProblems"]
    return (
        "; ".join(str(one) for one in problems) if isinstance(problems, list) and problems else "SPIFFE X.509"
    )


def _text(value: Json) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value or "")


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case _:
            return type(key).__name__.removesuffix("PublicKey")


def _find(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
