"""External authorizers: the `extensionProviders` of the mesh settings that CUSTOM policies name.

Field names and defaults are Istio's MeshConfig.ExtensionProvider (envoyExtAuthzHttp, envoyExtAuthzGrpc). The
service must be one of the mesh: it is called through the sidecar like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from policies import codes
from policies.fields import Fields

DEFAULT_TIMEOUT_SECONDS = 600.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Speaks(StrEnum):
    HTTP = "envoyExtAuthzHttp"
    GRPC = "envoyExtAuthzGrpc"


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Header lists may hold `prefix*` and `*suffix`. `fail_open`: an authorizer that does not answer allows."""

    name: str
    speaks: Speaks
    service: str
    port: int
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    fail_open: bool = False
    status_on_error: int = 403
    path_prefix: str = ""
    include_request_headers: tuple[str, ...] = ()
    include_additional_headers: tuple[tuple[str, str], ...] = ()
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    body_max_bytes: int = 0  # 0: the body is not sent
    body_allow_partial: bool = False
    body_as_bytes: bool = False


def read_authorizers(owner: Fields) -> tuple[Authorizer, ...]:
    """The `extensionProviders` of an object; problems are left in it."""
    found = dict[str, Authorizer]()
    for entry in owner.children("extensionProviders"):
        entry.only("name", *Speaks)
        name = entry.text("name", required=True)
        kinds = [kind for kind in Speaks if kind in entry]
        if len(kinds) != 1:
            entry.add(codes.MISSING, "", f"needs one of {' and '.join(Speaks)}")
        if name in found:
            entry.add(codes.DEFINED_TWICE, "name", f"{name} is defined twice")
        for kind in kinds:  # of two, too: what is wrong in either is said at once
            found[name] = _read(name, kind, entry.child(kind))
    return tuple(found.values())


_SHARED = ("service", "port", "timeout", "failOpen", "statusOnError", "includeRequestBodyInCheck")
_HTTP_ONLY = (
    "pathPrefix", "includeRequestHeadersInCheck", "includeAdditionalHeadersInCheck",
    "headersToUpstreamOnAllow", "headersToDownstreamOnAllow", "headersToDownstreamOnDeny",
)  # fmt: skip


def _read(name: str, speaks: Speaks, entry: Fields) -> Authorizer:
    entry.only(*_SHARED, *(_HTTP_ONLY if speaks is Speaks.HTTP else ()))
    body = entry.child("includeRequestBodyInCheck")
    body.only("maxRequestBytes", "allowPartialMessage", "packAsBytes")
    has_body = "includeRequestBodyInCheck" in entry
    additional = entry.text_map("includeAdditionalHeadersInCheck")
    return Authorizer(
        name,
        speaks,
        entry.text("service", required=True).rpartition("/")[2],
        entry.integer("port", low=1, high=65535, required=True),
        read_duration(entry, "timeout", DEFAULT_TIMEOUT_SECONDS),
        entry.boolean("failOpen"),
        _read_status(entry),
        entry.text("pathPrefix"),
        entry.texts("includeRequestHeadersInCheck"),
        tuple(sorted(additional.items())),
        entry.texts("headersToUpstreamOnAllow"),
        entry.texts("headersToDownstreamOnAllow"),
        entry.texts("headersToDownstreamOnDeny"),
        body.integer("maxRequestBytes", low=1, high=1 << 31, required=has_body),
        body.boolean("allowPartialMessage"),
        body.boolean("packAsBytes"),
    )


def _read_status(entry: Fields) -> int:
    text = entry.text("statusOnError", "403")
    if not (text.isascii() and text.isdigit() and 400 <= int(text) <= 599):
        entry.add(codes.OUT_OF_RANGE, "statusOnError", f'"{text}" is no status from 400 to 599')
        return 403
    return int(text)


def read_duration(entry: Fields, name: str, default: float) -> float:
    """Seconds of a duration like `1.5s`, `500ms`, `1h30m`; at least one millisecond."""
    text = entry.text(name)
    if name not in entry:
        return default
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        entry.add(codes.BAD_FORMAT, name, f'"{text}" is no duration', "write it like 5s or 500ms")
        return default
    seconds = _seconds(parts)
    if seconds < 0.001:
        entry.add(codes.OUT_OF_RANGE, name, f"{text} is less than a millisecond")
        return default
    return seconds


def _seconds(parts: Iterable[tuple[str, str]]) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
