"""What Envoy does with a compiled authorization, written down a second time: it reads the messages, not the policies.

Shares nothing with `xds.compile` and `policies.evaluate` but the path normalisation, which is proven on Envoy itself.
Semantics: docs/adr/0005-authorization-by-matcher.md (a nested miss falls through; an absent input matches nothing).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from policies.normalize import normalize
from policies.request import Request
from policies.workload import MeshSettings
from xds import schema

_NETWORK = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3."


@dataclass(frozen=True)
class Verdict:
    """`allowed` by the first filter that answers otherwise than ALLOW, or by the last."""

    allowed: bool
    name: str


@dataclass(frozen=True)
class Seen:
    """The inputs of one request."""

    request: Request
    state: Mapping[str, str]
    metadata: Mapping[str, Any]


def decide(extension: Any, request: Request, settings: MeshSettings, before: Iterable[Any] = ()) -> Verdict:
    """`extension`: the TypedExtensionConfig of a port; `before`: filters its listener has in front of it.

    Filters that ask others are passed over.
    """
    path, mark, query = request.path.partition("?")
    raw = (normalize(path, settings.path_normalization) or "") + mark + query
    seen = Seen(request, {"raw path": raw}, _metadata(request))
    if request.principal is not None:
        seen = _with(
            seen, {"pylis.principal": ",".join(f"spiffe://{p}" for p in request.principal.split(","))}
        )
    verdict = Verdict(True, "")
    for config in (*before, *_filters(extension)):
        name = config.DESCRIPTOR.full_name
        if name.endswith("set_filter_state.v3.Config"):
            seen = _with(seen, dict(_states(config, seen, settings)))
        elif name.endswith("rbac.v3.RBAC") and config.HasField("matcher"):
            found = walk(config.matcher, seen)
            # LOG marks a request and lets it pass
            verdict = Verdict(found is not None and found[1] in (0, 2), found[0] if found else "none")
            if not verdict.allowed:
                return verdict
    return verdict


def walk(matcher: Any, seen: Seen) -> tuple[str, int] | None:
    """Name and action of the leaf that answers; None: nothing does."""
    for on_match in _candidates(matcher, seen):
        found = _leaf(on_match, seen)
        if found is not None:
            return found
    return _leaf(matcher.on_no_match, seen) if matcher.HasField("on_no_match") else None


def _candidates(matcher: Any, seen: Seen) -> Iterable[Any]:
    if matcher.HasField("matcher_list"):
        for entry in matcher.matcher_list.matchers:
            if _holds(entry.predicate, seen):
                yield entry.on_match
        return
    tree = matcher.matcher_tree
    value = _input(tree.input, seen)
    if value is None:
        return
    if tree.HasField("exact_match_map"):
        if value in tree.exact_match_map.map:
            yield tree.exact_match_map.map[value]
    else:
        prefixes = (key for key in tree.prefix_match_map.map if value.startswith(key))
        for key in sorted(prefixes, key=len, reverse=True):
            yield tree.prefix_match_map.map[key]


def _leaf(on_match: Any, seen: Seen) -> tuple[str, int] | None:
    if on_match.HasField("matcher"):
        return walk(on_match.matcher, seen)
    action: Any = schema.decode("envoy.config.rbac.v3.Action", on_match.action.typed_config.value)
    return action.name, action.action


def _holds(predicate: Any, seen: Seen) -> bool:
    match predicate.WhichOneof("match_type"):
        case "and_matcher":
            return all(_holds(one, seen) for one in predicate.and_matcher.predicate)
        case "or_matcher":
            return any(_holds(one, seen) for one in predicate.or_matcher.predicate)
        case "not_matcher":
            return not _holds(predicate.not_matcher, seen)
        case _:
            return _single(predicate.single_predicate, seen)


def _single(single: Any, seen: Seen) -> bool:
    if single.input.typed_config.type_url.endswith("DynamicMetadataInput"):
        where: Any = schema.decode(
            single.input.typed_config.type_url.rpartition("/")[2], single.input.typed_config.value
        )
        body: Any = schema.decode(
            "envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
            single.custom_match.typed_config.value,
        )
        value: Any = seen.metadata.get(where.filter)
        for step in where.path:
            value = value.get(step.key) if isinstance(value, dict) else None
        return _value(body.value, value)
    value = _input(single.input, seen)
    if value is None:
        return False
    if single.HasField("custom_match"):
        ip: Any = schema.decode(
            "envoy.extensions.matching.input_matchers.ip.v3.Ip", single.custom_match.typed_config.value
        )
        address = ip_address(value)
        return any(address in ip_network(f"{c.address_prefix}/{c.prefix_len.value}") for c in ip.cidr_ranges)
    return _text(single.value_match, value)


def _text(matcher: Any, value: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return value == matcher.exact
        case "prefix":
            return value.startswith(matcher.prefix)
        case "suffix":
            return value.endswith(matcher.suffix)
        case "contains":
            return matcher.contains in value
        case _:
            return re.fullmatch(matcher.safe_regex.regex, value) is not None


def _value(matcher: Any, value: Any) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "or_match":
            return any(_value(one, value) for one in matcher.or_match.value_matchers)
        case "list_match":
            return isinstance(value, list) and any(_value(matcher.list_match.one_of, item) for item in value)
        case _:
            return isinstance(value, str) and _text(matcher.string_match, value)


def _input(config: Any, seen: Seen) -> str | None:
    url = config.typed_config.type_url
    message: Any = schema.decode(url.rpartition("/")[2], config.typed_config.value)
    request = seen.request
    match url.removeprefix(_NETWORK):
        case "FilterStateInput":
            return seen.state.get(message.key)
        case "DirectSourceIPInput":
            return str(request.source_ip)
        case "SourceIPInput":
            return str(request.remote_ip or request.source_ip)
        case "DestinationIPInput":
            return str(request.destination_ip)
        case "ServerNameInput":
            return request.sni or None
        case "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput":
            return _header(message.header_name, seen)
        case other:
            raise ValueError(f"the compiler uses an input unknown here: {other}")


def _header(name: str, seen: Seen) -> str | None:
    match name:
        case ":method":
            return seen.request.method
        case ":authority":
            return seen.request.host
        case ":path":
            return seen.state["raw path"]
        case _:
            return seen.request.headers.get(name)


def _states(config: Any, seen: Seen, settings: MeshSettings) -> Iterable[tuple[str, str]]:
    path = normalize(seen.request.path, settings.path_normalization) or ""
    payload = seen.metadata.get("envoy.filters.http.jwt_authn", {}).get("payload", {})
    texts = {
        "%PATH(NQ:PATH)%": path,
        "%CEL(request.host.lowerAscii())%": seen.request.host.lower(),
        "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:iss)%": payload.get("iss", ""),
        "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%": payload.get("sub", ""),
    }
    for one in config.on_request_headers:
        text = texts[one.format_string.text_format_source.inline_string]
        if text:
            yield one.object_key, text


def _metadata(request: Request) -> dict[str, Any]:
    if request.claims is None:
        return {}
    payload: dict[str, Any] = dict(request.claims)
    for name in ("scope", "permission"):
        if isinstance(payload.get(name), str):
            payload[name] = payload[name].split()
    return {"envoy.filters.http.jwt_authn": {"payload": payload}}


def _with(seen: Seen, more: Mapping[str, str]) -> Seen:
    return Seen(seen.request, {**seen.state, **more}, seen.metadata)


def _filters(extension: Any) -> list[Any]:
    config: Any = schema.decode(
        extension.typed_config.type_url.rpartition("/")[2], extension.typed_config.value
    )
    if not config.DESCRIPTOR.full_name.endswith("FilterChainConfig"):
        return [config]
    listed = (one.typed_config for one in config.default_filter_chain.filters)
    return [schema.decode(one.type_url.rpartition("/")[2], one.value) for one in listed]
