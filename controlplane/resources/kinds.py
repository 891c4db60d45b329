"""The kind table: every resource Pylis serves. To add one: a file beside this one, a row here, a golden pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from controlplane.resources import (
    config,
    destination_rule,
    federated_trust_domain,
    git_source,
    namespace,
    quarantine,
    rbac,
    service_entry,
    sidecar,
    workload_entry,
    workload_registration,
)
from policies import authorization_policy, codes, peer_authentication, request_authentication
from policies.document import Document
from policies.problem import Problem

Parse = Callable[[Document], tuple[object | None, list[Problem]]]
Salvage = Callable[[Document], object]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `get`: a dotted path into the object, `#path` for the length of a list, `@Type` for a condition."""

    name: str
    path: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """`body`: the fields beside metadata that hold what is wanted; `programmed`: sidecars are configured by it;
    `strategic`: clients send strategic merge patches, read as merge patches; `read_only`: nobody may write it;
    `salvage`: what is still enforced of an object that was accepted once and is refused now.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    parse: Parse
    description: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    columns: tuple[Column, ...] = ()
    older_versions: tuple[str, ...] = ()
    body: tuple[str, ...] = ("spec",)
    programmed: bool = False
    strategic: bool = False
    read_only: bool = False
    salvage: Salvage | None = None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_status(self) -> bool:
        return self.body == ("spec",) and not self.read_only

    @property
    def verbs(self) -> tuple[str, ...]:
        read = ("get", "list", "watch")
        return read if self.read_only else ("create", "delete", "deletecollection", *read, "patch", "update")

    @property
    def resource(self) -> str:
        """`plural.group`, as kubectl and the store name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _unwritten(document: Document) -> tuple[object | None, list[Problem]]:
    """For kinds that tools only list."""
    return None, [document.problem(codes.UNKNOWN_KIND, "kind", f"{document.kind} cannot be written here")]


_SELECTOR: Final = Column("Selector", "spec.selector.matchLabels")
_PROGRAMMED: Final = Column("Programmed", "@Programmed")
_RBAC: Final = (rbac.GROUP, "v1")

KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        "", "v1", "Namespace", "namespaces", "namespace", namespace.parse, "A name that other resources live in.",
        ("ns",), namespaced=False, columns=(Column("Status", "status.phase"),), strategic=True,
    ),
    Kind(
        "", "v1", "ConfigMap", "configmaps", "configmap", config.parse_config_map, "Plain texts that tools keep here.",
        ("cm",), columns=(Column("Keys", "data", wide=True),), body=("data", "binaryData", "immutable"), strategic=True,
    ),
    Kind(
        "", "v1", "Secret", "secrets", "secret", config.parse_secret, "Secret texts that tools keep here, sealed at rest.",
        columns=(Column("Type", "type"),), body=("data", "type", "immutable"), strategic=True,
    ),
    Kind(
        "", "v1", "Event", "events", "event", _unwritten, "Served for kubectl describe; nothing is written here.",
        ("ev",), read_only=True,
    ),
    Kind(
        "", "v1", "Service", "services", "service", _unwritten, "Served for kubectl cluster-info; see ServiceEntry.",
        ("svc",), read_only=True,
    ),
    Kind(
        "security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies", "authorizationpolicy",
        authorization_policy.parse, "Who may send which requests to which workloads.", ("ap",),
        columns=(Column("Action", "spec.action"), Column("Rules", "#spec.rules"), _SELECTOR, _PROGRAMMED),
        older_versions=("v1beta1",), programmed=True, salvage=authorization_policy.salvage,
    ),
    Kind(
        "security.istio.io", "v1", "PeerAuthentication", "peerauthentications", "peerauthentication",
        peer_authentication.parse, "Whether workloads take mutual TLS only.", ("pa",),
        columns=(Column("Mode", "spec.mtls.mode"), _SELECTOR, _PROGRAMMED), older_versions=("v1beta1",), programmed=True,
    ),
    Kind(
        "security.istio.io", "v1", "RequestAuthentication", "requestauthentications", "requestauthentication",
        request_authentication.parse, "Which tokens workloads look for, and whose they accept.", ("ra",),
        columns=(Column("Rules", "#spec.jwtRules"), _SELECTOR, _PROGRAMMED), older_versions=("v1beta1",),
        programmed=True,
    ),
    Kind(
        "networking.istio.io", "v1", "ServiceEntry", "serviceentries", "serviceentry", service_entry.parse,
        "A service: its hosts and ports, and the workloads behind it.", ("se",),
        columns=(Column("Hosts", "spec.hosts"), Column("Selector", "spec.workloadSelector.labels")),
        older_versions=("v1beta1", "v1alpha3"), programmed=True,
    ),
    Kind(
        "networking.istio.io", "v1", "WorkloadEntry", "workloadentries", "workloadentry", workload_entry.parse,
        "One running workload: its address, ports and service account.", ("we",),
        columns=(Column("Address", "spec.address"), Column("Account", "spec.serviceAccount")),
        older_versions=("v1beta1", "v1alpha3"), programmed=True,
    ),
    Kind(
        "networking.istio.io", "v1", "DestinationRule", "destinationrules", "destinationrule", destination_rule.parse,
        "How callers reach a service: load balancing, limits, outlier detection, locality.", ("dr",),
        columns=(Column("Host", "spec.host"), _PROGRAMMED), older_versions=("v1beta1", "v1alpha3"), programmed=True,
    ),
    Kind(
        "networking.istio.io", "v1", "Sidecar", "sidecars", "sidecar", sidecar.parse,
        "Narrows what sidecars are told of.",
        columns=(Column("Selector", "spec.workloadSelector.labels"), _PROGRAMMED),
        older_versions=("v1beta1", "v1alpha3"), programmed=True,
    ),
    Kind(
        "pylis.io", "v1alpha1", "WorkloadRegistration", "workloadregistrations", "workloadregistration",
        workload_registration.parse, "Which processes may hold which identity.", ("wr",),
        columns=(Column("Account", "spec.serviceAccount"), Column("Selectors", "spec.selectors")),
    ),
    Kind(
        "pylis.io", "v1alpha1", "Quarantine", "quarantines", "quarantine", quarantine.parse,
        "Identities and certificates that are cut off at once.", namespaced=False,
        columns=(
            Column("Identities", "spec.spiffeIDs"), Column("Serials", "spec.serials"),
            Column("Reason", "spec.reason"),
        ),
    ),
    Kind(
        *_RBAC, "Role", "roles", "role", rbac.parse_role, "What may be done in one namespace.",
        columns=(Column("Rules", "#rules"),), body=("rules",), strategic=True,
    ),
    Kind(
        *_RBAC, "RoleBinding", "rolebindings", "rolebinding", rbac.parse_binding, "Who has a role in one namespace.",
        columns=(Column("Role", "roleRef.name"), Column("Subjects", "#subjects")), body=("roleRef", "subjects"),
        strategic=True,
    ),
    Kind(
        *_RBAC, "ClusterRole", "clusterroles", "clusterrole", rbac.parse_cluster_role, "What may be done anywhere.",
        namespaced=False, columns=(Column("Rules", "#rules"),), body=("rules",), strategic=True,
    ),
    Kind(
        *_RBAC, "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", rbac.parse_cluster_binding,
        "Who has a role everywhere.", namespaced=False,
        columns=(Column("Role", "roleRef.name"), Column("Subjects", "#subjects")), body=("roleRef", "subjects"),
        strategic=True,
    ),
    Kind(
        "pylis.io", "v1alpha1", "FederatedTrustDomain", "federatedtrustdomains", "federatedtrustdomain",
        federated_trust_domain.parse, "A foreign trust domain, and where its bundle comes from.", ("ftd",),
        namespaced=False,
        columns=(
            Column("Trust Domain", "spec.trustDomain"), Column("Endpoint", "spec.bundleEndpointURL"),
            Column("Profile", "spec.bundleEndpointProfile.type"),
        ),
    ),
    Kind(
        "pylis.io", "v1alpha1", "GitSource", "gitsources", "gitsource", git_source.parse,
        "A git repository that says what there is.", ("gits",),
        columns=(
            Column("URL", "spec.url"), Column("Synced", "@Synced"), Column("Commit", "status.commit", wide=True),
            Column("Objects", "status.objects"),
        ),
    ),
)  # fmt: skip


def by_plural(group: str, plural: str) -> Kind | None:
    return next((k for k in KINDS if k.group == group and k.plural == plural), None)


def by_api_version(api_version: str, kind: str) -> Kind | None:
    """Older versions of a group are read as the served one."""
    group, slash, version = api_version.rpartition("/")
    group = group if slash else ""
    return next(
        (
            k
            for k in KINDS
            if k.kind == kind and k.group == group and version in (k.version, *k.older_versions)
        ),
        None,
    )


def by_word(word: str) -> Kind | None:
    """What people type: plural, singular, kind, short name, `plural.group`."""
    wanted = word.lower()
    return next(
        (k for k in KINDS if wanted in (k.plural, k.singular, k.kind.lower(), *k.short_names, k.resource)),
        None,
    )


def parse(document: Document) -> tuple[object | None, list[Problem]]:
    """Parses a document of any served kind."""
    kind = by_api_version(document.api_version, document.kind)
    if kind is None:
        known = [k.kind for k in KINDS]
        close = get_close_matches(document.kind, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
        what = f"{document.api_version or '(no apiVersion)'} {document.kind or '(no kind)'}"
        return None, [document.problem(codes.UNKNOWN_KIND, "kind", f"{what} is not served", hint)]
    return kind.parse(document)
