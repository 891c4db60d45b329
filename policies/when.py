"""The keys of `when`: which attribute a condition names, or why it names none.

Source: Istio's authorization policy conditions (docs/reference/policy.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from policies import codes
from policies.attributes import Attribute, Key

ATTRIBUTES = (
    Attribute.SOURCE_IP,
    Attribute.NAMESPACE,
    Attribute.PRINCIPAL,
    Attribute.SERVICE_ACCOUNT,
    Attribute.DESTINATION_PORT,
)
UNSUPPORTED = {
    "remote.ip": codes.REMOTE_IP,
    "source.trustDomain": codes.TRUST_DOMAINS,
    "request.auth.principal": codes.REQUEST_PRINCIPALS,
    "request.auth.audiences": codes.JWT_CLAIMS,
    "request.auth.presenter": codes.JWT_CLAIMS,
    "destination.ip": codes.DESTINATION_IP,
    "connection.sni": codes.SNI,
}
UNSUPPORTED_PREFIXES = {
    "request.auth.claims": codes.JWT_CLAIMS,
    "experimental.envoy.filters.": codes.ENVOY_METADATA,
}
HEADERS = "request.headers"


@dataclass(frozen=True, slots=True)
class BadKey:
    code: str
    message: str
    hint: str = ""


def read_key(text: str) -> Key | BadKey:
    """The attribute that a `when` key names."""
    if text.startswith(HEADERS):
        return _read_header(text)
    if text in ATTRIBUTES:
        return Key(Attribute(text))
    code = UNSUPPORTED.get(text) or next(
        (code for prefix, code in UNSUPPORTED_PREFIXES.items() if text.startswith(prefix)), ""
    )
    if code:
        return BadKey(code, codes.unsupported(code))
    known = [*ATTRIBUTES, f"{HEADERS}[<name>]"]
    close = get_close_matches(text, [*known, *UNSUPPORTED], n=1, cutoff=0.6)
    hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
    return BadKey(codes.UNKNOWN_ATTRIBUTE, f'"{text}" is no attribute', hint)


def _read_header(text: str) -> Key | BadKey:
    name = text.removeprefix(HEADERS)
    if not (name.startswith("[") and name.endswith("]") and len(name) > 2):
        return BadKey(codes.UNKNOWN_ATTRIBUTE, f'"{text}" names no header', f"write {HEADERS}[<name>]")
    if name.startswith("[:"):
        return BadKey(codes.PSEUDO_HEADER, codes.unsupported(codes.PSEUDO_HEADER))
    return Key(Attribute.HEADER, name[1:-1].lower())
