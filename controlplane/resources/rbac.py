"""Role, ClusterRole, RoleBinding, ClusterRoleBinding: Kubernetes' own shapes, parsed to what `access` decides by.

Source: Kubernetes API reference, rbac.authorization.k8s.io/v1. Aggregation rules are refused: nothing here aggregates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields
from policies.problem import Problem

GROUP: Final = "rbac.authorization.k8s.io"
_ROLE: Final = (*tuple(f for f in TOP_LEVEL if f != "spec"), "rules")
_BINDING: Final = (*tuple(f for f in TOP_LEVEL if f != "spec"), "subjects", "roleRef")


@dataclass(frozen=True, slots=True)
class Rule:
    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """`namespace` "" for a ClusterRole."""

    namespace: str
    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """`kind` User, Group or ServiceAccount."""

    kind: str
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """`namespace` "" for a ClusterRoleBinding; the role is the namespace's own unless `cluster_role`."""

    namespace: str
    name: str
    subjects: tuple[Subject, ...]
    role: str
    cluster_role: bool


def parse_role(document: Document) -> tuple[Role | None, list[Problem]]:
    return _role(document, namespaced=True)


def parse_cluster_role(document: Document) -> tuple[Role | None, list[Problem]]:
    return _role(document, namespaced=False)


def parse_binding(document: Document) -> tuple[Binding | None, list[Problem]]:
    return _binding(document, namespaced=True)


def parse_cluster_binding(document: Document) -> tuple[Binding | None, list[Problem]]:
    return _binding(document, namespaced=False)


def _role(document: Document, *, namespaced: bool) -> tuple[Role | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*_ROLE)
    namespace, name = _metadata(root, namespaced=namespaced)
    rules = tuple(_rule(item, namespaced=namespaced) for item in root.children("rules"))
    return (None if root.failed else Role(namespace, name, rules)), root.problems


def _rule(item: Fields, *, namespaced: bool) -> Rule:
    item.only("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
    groups = item.texts("apiGroups", empty=True)  # the core group is written as an empty string
    rule = Rule(
        item.texts("verbs"), groups, item.texts("resources"), item.texts("resourceNames"), item.texts("nonResourceURLs")
    )  # fmt: skip
    if not rule.verbs:
        item.add(codes.EMPTY_LIST, "verbs", "needs at least one verb", 'for example ["get", "list", "watch"]')
    if rule.urls and (rule.resources or rule.groups or namespaced):
        text = "go into a rule of their own, in a ClusterRole"
        item.add(codes.EXCLUDE_EACH_OTHER, "nonResourceURLs", text)
    if not rule.urls and not (rule.resources and rule.groups):
        text = "needs apiGroups and resources"
        item.add(codes.EMPTY_LIST, "resources", text, 'apiGroups: ["security.istio.io"]')
    return rule


def _binding(document: Document, *, namespaced: bool) -> tuple[Binding | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*_BINDING)
    namespace, name = _metadata(root, namespaced=namespaced)
    subjects = tuple(_subject(item) for item in root.children("subjects"))
    reference = root.child("roleRef", required=True)
    reference.only("apiGroup", "kind", "name")
    kind, role = reference.text("kind", required=True), reference.text("name", required=True)
    known = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if kind and kind not in known:
        reference.add(codes.NOT_A_CHOICE, "kind", f'"{kind}" is not one of {", ".join(known)}')
    if reference.text("apiGroup", GROUP) not in (GROUP, ""):
        reference.add(codes.NOT_A_CHOICE, "apiGroup", f"must be {GROUP}")
    binding = Binding(namespace, name, subjects, role, kind == "ClusterRole")
    return (None if root.failed else binding), root.problems


def _subject(item: Fields) -> Subject:
    item.only("kind", "apiGroup", "name", "namespace")
    kind, name = item.text("kind", required=True), item.text("name", required=True)
    namespace = item.text("namespace")
    if kind and kind not in ("User", "Group", "ServiceAccount"):
        item.add(codes.NOT_A_CHOICE, "kind", f'"{kind}" is not one of User, Group, ServiceAccount')
    if kind == "ServiceAccount" and not namespace:
        item.add(codes.MISSING, "namespace", "is required for a ServiceAccount")
    if kind != "ServiceAccount" and namespace:
        item.add(codes.EXCLUDE_EACH_OTHER, "namespace", "only a ServiceAccount has one", "remove it")
    return Subject(kind, name, namespace)


def _metadata(root: Fields, *, namespaced: bool) -> tuple[str, str]:
    """Names of roles may hold `:` as Kubernetes' own do."""
    metadata = root.child("metadata", required=True)
    name = metadata.text("name", required=True)
    if name and ("/" in name or "%" in name or name in (".", "..") or len(name) > 253):
        metadata.add(codes.BAD_NAME, "name", f'"{name}" is no name', "at most 253 characters, no / and no %")
    if namespaced:
        return metadata.text("namespace", "default"), name
    if "namespace" in metadata:
        metadata.add(codes.UNKNOWN_FIELD, "namespace", "this kind has no namespace", "remove it")
    return "", name
