"""The forms a single value of a rule may take: what is well written, and what it reads as.

`check_value` is for parsers, the `read_*` functions are for `lower` and for requests. Which values an
attribute is compared with does not belong here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from policies import codes
from policies.attributes import Key, ValueForm
from policies.predicate import ANY_SEGMENTS, ONE_SEGMENT

MAX_PORT = 65535
MAX_SERVICE_ACCOUNT = 320
SPIFFE_SCHEME = "spiffe://"
_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+")


@dataclass(frozen=True, slots=True)
class BadValue:
    code: str
    message: str
    hint: str = ""


def check_value(key: Key, value: str) -> BadValue | None:
    """What is wrong with `value` (never empty) as a value of `key`."""
    match key.row.form:
        case ValueForm.NETWORK:
            if read_network(value) is None:
                return BadValue(codes.BAD_NETWORK, f'"{value}" is no IP address and no CIDR block')
        case ValueForm.PORT:
            if read_port(value) is None:
                return BadValue(
                    codes.BAD_PORT, f'"{value}" is no port', f"write a number from 0 to {MAX_PORT}"
                )
        case ValueForm.EXACT_TEXT:
            return _check_service_account(value)
        case ValueForm.PATH:
            return _check_template(value)
        case ValueForm.TRUST_DOMAIN:
            return _check_trust_domain(value)
        case ValueForm.TEXT | ValueForm.GLOB | ValueForm.REQUEST_PRINCIPAL | ValueForm.METADATA:
            pass
    return None


def read_network(text: str) -> IPv4Network | IPv6Network | None:
    """An address (as a network of one) or a CIDR block; host bits are cut off."""
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not (length.isascii() and length.isdigit())):
        return None
    if len(length) > 1 and length.startswith("0"):
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def read_port(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    port = int(text)
    return port if port <= MAX_PORT else None


def is_template(path: str) -> bool:
    return ONE_SEGMENT in path or ANY_SEGMENTS in path


def fold_case(text: str) -> str:
    """Lower case of ASCII letters only, as Envoy compares hosts."""
    if text.isascii():
        return text.lower()
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _check_service_account(value: str) -> BadValue | None:
    if len(value) > MAX_SERVICE_ACCOUNT:
        return BadValue(codes.TOO_LONG, f"is longer than {MAX_SERVICE_ACCOUNT} characters")
    parts = value.split("/")
    if "*" in value or len(parts) > 2 or not all(parts):
        return BadValue(
            codes.BAD_SERVICE_ACCOUNT,
            f'"{value}" is no service account',
            "write name or namespace/name, without *",
        )
    return None


def _check_trust_domain(value: str) -> BadValue | None:
    stars = value.count("*")
    if "/" in value or stars > 1 or (stars and not (value.startswith("*") or value.endswith("*"))):
        return BadValue(
            codes.BAD_TRUST_DOMAIN,
            f'"{value}" is no trust domain',
            "write td, td*, *td or *, without spiffe:// and /",
        )
    return None


def _check_template(value: str) -> BadValue | None:
    """Istio's rules: operators stand alone in their segment, nothing but literals after or beside `{**}`."""
    templated, seen_any = is_template(value), False
    for segment in value.strip("/").split("/"):
        if segment in (ONE_SEGMENT, ANY_SEGMENTS):
            if seen_any:
                return BadValue(codes.BAD_TEMPLATE, f'"{value}": {ANY_SEGMENTS} must be the last operator')
            seen_any = segment == ANY_SEGMENTS
        elif "{" in segment or "}" in segment:
            return BadValue(
                codes.BAD_TEMPLATE,
                f'"{value}" is no path template',
                f"{ONE_SEGMENT} and {ANY_SEGMENTS} stand alone between slashes; other braces are not allowed",
            )
        elif templated and not _LITERAL.fullmatch(segment):
            return BadValue(
                codes.BAD_TEMPLATE,
                f'"{value}": "{segment}" cannot stand in a template',
                "no *, and no empty segment",
            )
    return None
