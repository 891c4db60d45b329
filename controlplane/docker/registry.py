"""What becomes of an agent's report: registrations, workload entries and services. Pure.

An agent may be granted namespaces; what it reports for others is not taken. Whatever is written for an agent
carries its name in the label `pylis.io/agent`: it changes its own objects, never an operator's or another agent's.

    container            WorkloadEntry         its address, and that all its TCP goes through the sidecar
    account              ServiceEntry          its hosts and ports, and the containers behind it
    account, selectors   WorkloadRegistration  which containers of this agent hold the identity

A container that asks only to be observed is, unless its namespace says that its service is enforced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ca.node_report import FoundPort, FoundWorkload, NotTaken
from controlplane.resources import kinds
from controlplane.resources.namespace import Namespace
from policies import observe
from policies.document import Document

OWNER: Final = "pylis.io/agent"
SERVICE: Final = "pylis.io/service"
INBOUND_PORT: Final = 15006
OUTBOUND_PORT: Final = 15001
KINDS: Final = (
    "workloadregistrations.pylis.io",
    "workloadentries.networking.istio.io",
    "serviceentries.networking.istio.io",
)

Object = dict[str, Any]
Name = tuple[str, str, str]  # resource, namespace, name


@dataclass(frozen=True, slots=True)
class Registered:
    """`objects`: all that is to be there for the agent; `not_taken`: what it reported in vain."""

    objects: Mapping[Name, Object]
    not_taken: tuple[NotTaken, ...]


def registered(
    agent: str,
    granted: frozenset[str],
    found: Iterable[FoundWorkload],
    taken: frozenset[Name],
    namespaces: Mapping[str, Namespace] = MappingProxyType({}),
) -> Registered:
    """`granted`: the agent's namespaces; `taken`: names of objects that are not the agent's."""
    objects: dict[Name, Object] = {}
    not_taken: list[NotTaken] = []
    by_account: dict[tuple[str, str], list[FoundWorkload]] = {}
    for workload in found:
        enforced = is_enforced(namespaces, workload.namespace, workload.service_account)
        mine = {**_entry(agent, workload, enforced=enforced), **_registration(agent, workload)}
        if reason := _refusal(workload, granted) or _conflict(mine, taken) or _invalid(mine):
            not_taken.append(NotTaken(f"{workload.namespace}/{workload.name}", reason))
            continue
        objects |= mine
        by_account.setdefault((workload.namespace, workload.service_account), []).append(workload)
    for (namespace, account), members in by_account.items():
        service = _service(agent, namespace, account, members)
        if reason := _conflict(service, taken) or _invalid(service):
            not_taken.append(NotTaken(f"{namespace}/{account}", reason))
        else:
            objects |= service
    return Registered(objects, tuple(not_taken))


def _refusal(workload: FoundWorkload, granted: frozenset[str]) -> str:
    if workload.namespace in granted:
        return ""
    known = ", ".join(sorted(granted)) or "none"
    return f"this agent may not register in namespace {workload.namespace} (granted: {known}; pylis server --container-agent)"


def _conflict(objects: Mapping[Name, Object], taken: frozenset[Name]) -> str:
    found = sorted(objects.keys() & taken)
    return f"{found[0][0]} {found[0][1]}/{found[0][2]} is somebody else's" if found else ""


def _invalid(objects: Mapping[Name, Object]) -> str:
    for body in objects.values():
        _, problems = kinds.parse(Document(body))
        for problem in problems:
            if problem.is_error:
                return f"{problem.path}: {problem.message}"
    return ""


def is_enforced(namespaces: Mapping[str, Namespace], namespace: str, account: str) -> bool:
    return namespace in namespaces and namespaces[namespace].enforces(account)


def mode_patch(entry: Object, namespaces: Mapping[str, Namespace]) -> Object | None:
    """What is to change in a workload entry of an agent's, so that it is observed or not as its namespace says now."""
    metadata, spec = entry["metadata"], entry["spec"]
    asks = metadata.get("annotations", {}).get(observe.LABEL) == observe.OBSERVE
    enforced = is_enforced(namespaces, metadata["namespace"], spec["serviceAccount"])
    wanted = observe.OBSERVE if asks and not enforced else None
    if spec.get("labels", {}).get(observe.LABEL) == wanted:
        return None
    return {"spec": {"labels": {observe.LABEL: wanted}}}


def _entry(agent: str, found: FoundWorkload, *, enforced: bool) -> dict[Name, Object]:
    layout: dict[str, Any] = {
        "interception": {
            "inboundPort": INBOUND_PORT,
            "outboundPort": OUTBOUND_PORT,
            "ipv6": found.ipv6,
            "addresses": list(found.addresses[1:]),
            "networks": list(found.networks),
            "passthrough": found.passthrough,
        }
    }
    mode = {observe.LABEL: observe.OBSERVE} if found.observe else {}
    body = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            **_metadata(agent, found.namespace, found.name),
            "annotations": {"pylis.io/sidecar": json.dumps(layout, sort_keys=True), **mode},
        },
        "spec": {
            "address": found.addresses[0],
            "serviceAccount": found.service_account,
            "labels": {
                **found.labels,
                SERVICE: found.service_account,
                **({} if enforced else mode),
            },
        },
    }
    return {("workloadentries.networking.istio.io", found.namespace, found.name): body}


def _registration(agent: str, found: FoundWorkload) -> dict[Name, Object]:
    digest = hashlib.sha256("\n".join(sorted(found.selectors)).encode()).hexdigest()[:8]
    name = f"{found.service_account}.{digest}"
    body = {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "WorkloadRegistration",
        "metadata": _metadata(agent, found.namespace, name),
        "spec": {
            "serviceAccount": found.service_account,
            "selectors": sorted(found.selectors),
            "agents": [agent],
        },
    }
    return {("workloadregistrations.pylis.io", found.namespace, name): body}


def _service(agent: str, namespace: str, account: str, members: list[FoundWorkload]) -> dict[Name, Object]:
    """Nothing for what serves no port."""
    ports: dict[int, FoundPort] = {}
    hosts = {f"{account}.{namespace}": None}
    for member in members:
        hosts |= dict.fromkeys(member.hosts)
        for port in member.ports:
            ports.setdefault(port.number, port)
    if not ports:
        return {}
    body = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": _metadata(agent, namespace, account),
        "spec": {
            "hosts": list(hosts),
            "ports": [
                {"number": p.number, "name": f"{p.protocol.lower()}-{p.number}", "protocol": p.protocol}
                for p in sorted(ports.values(), key=lambda p: p.number)
            ],
            "workloadSelector": {"labels": {SERVICE: account}},
        },
    }
    return {("serviceentries.networking.istio.io", namespace, account): body}


def _metadata(agent: str, namespace: str, name: str) -> Object:
    return {"namespace": namespace, "name": name, "labels": {OWNER: agent}}
