"""A snapshot written out as Envoy's static configuration: every reference replaced by what it refers to."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from bench.one_envoy import Identity
from xds import names, schema
from xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Snapshot

Config = dict[str, Any]


def static_resources(snapshot: Snapshot, who: Identity) -> Config:
    """What a bootstrap holds as `static_resources`."""
    found = {
        (type_url, resource.name): MessageToDict(
            schema.decode(type_url.rpartition("/")[2], resource.body), descriptor_pool=schema.pool()
        )
        for type_url, resources in snapshot.by_type.items()
        for resource in resources.values()
    }
    certificate = {
        "certificate_chain": {"inline_string": who.svid.chain_pem},
        "private_key": {"inline_string": who.key_pem.decode()},
    }
    return {
        "listeners": [_inline(v, found) for (t, _), v in found.items() if t == LISTENER],
        "clusters": [_inline(v, found) for (t, _), v in found.items() if t == CLUSTER],
        "secrets": [
            {"name": names.SVID_SECRET, "tls_certificate": certificate},
            {
                "name": names.BUNDLE_SECRET,
                "validation_context": {"trusted_ca": {"inline_string": who.bundle_pem}},
            },
        ],
    }


def _inline(value: Any, found: dict[tuple[str, str], Config]) -> Any:
    match value:
        case {"rds": {"routeConfigName": str(name)}, **rest}:
            return _inline({**rest, "routeConfig": found[ROUTES, name]}, found)
        case {"configDiscovery": _, "name": str(name)}:
            return {"name": name, "typedConfig": _inline(found[EXTENSION, name]["typedConfig"], found)}
        case {"sdsConfig": _, **rest}:
            return rest
        case {"edsClusterConfig": {**eds}, **rest}:
            name = str(eds.get("serviceName") or rest["name"])
            return _inline({**rest, "type": "STATIC", "loadAssignment": found[ENDPOINTS, name]}, found)
        case dict():
            return {key: _inline(inner, found) for key, inner in value.items()}
        case list():
            return [_inline(inner, found) for inner in value]
        case _:
            return value
