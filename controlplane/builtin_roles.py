"""The roles every mesh has, as a table; the server puts them into the store at each start.

| role    | policies, registry | registrations, quarantine, federation | secrets, roles | audit log |
|---------|--------------------|---------------------------------------|----------------|-----------|
| viewer  | read               | read                                  | –              | –         |
| editor  | write              | read                                  | –              | –         |
| admin   | write              | write                                 | write          | read      |
| auditor | read               | read                                  | roles: read    | read      |

Bound by a RoleBinding a role holds in that namespace only, by a ClusterRoleBinding everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from controlplane.resources.kinds import KINDS, Kind
from controlplane.resources.rbac import GROUP

ADMINS: Final = "pylis:admins"
_READ: Final = ("get", "list", "watch")
_WRITE: Final = (*_READ, "create", "update", "patch", "delete", "deletecollection")
_SECURITY: Final = frozenset({"WorkloadRegistration", "Quarantine", "FederatedTrustDomain", "GitSource"})
_PRIVATE: Final = frozenset({"Secret"})


def bootstrap_objects() -> list[tuple[str, dict[str, Any]]]:
    """(resource, stored value): four ClusterRoles, and the binding of the administrators' group."""
    roles = {name: {"rules": rules} for name, rules in _rules().items()}
    binding = {
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": ADMINS}],
    }
    return [
        *((f"clusterroles.{GROUP}", _named(name, body)) for name, body in roles.items()),
        (f"clusterrolebindings.{GROUP}", _named(ADMINS, binding)),
    ]


def _rules() -> dict[str, list[dict[str, Any]]]:
    read = [
        *_over(_READ, lambda k: k.group != GROUP and k.kind not in _PRIVATE),
        {"apiGroups": ["pylis.io"], "resources": ["proxies"], "verbs": ["get"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ]
    edited = [
        *_over(
            _WRITE,
            lambda k: bool(k.group) and k.group != GROUP and k.kind not in _SECURITY and not k.read_only,
        ),
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": list(_WRITE)},
    ]
    audit = [
        {"apiGroups": ["pylis.io"], "resources": ["audit", "history"], "verbs": ["get"]},
        *_over(_READ, lambda k: k.group == GROUP),
    ]
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    history = [{"apiGroups": ["pylis.io"], "resources": ["history"], "verbs": ["get"]}]
    return {
        "viewer": [*read, *history],
        "editor": [*read, *history, *edited],
        "auditor": [*read, *audit],
        "admin": everything,
    }


def _over(verbs: Iterable[str], wanted: Callable[[Kind], bool]) -> list[dict[str, Any]]:
    """One rule a group."""
    groups: dict[str, list[str]] = {}
    for kind in KINDS:
        if wanted(kind):
            groups.setdefault(kind.group, []).append(kind.plural)
    return [{"apiGroups": [g], "resources": r, "verbs": list(verbs)} for g, r in groups.items()]


def _named(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"pylis.io/bootstrap": "true"}}, **body}
