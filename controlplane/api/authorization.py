"""Roles and bindings as they stand in the store, and the questions a write raises beyond its verb.

The policy is rebuilt when the store's log says that one of its objects changed: no request is decided by an older
one than this server knows. A role that cannot be read grants nothing.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from controlplane.access import AccessPolicy, Attributes, Caller, Verdict
from controlplane.api.errors import forbidden
from controlplane.api.ownership import owners_of, selects_workload
from controlplane.resources.kinds import Kind, by_plural
from controlplane.resources.rbac import GROUP, Binding, Role, Rule
from controlplane.store.freshness import Freshness
from controlplane.store.port import Store
from policies.document import Document

_KINDS: Final = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
RESOURCES: Final = frozenset(f"{plural}.{GROUP}" for plural in _KINDS)
_SELECTING: Final = frozenset({"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"})
WORKLOADS: Final = "workloadentries.networking.istio.io"


class Authorization:
    """`root_namespace`: its policies hold for the whole mesh."""

    def __init__(self, store: Store, root_namespace: str) -> None:
        self._store = store
        self._root = root_namespace
        self._fresh = Freshness(store, RESOURCES)
        self._policy = AccessPolicy()

    async def policy(self) -> AccessPolicy:
        while not self._fresh.is_fresh():
            objects: list[object] = []
            with self._fresh.reading():
                for plural in _KINDS:
                    kind = by_plural(GROUP, plural)
                    if kind is not None:
                        records, _ = await self._store.list(kind.resource)
                        objects += [_parsed(kind, record.value) for record in records]
            self._policy = AccessPolicy.of(o for o in objects if o is not None)
        return self._policy

    async def decide(self, caller: Caller, wanted: Attributes) -> Verdict:
        return (await self.policy()).decide(caller, wanted)

    async def require(self, caller: Caller, wanted: Attributes) -> None:
        """Raises: ApiError 403 that names the missing permission."""
        verdict = await self.decide(caller, wanted)
        if not verdict.allowed:
            raise forbidden(wanted, verdict.reason)

    async def require_write(
        self, caller: Caller, kind: Kind, wanted: Attributes, versions: Iterable[Mapping[str, Any] | None]
    ) -> None:
        """What a write needs beside its verb; `versions`: the object before and after. Raises: ApiError 403."""
        present = [v for v in versions if v is not None]
        if kind.group == GROUP:
            await self._no_escalation(caller, kind, wanted, present[-1:])
        if kind.kind in _SELECTING or kind.resource == WORKLOADS:
            await self._owned(caller, kind, wanted, present)

    async def _no_escalation(
        self, caller: Caller, kind: Kind, wanted: Attributes, versions: Iterable[Mapping[str, Any]]
    ) -> None:
        """Nobody hands out what they do not hold."""
        if wanted.verb in ("delete", "deletecollection"):
            return
        policy = await self.policy()
        for version in versions:
            match _parsed(kind, version):
                case Role(rules=rules):
                    lifted = "escalate"
                case Binding() as binding:
                    role = policy.role_of(binding)
                    rules, lifted = (role.rules if role else ()), "bind"
                case _:
                    continue
            may = policy.decide(caller, _with_verb(wanted, lifted))
            missing = [] if may.allowed else policy.missing(caller, rules, wanted.namespace)
            if missing:
                text = (
                    f'user "{caller.name}" is attempting to grant permissions they do not hold: {missing[0]}'
                )
                raise forbidden(wanted, text)

    async def _owned(
        self, caller: Caller, kind: Kind, wanted: Attributes, versions: list[Mapping[str, Any]]
    ) -> None:
        """The destination's owner decides who may reach it."""
        if kind.kind in _SELECTING and wanted.namespace == self._root:
            everywhere = Attributes(wanted.verb, wanted.group, wanted.resource, name=wanted.name)
            await self.require(caller, everywhere)
        scope = None if wanted.namespace == self._root else wanted.namespace
        if kind.resource == WORKLOADS:
            entries = [(str(v["metadata"].get("name", "")), v) for v in versions]
        else:
            records, _ = await self._store.list(WORKLOADS, scope)
            marked = [r for r in records if "pylis.io/owners" in r.text]
            entries = [
                (r.key.name, v) for r in marked if any(selects_workload(p, v := r.value) for p in versions)
            ]
        for name, entry in entries:
            owners = owners_of(entry)
            if not owners or any(map(caller.is_meant_by, owners)):
                continue
            override = Attributes(
                "override", "networking.istio.io", "workloadentries", "", wanted.namespace, name
            )
            if not (await self.decide(caller, override)).allowed:
                names = ", ".join(f"{o.kind} {o.name}" for o in owners)
                text = f'workload "{name}" is owned by {names}; user "{caller.name}" is none of them and cannot {override}'
                raise forbidden(wanted, text)


def _parsed(kind: Kind, value: Mapping[str, Any]) -> object | None:
    metadata = {f: value["metadata"][f] for f in ("name", "namespace") if f in value["metadata"]}
    body = {f: value[f] for f in kind.body if f in value}
    parsed, _ = kind.parse(
        Document({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body})
    )
    return parsed


def _with_verb(wanted: Attributes, verb: str) -> Attributes:
    return Attributes(verb, wanted.group, wanted.resource, "", wanted.namespace, wanted.name)


def rule_json(rule: Rule) -> dict[str, list[str]]:
    """As a SelfSubjectRulesReview shows it."""
    if rule.urls:
        return {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.urls)}
    shown = {"verbs": list(rule.verbs), "apiGroups": list(rule.groups), "resources": list(rule.resources)}
    return shown | ({"resourceNames": list(rule.names)} if rule.names else {})
