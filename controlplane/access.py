"""Who may do what: Kubernetes' RBAC, decided by a pure function over roles and bindings.

    allowed  ⇔  a ClusterRoleBinding of the caller has a rule that covers the request, or
                a RoleBinding of the request's namespace does

Nothing denies but the absence of a rule. A refusal names the permission that is missing. Nobody may hand out what
they do not hold: writing a role or a binding needs every permission in it (`escalate` and `bind` lift that).
Source: Kubernetes, "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.resources.rbac import Binding, Role, Rule, Subject

AUTHENTICATED: Final = "system:authenticated"
# What every authenticated caller may ask: about the API itself and about themselves.
EVERYBODY: Final = (
    Rule(
        ("get",), urls=("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version", "/version/", "/docs",
                        "/docs/*", "/healthz", "/readyz", "/livez"),
    ),
    Rule(("create",), ("authorization.k8s.io",), ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
    Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, from where (an IP address), and the request's ID.

    `account` is (namespace, service account) for a workload's SVID; `token` the record the caller came by.
    """

    name: str
    groups: tuple[str, ...] = ()
    account: tuple[str, str] | None = None
    source: str = ""
    request_id: str = ""
    user_agent: str = ""
    token: str = field(default="", repr=False)

    def is_meant_by(self, subject: Subject) -> bool:
        match subject.kind:
            case "User":
                return subject.name == self.name
            case "Group":
                return subject.name in self.groups or subject.name == AUTHENTICATED
            case "ServiceAccount":
                return self.account == (subject.namespace, subject.name)
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Attributes:
    """One request as RBAC sees it. `namespace` "": of all namespaces, or of none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    url: str = ""

    def __str__(self) -> str:
        """`update authorizationpolicies.security.istio.io/status "orders" in the namespace "shop"`."""
        if self.url:
            return f'{self.verb} path "{self.url}"'
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        text = f"{self.verb} {resource}{'/' + self.subresource if self.subresource else ''}"
        text += f' "{self.name}"' if self.name else ""
        return (
            f'{text} in the namespace "{self.namespace}"'
            if self.namespace
            else f"{text} at the cluster scope"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """All roles and bindings of a moment."""

    roles: Mapping[tuple[str, str], Role] = field(default_factory=dict[tuple[str, str], Role])
    bindings: tuple[Binding, ...] = ()

    @classmethod
    def of(cls, objects: Iterable[object]) -> AccessPolicy:
        everything = list(objects)
        roles = {(o.namespace, o.name): o for o in everything if isinstance(o, Role)}
        return cls(roles, tuple(o for o in everything if isinstance(o, Binding)))

    def decide(self, caller: Caller, wanted: Attributes) -> Verdict:
        for rule, by in self.rules_of(caller, wanted.namespace):
            if covers(rule, wanted):
                return Verdict(True, by)
        return Verdict(False, f'User "{caller.name}" cannot {wanted}: no role bound to them allows it')

    def rules_of(self, caller: Caller, namespace: str) -> Iterator[tuple[Rule, str]]:
        """The rules that hold for a caller there, each with where it comes from."""
        for rule in EVERYBODY:
            yield rule, "every authenticated caller may"
        for binding in self.bindings:
            if binding.namespace not in ("", namespace) or not any(map(caller.is_meant_by, binding.subjects)):
                continue
            role = self.role_of(binding)
            place = f"{binding.namespace}/{binding.name}" if binding.namespace else binding.name
            for rule in role.rules if role else ():
                if rule.urls and binding.namespace:
                    continue  # paths are in no namespace
                yield rule, f'RBAC: allowed by {_word(binding)} "{place}"'

    def role_of(self, binding: Binding) -> Role | None:
        return self.roles.get(("" if binding.cluster_role else binding.namespace, binding.role))

    def missing(self, caller: Caller, rules: Iterable[Rule], namespace: str) -> list[Attributes]:
        """Those permissions of `rules` that the caller does not hold there."""
        held = [rule for rule, _ in self.rules_of(caller, namespace)]
        return [a for rule in rules for a in _single(rule, namespace) if not any(covers(h, a) for h in held)]


def covers(rule: Rule, wanted: Attributes) -> bool:
    if not _has(rule.verbs, wanted.verb):
        return False
    if wanted.url:
        return any(_url(pattern, wanted.url) for pattern in rule.urls)
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    return (
        _has(rule.groups, wanted.group)
        and (_has(rule.resources, resource) or f"*/{wanted.subresource}" in rule.resources)
        and (not rule.names or wanted.name in rule.names)
    )


def _single(rule: Rule, namespace: str) -> Iterator[Attributes]:
    """A rule as single permissions; `*` stands for itself: only `*` covers it."""
    for verb in rule.verbs:
        for url in rule.urls if not namespace else ():
            yield Attributes(verb, url=url)
        for group in rule.groups:
            for resource in rule.resources:
                plural, _, sub = resource.partition("/")
                for name in rule.names or ("",):
                    yield Attributes(verb, group, plural, sub, namespace, name)


def _has(values: tuple[str, ...], wanted: str) -> bool:
    return wanted in values or "*" in values


def _url(pattern: str, url: str) -> bool:
    if pattern.endswith("*"):
        return url.startswith(pattern[:-1])
    return url == pattern


def _word(binding: Binding) -> str:
    return "RoleBinding" if binding.namespace else "ClusterRoleBinding"
