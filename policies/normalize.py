"""The path that rules see, made from the path as sent: what Envoy does before authorization, in its order.

| step                                                                    | modes                            |
|-------------------------------------------------------------------------|----------------------------------|
| refuse a fragment and what is not printable ASCII (400)                 | all                              |
| decode `%2F` and `%5C`                                                  | DECODE_AND_MERGE_SLASHES         |
| cut the parameters of dot segments: `..;x=1` is `..`                    | all but NONE                     |
| refuse `%00`; decode escaped unreserved characters; `\\` becomes `/`    | all but NONE                     |
| remove dot segments                                                     | all but NONE                     |
| merge slashes, last                                                     | MERGE_…, DECODE_AND_MERGE_…      |

The query takes no part and is cut. Source: Envoy's HttpConnectionManager (normalize_path, merge_slashes,
path_with_escaped_slashes_action), RFC 3986 §5.2.4 and §6.2.2; found and checked on a real Envoy 1.40.
"""

from __future__ import annotations

import re
from typing import Final

from policies.workload import PathNormalization

_PRINTABLE: Final = re.compile(r"[!-~]*")
_UNCHANGED: Final = re.compile(r"/(?:[!$&'()*+,\-0-:;=@A-Z\[\]_a-z~][!$&'()*+,\-.0-:;=@A-Z\[\]_a-z~]*/?)*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TO_ESCAPE: Final = re.compile(r'["<>^`{|}]')
_DOTS_WITH_PARAMETERS: Final = re.compile(r"(?<=/)(\.\.?);[^/]*")
_MERGING: Final = (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES)


def normalize(path: str, mode: PathNormalization) -> str | None:
    """`path` as sent → what rules on paths are compared with; None: Envoy answers 400 before any rule."""
    if "#" in path or not _PRINTABLE.fullmatch(path):
        return None
    path = path.partition("?")[0]
    if mode is PathNormalization.NONE or not path or _UNCHANGED.fullmatch(path):
        return path
    if mode is PathNormalization.DECODE_AND_MERGE_SLASHES:
        path = re.sub("%2[fF]", "/", path)
        path = re.sub("%5[cC]", r"\\", path)
    path = _DOTS_WITH_PARAMETERS.sub(r"\1", path)
    if "%00" in path:
        return None
    path = _without_dots(_decode(path).replace("\\", "/"))
    return _merge_slashes(path) if mode in _MERGING else path


def normalize_raw(path: str, mode: PathNormalization) -> str | None:
    """The same with the query left on: what the header `:path` holds when rules are asked."""
    normal = normalize(path, mode)
    _, mark, query = path.partition("?")
    return None if normal is None else f"{normal}{mark}{query}"


def _decode(path: str) -> str:
    """Unreserved characters as they are; nothing that was no escape may become one by that."""
    marked = _STRAY_PERCENT.sub("\0", path)
    decoded = _ESCAPE.sub(_unreserved, _TO_ESCAPE.sub(_escaped, marked))
    return re.sub("\0(?=[0-9A-Fa-f]{2})", "%25", decoded).replace("\0", "%")


def _unreserved(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0]


def _escaped(character: re.Match[str]) -> str:
    return f"%{ord(character[0]):02X}"


def _without_dots(path: str) -> str:
    kept = list[str]()
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _merge_slashes(path: str) -> str:
    """As Envoy joins them: slashes alone become two."""
    if "//" not in path:
        return path
    segments = "/".join(segment for segment in path.split("/") if segment)
    return f"/{segments}{'/' if path.endswith('/') else ''}"
