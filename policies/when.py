"""The keys of `when`: which attribute a condition names, or why it names none.

Source: Istio's authorization policy conditions (docs/reference/policy.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from policies import codes
from policies.attributes import Attribute, Key

ATTRIBUTES = (
    Attribute.SOURCE_IP,
    Attribute.REMOTE_IP,
    Attribute.NAMESPACE,
    Attribute.SERVICE_ACCOUNT,
    Attribute.TRUST_DOMAIN,
    Attribute.PRINCIPAL,
    Attribute.REQUEST_PRINCIPAL,
    Attribute.AUDIENCES,
    Attribute.PRESENTER,
    Attribute.DESTINATION_IP,
    Attribute.DESTINATION_PORT,
    Attribute.SNI,
)
BRACKETED = (
    f"{Attribute.HEADER}[<name>]",
    f"{Attribute.CLAIM}[<claim>]",
    f"{Attribute.METADATA}.<filter>[<key>]",
)
# what the matcher is given of a request's start; others depend on the transport
PSEUDO_HEADERS = (":authority", ":method", ":path")
_CLAIM_PATH = re.compile(r"(?:\[[^\[\]]+\])+")


@dataclass(frozen=True, slots=True)
class BadKey:
    code: str
    message: str
    hint: str = ""


def read_key(text: str) -> Key | BadKey:
    """The attribute that a `when` key names."""
    if text in ATTRIBUTES:
        return Key(Attribute(text))
    if text.startswith(Attribute.HEADER):
        return _read_header(text)
    if text.startswith(Attribute.CLAIM):
        return _read_claim(text)
    if text.startswith(f"{Attribute.METADATA}."):
        return _read_metadata(text)
    known = [*ATTRIBUTES, *BRACKETED]
    close = get_close_matches(text, known, n=1, cutoff=0.6)
    hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
    return BadKey(codes.UNKNOWN_ATTRIBUTE, f'"{text}" is no attribute', hint)


def _read_header(text: str) -> Key | BadKey:
    name = text.removeprefix(Attribute.HEADER)
    if not (name.startswith("[") and name.endswith("]") and len(name) > 2):
        return BadKey(codes.UNKNOWN_ATTRIBUTE, f'"{text}" names no header', f"write {BRACKETED[0]}")
    name = name[1:-1].lower()
    if name.startswith(":") and name not in PSEUDO_HEADERS:
        return BadKey(codes.PSEUDO_HEADER, codes.unsupported(codes.PSEUDO_HEADER))
    return Key(Attribute.HEADER, name)


def _read_claim(text: str) -> Key | BadKey:
    path = text.removeprefix(Attribute.CLAIM)
    if not _CLAIM_PATH.fullmatch(path):
        hint = f"write {BRACKETED[1]}, nested ones as [a][b]"
        return BadKey(codes.UNKNOWN_ATTRIBUTE, f'"{text}" names no claim', hint)
    return Key(Attribute.CLAIM, path=tuple(path[1:-1].split("][")))


def _read_metadata(text: str) -> Key | BadKey:
    name, bracket, key = text.removeprefix(f"{Attribute.METADATA}.").partition("[")
    if not (name and bracket and key.endswith("]") and len(key) > 1):
        return BadKey(codes.UNKNOWN_ATTRIBUTE, f'"{text}" names no metadata', f"write {BRACKETED[2]}")
    return Key(Attribute.METADATA, name, (key[:-1],))
