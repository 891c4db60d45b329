"""Path normalisation, as Envoy does it before authorization.

Order, measured on Envoy: decode %2F and %5C (one mode only); decode unreserved characters, `\\` to `/`; remove
dot segments; merge slashes last. Query and fragment are cut.
Source: RFC 3986 §5.2.4, §6.2.2; Istio's MeshConfig.pathNormalization
"""

from __future__ import annotations

import re
from typing import Final

from policies.workload import PathNormalization

_ESCAPED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES: Final = re.compile(r"/{2,}")


def normalize(path: str, mode: PathNormalization) -> str:
    """`path` as sent → the value that rules on paths are compared with."""
    path = path.partition("#")[0].partition("?")[0]
    if mode is PathNormalization.NONE or not path.startswith("/"):
        return path
    if mode is PathNormalization.DECODE_AND_MERGE_SLASHES:
        path = re.sub(r"%2[fF]", "/", path)
        path = re.sub(r"%5[cC]", r"\\", path)
    path = _ESCAPED.sub(_unreserved, path).replace("\\", "/")
    path = _without_dots(path)
    return path if mode is PathNormalization.BASE else _SLASHES.sub("/", path)


def _unreserved(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0]


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
