"""The forms a single value of a rule may take: what is well written, and what it reads as.

`check_value` is for parsers, the `read_*` functions are for `lower` and for requests. Which values an
attribute is compared with does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from policies import codes
from policies.attributes import Attribute, Key, ValueForm

MAX_PORT = 65535
MAX_SERVICE_ACCOUNT = 320
SPIFFE_SCHEME = "spiffe://"


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
        case ValueForm.TEXT:
            return _check_text(key.attribute, value)
    return None


def read_network(text: str) -> IPv4Network | IPv6Network | None:
    """An address (as a network of one) or a CIDR block; host bits are cut off."""
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not (length.isascii() and length.isdigit())):
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


def _check_text(attribute: Attribute, value: str) -> BadValue | None:
    if attribute is Attribute.PATH and ("{" in value or "}" in value):
        return BadValue(
            codes.PATH_TEMPLATES,
            codes.unsupported(codes.PATH_TEMPLATES),
            "use a prefix like /items/* instead",
        )
    if attribute is Attribute.NAMESPACE and "*" in value[1:-1] + value[1:] * value.startswith("*"):
        return BadValue(
            codes.INNER_WILDCARD, codes.unsupported(codes.INNER_WILDCARD), "one * at the start or at the end"
        )
    return None
