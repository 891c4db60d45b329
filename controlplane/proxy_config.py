"""What a proxy was told, as JSON, and how that compares with what Envoy says it holds. Pure.

A delta client keeps the version of each resource it was sent, so a comparison needs no look at contents.
Source: envoy.admin.v3 (GET /config_dump?include_eds)
"""

# pyright: reportUnknownMemberType=false
# json_format comes without complete types

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from google.protobuf import json_format

from xds import schema
from xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Snapshot

# list in the dump → (type, where the version is, where the resource is)
_DUMPED: Final = {
    "dynamic_active_clusters": (CLUSTER, "", "cluster"),
    "dynamic_warming_clusters": (CLUSTER, "", "cluster"),
    "dynamic_listeners": (LISTENER, "active_state", "listener"),
    "dynamic_route_configs": (ROUTES, "", "route_config"),
    "dynamic_endpoint_configs": (ENDPOINTS, "", "endpoint_config"),
    "ecds_filters": (EXTENSION, "", "ecds_filter"),
}
# Envoy's dump has no version for these, and lists those that stand in a cluster itself beside those it was sent
_IN_DUMP: Final = frozenset(type_url for type_url, _, _ in _DUMPED.values())
_NOT_VERSIONED: Final = frozenset({ENDPOINTS})


@dataclass(frozen=True, slots=True)
class Difference:
    """`says`: "missing" (Envoy has it not), "other version", or "not ours" (we did not send it)."""

    type: str
    name: str
    says: str


def resources_json(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Sorted by type and name; `config` in the field names of Envoy's documentation."""
    return [
        {
            "type": type_url.rpartition(".")[2],
            "typeUrl": type_url,
            "name": name,
            "version": resource.version,
            "bytes": len(resource.body),
            "config": json_format.MessageToDict(
                schema.decode(type_url.removeprefix(schema.TYPE_URL_PREFIX), resource.body),
                preserving_proto_field_name=True,
                descriptor_pool=schema.pool(),
            ),
        }
        for type_url, names in sorted(snapshot.by_type.items())
        for name, resource in sorted(names.items())
    ]


def compare(told: list[dict[str, Any]], dump: Mapping[str, Any]) -> list[Difference]:
    """`told`: as `resources_json`; `dump`: Envoy's answer. Empty: Envoy holds what we sent, and no more.

    What a dump never lists (runtime layers) is passed over.
    """
    ours = {(r["typeUrl"], r["name"]): r["version"] for r in told if r["typeUrl"] in _IN_DUMP}
    theirs = dict(_held(dump))
    found: list[Difference] = []
    for key in sorted(ours.keys() | theirs.keys()):
        short = key[0].rpartition(".")[2]
        if key not in theirs:
            found.append(Difference(short, key[1], "missing"))
        elif key not in ours and key[0] not in _NOT_VERSIONED:
            found.append(Difference(short, key[1], "not ours"))
        elif key in ours and key[0] not in _NOT_VERSIONED and ours[key] != theirs[key]:
            found.append(Difference(short, key[1], "other version"))
    return found


def _held(dump: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    for part in cast("list[dict[str, Any]]", dump.get("configs", [])):
        for field, (type_url, state, resource) in _DUMPED.items():
            for one in cast("list[dict[str, Any]]", part.get(field, [])):
                inner = cast("dict[str, Any]", one.get(state, {}) if state else one)
                body = cast("dict[str, Any]", inner.get(resource, {}))
                name = body.get("name") or body.get("cluster_name") or one.get("name")
                # what the bootstrap itself names comes without a version
                if name and (inner.get("version_info") or type_url in _NOT_VERSIONED):
                    yield (type_url, str(name)), str(inner.get("version_info", ""))
