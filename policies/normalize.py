"""The path that rules see, made from the path as sent: what Envoy does before authorization, in Envoy's order.

1. A fragment is refused. 2. `%2F` and `%5C` are decoded (DECODE_AND_MERGE_SLASHES only). 3. Escaped unreserved
characters are decoded, `\\` becomes `/`, what a URL must not hold is escaped, dot segments go; `%00` is refused.
4. Slashes are merged, last. The query takes no part and is cut in the end. NONE: only 1 and the cut.
Source: Envoy's HttpConnectionManager (normalize_path, merge_slashes, path_with_escaped_slashes_action),
RFC 3986 §5.2.4 and §6.2.2; checked on a real Envoy (tests/integration/test_path_normalization.py).
"""

from __future__ import annotations

import re
from typing import Final

from policies.workload import PathNormalization

_TO_DO: Final = re.compile(r"[^!$&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]|//|/\.", re.ASCII)
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_TO_ESCAPE: Final = re.compile(rb"[^!$%&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]")
_SLASHES: Final = re.compile(rb"//+")
_MERGING: Final = (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES)


def normalize(path: str, mode: PathNormalization) -> str | None:
    """`path` as sent → what rules on paths are compared with, or None where Envoy answers 400 before any rule."""
    if not path:
        return ""
    if "#" in path:
        return None
    path = path.partition("?")[0]
    if mode is PathNormalization.NONE or not _TO_DO.search(path):
        return path
    sent = path.encode("utf-8", "surrogateescape")
    if mode is PathNormalization.DECODE_AND_MERGE_SLASHES:
        sent = re.sub(rb"%2[fF]", b"/", sent)
        sent = re.sub(rb"%5[cC]", rb"\\", sent)
    if b"%00" in sent or b"\0" in sent:
        return None
    clean = _ESCAPED.sub(_decode_unreserved, sent).replace(b"\\", b"/")
    clean = _without_dots(_TO_ESCAPE.sub(_escape, clean))
    if mode in _MERGING:
        clean = _merge_slashes(clean)
    return clean.decode("utf-8", "surrogateescape")


def _decode_unreserved(escape: re.Match[bytes]) -> bytes:
    byte = int(escape[1], 16)
    return bytes([byte]) if byte in _UNRESERVED else escape[0]


def _escape(character: re.Match[bytes]) -> bytes:
    return b"%%%02X" % character[0][0]


def _without_dots(path: bytes) -> bytes:
    kept = list[bytes]()
    segments = path.removeprefix(b"/").split(b"/")
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _merge_slashes(path: bytes) -> bytes:
    return _SLASHES.sub(b"/", path)
