"""Discovery: what kubectl asks before it does anything. Pure, made from the kind table."""

from __future__ import annotations

from typing import Any, Final

from controlplane.api.reviews import REVIEWS
from controlplane.resources.kinds import KINDS, Kind

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
REVIEW_GROUPS: Final = tuple(dict.fromkeys(group for group, _, _ in REVIEWS))


def versions() -> list[tuple[str, str]]:
    """The served (group, version) pairs, core first."""
    return [*dict.fromkeys((k.group, k.version) for k in KINDS), *((g, "v1") for g in REVIEW_GROUPS)]


def kinds_of(group: str, version: str) -> list[Kind]:
    return [k for k in KINDS if (k.group, k.version) == (group, version)]


def aggregated(*, core: bool) -> dict[str, Any]:
    groups = [(g, v) for g, v in versions() if (g == "") is core]
    items = [
        {
            "metadata": {"name": g} if g else {},
            "versions": [
                {
                    "version": v,
                    "freshness": "Current",
                    "resources": [_resource(k) for k in kinds_of(g, v)] + _reviews(g),
                }
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
    resources: list[dict[str, Any]] = []
    for k in kinds_of(name, version):
        entry = {"singularName": k.singular, "namespaced": k.namespaced, "kind": k.kind}
        listed = {"shortNames": list(k.short_names), "categories": _categories(k)}
        resources.append({"name": k.plural, **entry, "verbs": list(k.verbs), **listed})
        if k.has_status:
            resources.append(
                {
                    "name": f"{k.plural}/status",
                    **entry,
                    "singularName": "",
                    "verbs": ["get", "patch", "update"],
                }
            )
    resources += [
        {"name": plural, "singularName": "", "namespaced": False, "kind": kind, "verbs": ["create"]}
        for group_, plural, kind in REVIEWS
        if group_ == name
    ]
    api_version = f"{name}/{version}" if name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": resources,
    }


def _reviews(name: str) -> list[dict[str, Any]]:
    return [
        {
            "resource": plural, "singularResource": "", "scope": "Cluster", "verbs": ["create"],
            "responseKind": {"group": group_, "version": "v1", "kind": kind},
        }
        for group_, plural, kind in REVIEWS
        if group_ == name
    ]  # fmt: skip


def _resource(kind: Kind) -> dict[str, Any]:
    subresources = [
        {"subresource": "status", "responseKind": gvk(kind), "verbs": ["get", "patch", "update"]}
    ] if kind.has_status else []  # fmt: skip
    return {
        "resource": kind.plural, "singularResource": kind.singular,
        "scope": "Namespaced" if kind.namespaced else "Cluster", "responseKind": gvk(kind), "verbs": list(kind.verbs),
        "shortNames": list(kind.short_names), "categories": _categories(kind), "subresources": subresources,
    }  # fmt: skip


def gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _categories(kind: Kind) -> list[str]:
    return ["all", kind.group.replace(".", "-")] if kind.group and kind.programmed else []
