"""The kind table: every resource Pylis serves. To add one: a file beside this one, a row here, a golden pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from controlplane.resources import (
    namespace,
    quarantine,
    service_entry,
    workload_entry,
    workload_registration,
)
from policies import authorization_policy, codes, peer_authentication, request_authentication
from policies.document import Document
from policies.problem import Problem

Parse = Callable[[Document], tuple[object | None, list[Problem]]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `get`: a dotted path into the object, or `#path` for the length of a list there."""

    name: str
    path: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
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

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`plural.group`, as kubectl and the store name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_SELECTOR: Final = Column("Selector", "spec.selector.matchLabels")

KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        "", "v1", "Namespace", "namespaces", "namespace", namespace.parse, "A name that other resources live in.",
        ("ns",), namespaced=False, columns=(Column("Status", "status.phase"),),
    ),
    Kind(
        "security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies", "authorizationpolicy",
        authorization_policy.parse, "Who may send which requests to which workloads.", ("ap",),
        columns=(Column("Action", "spec.action"), Column("Rules", "#spec.rules"), _SELECTOR),
        older_versions=("v1beta1",),
    ),
    Kind(
        "security.istio.io", "v1", "PeerAuthentication", "peerauthentications", "peerauthentication",
        peer_authentication.parse, "Whether workloads take mutual TLS only.", ("pa",),
        columns=(Column("Mode", "spec.mtls.mode"), _SELECTOR), older_versions=("v1beta1",),
    ),
    Kind(
        "security.istio.io", "v1", "RequestAuthentication", "requestauthentications", "requestauthentication",
        request_authentication.parse, "Which tokens workloads look for, and whose they accept.", ("ra",),
        columns=(Column("Rules", "#spec.jwtRules"), _SELECTOR), older_versions=("v1beta1",),
    ),
    Kind(
        "networking.istio.io", "v1", "ServiceEntry", "serviceentries", "serviceentry", service_entry.parse,
        "A service: its hosts and ports, and the workloads behind it.", ("se",),
        columns=(Column("Hosts", "spec.hosts"), Column("Selector", "spec.workloadSelector.labels")),
        older_versions=("v1beta1", "v1alpha3"),
    ),
    Kind(
        "networking.istio.io", "v1", "WorkloadEntry", "workloadentries", "workloadentry", workload_entry.parse,
        "One running workload: its address, ports and service account.", ("we",),
        columns=(Column("Address", "spec.address"), Column("Account", "spec.serviceAccount")),
        older_versions=("v1beta1", "v1alpha3"),
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
