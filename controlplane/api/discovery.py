"""Discovery and OpenAPI v3: what kubectl asks before it does anything. Pure, made from the kind table.

The PATCH and POST operations list `fieldValidation`: without it kubectl validates by OpenAPI v2, which is not served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from controlplane.resources.kinds import KINDS, Kind

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def versions() -> list[tuple[str, str]]:
    """The served (group, version) pairs, core first."""
    return list(dict.fromkeys((k.group, k.version) for k in KINDS))


def kinds_of(group: str, version: str) -> list[Kind]:
    return [k for k in KINDS if (k.group, k.version) == (group, version)]


def aggregated(*, core: bool) -> dict[str, Any]:
    groups = [(g, v) for g, v in versions() if (g == "") is core]
    items = [
        {
            "metadata": {"name": g} if g else {},
            "versions": [
                {"version": v, "freshness": "Current", "resources": [_resource(k) for k in kinds_of(g, v)]}
            ],
        }
        for g, v in groups
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def api_versions() -> dict[str, Any]:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list() -> dict[str, Any]:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(g, v) for g, v in versions() if g]}


def group(name: str, version: str) -> dict[str, Any]:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": [served],
        "preferredVersion": served,
    }


def resource_list(name: str, version: str) -> dict[str, Any]:
    resources = [
        {
            "name": k.plural, "singularName": k.singular, "namespaced": k.namespaced, "kind": k.kind,
            "verbs": list(_VERBS), "shortNames": list(k.short_names),
        }
        for k in kinds_of(name, version)
    ]  # fmt: skip
    api_version = f"{name}/{version}" if name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": resources,
    }


def openapi_index() -> dict[str, Any]:
    paths = {}
    for g, v in versions():
        path = f"apis/{g}/{v}" if g else f"api/{v}"
        digest = hashlib.sha256(json.dumps(openapi(g, v), sort_keys=True).encode()).hexdigest()[:16]
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def openapi(name: str, version: str) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for kind in kinds_of(name, version):
        schema = _schema_name(kind)
        schemas[schema] = _schema(kind)
        prefix = f"/apis/{name}/{version}" if name else f"/api/{version}"
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        collection = f"{prefix}{scope}/{kind.plural}"
        paths[collection] = {"post": _operation(kind, "post", schema, ["application/json"])}
        patches = ["application/merge-patch+json", "application/json-patch+json"]
        paths[f"{collection}/{{name}}"] = {
            "patch": _operation(kind, "patch", schema, patches),
            "put": _operation(kind, "put", schema, ["application/json"]),
        }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Pylis", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _resource(kind: Kind) -> dict[str, Any]:
    return {
        "resource": kind.plural, "singularResource": kind.singular,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "responseKind": _gvk(kind), "verbs": list(_VERBS), "shortNames": list(kind.short_names),
    }  # fmt: skip


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema_name(kind: Kind) -> str:
    reversed_group = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{reversed_group}.{kind.version}.{kind.kind}"


def _schema(kind: Kind) -> dict[str, Any]:
    text = {"type": "string"}
    metadata = {"type": "object", "description": "Name, namespace, labels, annotations."}
    spec = {"type": "object", "description": "What is wanted.", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "type": "object",
        "description": kind.description,
        "x-kubernetes-group-version-kind": [_gvk(kind)],
        "properties": {"apiVersion": text, "kind": text, "metadata": metadata, "spec": spec},
    }


def _operation(kind: Kind, action: str, schema: str, content_types: Sequence[str]) -> dict[str, Any]:
    query = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
        "parameters": query,
        "requestBody": {"content": dict.fromkeys(content_types, body)},
        "responses": {"200": {"description": "OK"}},
    }
