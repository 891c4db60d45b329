"""OpenAPI v3: a document a group version for kubectl, one for everything for people and tools. Pure.

PATCH and POST list `fieldValidation`: without it kubectl validates by OpenAPI v2, which is not served. Each kind's
schema stands once, as `components.schemas`; descriptions there are what `kubectl explain` prints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, cast

from controlplane.api.discovery import gvk, kinds_of, versions
from controlplane.api.reviews import REVIEWS
from controlplane.resources.kinds import KINDS, Kind
from controlplane.resources.schema import json_schema

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_JSON: Final = "application/json"
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_PATCHES: Final = (
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


@cache
def index() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for g, v in versions():
        path = f"apis/{g}/{v}" if g else f"api/{v}"
        digest = hashlib.sha256(json.dumps(document(g, v), sort_keys=True).encode()).hexdigest()[:16]
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


# An OpenAPI v2 document that names no kind, as kubectl demands it (gnostic's protobuf): swagger, info, paths.
# kubectl falls back to it for `kind: List` (and before 1.29 for everything); what it does not name it passes on
# unchecked, and the server checks it.
EMPTY_V2: Final = b"\x0a\x032.0\x12\x0b\x0a\x05Pylis\x12\x02v1\x42\x00"
V2_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


@cache
def document(name: str, version: str) -> dict[str, Any]:
    return _document("3.0.0", kinds_of(name, version), [r for r in REVIEWS if r[0] == name])


@cache
def everything() -> dict[str, Any]:
    """All kinds in one OpenAPI 3.1 document."""
    whole = _document("3.1.0", KINDS, REVIEWS)
    whole["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    whole["security"] = [{"bearer": []}]
    return whole


def _document(openapi: str, kinds: Sequence[Kind], reviews: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {f"{META}.ObjectMeta": _METADATA, f"{META}.Status": _STATUS}
    for kind in kinds:
        schemas[schema_name(kind)] = schema(kind)
        schemas[f"{schema_name(kind)}List"] = _list_schema(kind)
        paths |= _paths(kind)
    for group, plural, review in reviews:
        answer = {"201": _response({"type": "object"}), "default": _refusal()}
        body = {"required": True, "content": {_JSON: {"schema": {"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object"}}}}}}  # fmt: skip
        operation = {
            "operationId": f"create{review}", "summary": f"Ask about yourself: {review}.", "requestBody": body, "responses": answer,
        }  # fmt: skip
        paths[f"/apis/{group}/v1/{plural}"] = {"post": operation}
    info = {
        "title": "Pylis", "version": "v1",
        "description": "The policy API of a Pylis control plane. Its conventions are Kubernetes'.",
    }  # fmt: skip
    return {"openapi": openapi, "info": info, "paths": paths, "components": {"schemas": schemas}}


def schema_name(kind: Kind) -> str:
    reversed_group = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{reversed_group}.{kind.version}.{kind.kind}"


@cache
def schema(kind: Kind) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "apiVersion": {**_TEXT, "description": "Group and version of the kind."},
        "kind": {**_TEXT, "description": "The kind's name."},
        "metadata": {
            "allOf": [_ref(f"{META}.ObjectMeta")],
            "default": {},
            "description": "Name, labels and the like.",
        },
    }
    found: Any = json_schema(kind.kind)["properties"]
    for field in kind.body:
        own = found.get(field) if field == "spec" else None
        properties[field] = _as_openapi(own) if own else _BODY.get(field, _SPEC)
    if kind.has_status or kind.kind == "Namespace":
        properties["status"] = _CONDITIONS
    return {
        "type": "object", "description": kind.description, "x-kubernetes-group-version-kind": [gvk(kind)],
        "properties": properties,
    }  # fmt: skip


def _as_openapi(value: Any) -> Any:
    """JSON Schema as OpenAPI 3.0 says it: null is a property of a type there."""
    match value:
        case {"type": [str(type_), "null"], **rest}:
            return {"type": type_, "nullable": True, **{k: _as_openapi(v) for k, v in rest.items()}}
        case dict():
            return {str(k): _as_openapi(v) for k, v in cast("dict[str, Any]", value).items()}
        case list():
            return [_as_openapi(v) for v in cast("list[Any]", value)]
        case _:
            return value


def _list_schema(kind: Kind) -> dict[str, Any]:
    items = {"type": "array", "items": _ref(schema_name(kind))}
    metadata = {"type": "object", "properties": {"resourceVersion": _TEXT, "continue": _TEXT}}
    return {
        "type": "object", "description": f"A list of {kind.kind}.", "required": ["items"],
        "properties": {"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata, "items": items},
    }  # fmt: skip


def _paths(kind: Kind) -> dict[str, Any]:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    collection = f"{root}{scope}/{kind.plural}"
    listing = _operation(kind, "list", f"List {kind.plural}.", _ref(f"{schema_name(kind)}List"), _LIST)
    found: dict[str, Any] = {}
    if kind.namespaced:
        every = {**listing, "operationId": f"list{kind.kind}ForAllNamespaces"}
        found[f"{root}/{kind.plural}"] = {"get": every}
    one = _ref(schema_name(kind))
    here: dict[str, Any] = {"get": listing}
    there: dict[str, Any] = {"get": _operation(kind, "get", f"Read one {kind.kind}.", one, ())}
    if not kind.read_only:
        here["post"] = _operation(kind, "post", f"Create a {kind.kind}.", one, _WRITE, (_JSON,))
        here["delete"] = _operation(
            kind, "deletecollection", f"Delete {kind.plural}.", None, (*_LIST[:2], _DRY_RUN)
        )
        there["put"] = _operation(kind, "put", f"Replace a {kind.kind}.", one, _WRITE, (_JSON,))
        there["patch"] = _operation(
            kind, "patch", f"Change or apply a {kind.kind}.", one, (*_WRITE, _FORCE), _PATCHES
        )
        there["delete"] = _operation(kind, "delete", f"Delete a {kind.kind}.", None, (_DRY_RUN, _PROPAGATION))
    found[collection] = here
    found[f"{collection}/{{name}}"] = there
    if kind.has_status:
        status = {
            m: {**o, "operationId": f"{o['operationId']}Status"}
            for m, o in there.items()
            if m in ("get", "put", "patch")
        }
        found[f"{collection}/{{name}}/status"] = status
    for path, item in found.items():
        item["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _TEXT}
            for name in ("namespace", "name")
            if f"{{{name}}}" in path
        ]
    return found


def _operation(
    kind: Kind, action: str, summary: str, answer: dict[str, Any] | None, query: Sequence[dict[str, Any]],
    bodies: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    good = _response(answer or {"type": "object"})
    operation: dict[str, Any] = {
        "operationId": f"{action}{kind.kind}", "summary": summary, "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(kind), "parameters": list(query),
        "responses": {"200": good, "default": _refusal()},
    }  # fmt: skip
    if action in ("post", "patch"):
        operation["responses"]["201"] = good
    if bodies:
        content = {
            b: {"schema": {} if b.endswith("json-patch+json") else _ref(schema_name(kind))} for b in bodies
        }
        operation["requestBody"] = {"required": True, "content": content}
        example = EXAMPLES.get(kind.kind)
        if example is not None and action == "post":
            content[_JSON]["example"] = example
    return operation


def _response(schema_: dict[str, Any]) -> dict[str, Any]:
    return {"description": "OK", "content": {_JSON: {"schema": schema_}}}


def _refusal() -> dict[str, Any]:
    return {"description": "Refused.", "content": {_JSON: {"schema": _ref(f"{META}.Status")}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, description: str, type_: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": type_}}


_DRY_RUN: Final = {
    **_query("dryRun", "All: check everything, store nothing."),
    "schema": {"type": "string", "enum": ["All"]},
}
_FORCE: Final = _query("force", "Take fields from other managers (apply only).", "boolean")
_PROPAGATION: Final = {
    **_query("propagationPolicy", "What happens to dependents."),
    "schema": {"type": "string", "enum": ["Background", "Foreground", "Orphan"]},
}
_WRITE: Final = (
    _DRY_RUN,
    _query("fieldManager", "Who owns the fields that are written."),
    {
        **_query("fieldValidation", "What to do with unknown fields; Strict is the default."),
        "schema": {"type": "string", "enum": ["Strict", "Warn", "Ignore"]},
    },
)
_LIST: Final = (
    _query("labelSelector", "For example app=web,tier in (a,b)."),
    _query("fieldSelector", "For example metadata.name=web."),
    _query("limit", "Objects a page.", "integer"),
    _query("continue", "From the page before."),
    _query("watch", "Stream changes instead.", "boolean"),
    _query("resourceVersion", "Watch from here."),
    _query("timeoutSeconds", "End the watch after this time.", "integer"),
    _query("allowWatchBookmarks", "Send a bookmark now and then.", "boolean"),
    _query("sendInitialEvents", "Start with what is there.", "boolean"),
)
_SPEC: Final[dict[str, Any]] = {
    "type": "object", "description": "What is wanted.", "x-kubernetes-preserve-unknown-fields": True,
}  # fmt: skip
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_LIST_OF_TEXTS: Final = {"type": "array", "items": _TEXT}
_BODY: Final[dict[str, Any]] = {
    "data": {**_TEXTS, "description": "Keys and values."},
    "binaryData": {**_TEXTS, "description": "Keys and base64 values."},
    "immutable": {"type": "boolean", "description": "Whether the values may change."},
    "type": {**_TEXT, "description": "What the secret is for."},
    "rules": {
        "type": "array", "description": "What is allowed.",
        "items": {
            "type": "object",
            "properties": dict.fromkeys(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), _LIST_OF_TEXTS),
        },
    },
    "roleRef": {
        "type": "object", "description": "The role that is given.",
        "properties": dict.fromkeys(("apiGroup", "kind", "name"), _TEXT),
    },
    "subjects": {
        "type": "array", "description": "Who is given the role.",
        "items": {"type": "object", "properties": dict.fromkeys(("apiGroup", "kind", "name", "namespace"), _TEXT)},
    },
}  # fmt: skip
_CONDITIONS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What the control plane observed.",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "conditions": {
            "type": "array", "description": "Accepted: the object is understood. Programmed: sidecars hold it.",
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "properties": {
                    **dict.fromkeys(("type", "status", "reason", "message", "lastTransitionTime"), _TEXT),
                    "observedGeneration": {"type": "integer"},
                },
            },
        }
    },
}  # fmt: skip
_METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What every object has.",
    "properties": {
        "name": {**_TEXT, "description": "Unique in its namespace."},
        "generateName": {**_TEXT, "description": "A prefix; the server adds a suffix."},
        "namespace": {**_TEXT, "description": "Where the object lives."},
        "labels": {**_TEXTS, "description": "For selection."},
        "annotations": {**_TEXTS, "description": "For tools."},
        "finalizers": {
            "type": "array",
            "items": _TEXT,
            "description": "Who must agree before the object goes.",
        },
        "ownerReferences": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Objects this one goes with.",
        },
        "managedFields": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Who owns which field.",
        },
        "resourceVersion": {**_TEXT, "description": "Changes with every write."},
        "generation": {"type": "integer", "description": "Changes with every write of what is wanted."},
        "creationTimestamp": {**_TEXT, "description": "When it was created."},
        "deletionTimestamp": {**_TEXT, "description": "When its deletion was asked for."},
        "uid": {**_TEXT, "description": "Unique for ever."},
    },
}
_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A refusal, or the success of a deletion.",
    "required": ["kind", "status"],
    "properties": {
        "kind": _TEXT, "apiVersion": _TEXT, "metadata": {"type": "object"}, "status": _TEXT, "message": _TEXT,
        "reason": _TEXT, "details": {"type": "object"}, "code": {"type": "integer"},
    },
}  # fmt: skip
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "Namespace": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
    "AuthorizationPolicy": {
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "orders"},
        "spec": {
            "selector": {"matchLabels": {"app": "orders"}}, "action": "ALLOW",
            "rules": [
                {
                    "from": [{"source": {"principals": ["cluster.local/ns/shop/sa/frontend"]}}],
                    "to": [{"operation": {"methods": ["GET"], "paths": ["/orders/*"]}}],
                }
            ],
        },
    },
    "PeerAuthentication": {
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default"},
        "spec": {"mtls": {"mode": "STRICT"}},
    },
    "RoleBinding": {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "shop-editors"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "editor"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "shop-team"}],
    },
    "ConfigMap": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "notes"}, "data": {"a": "b"}},
}  # fmt: skip
