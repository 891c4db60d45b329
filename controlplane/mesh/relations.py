"""How an object stands to others: what it names and is not there, and what older object has its place. Pure.

    AuthorizationPolicy, RequestAuthentication   selects no workload; provider that nobody declared
    PeerAuthentication                           selects no workload; an older one of the same scope decides
    ServiceEntry                                 no workload behind it; a host and port that an older one has
    WorkloadEntry                                upstreams that no ServiceEntry has
    FederatedTrustDomain                         an older one of the same trust domain counts; our own trust domain

None of it is an error of the object: what is missing may come, what is in the way may go. It is said in conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ca.spiffe_id import TrustDomain
from controlplane.resources.federated_trust_domain import FederatedTrustDomain
from controlplane.resources.service_entry import ServiceEntry
from policies.authorization_policy import AuthorizationPolicy
from policies.peer_authentication import PeerAuthentication
from policies.program import Action
from policies.request_authentication import RequestAuthentication
from policies.workload import MeshSettings

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Word:
    """`reason` in CamelCase for programs, `message` for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Relations:
    """`dangling`: what is not there; `conflict`: who has its place. None: nothing to say."""

    dangling: Word | None = None
    conflict: Word | None = None


def of_policy(
    policy: AuthorizationPolicy | RequestAuthentication, settings: MeshSettings, *, selects: bool
) -> Relations:
    provider = (
        policy.provider if isinstance(policy, AuthorizationPolicy) and policy.action is Action.CUSTOM else ""
    )
    if provider and settings.authorizer(provider) is None:
        text = f'no authorizer is named "{provider}": what the rules match is denied until one is'
        return Relations(Word("ProviderNotFound", text))
    in_root = policy.namespace == settings.root_namespace
    if selects or policy.targets or (in_root and not policy.selector):
        return Relations()
    return Relations(_no_workload("the mesh" if in_root else policy.namespace, policy.selector))


def of_modes(found: PeerAuthentication, older: Sequence[object], *, selects: bool) -> Relations:
    dangling = None if selects else _no_workload(found.namespace, found.selector)
    names = [one.full_name for one in older if isinstance(one, PeerAuthentication)]
    if not names:
        return Relations(dangling)
    text = f"{names[0]} is older and selects the same workloads: its modes hold"
    return Relations(dangling, Word("OlderOneDecides", text))


def of_service(
    found: ServiceEntry, taken: Mapping[tuple[str, int], ServiceEntry], *, has_workloads: bool
) -> Relations:
    """`taken`: which host and port leads to an older entry's workloads."""
    dangling = None if has_workloads else _no_workload(found.namespace, found.selector)
    if not taken:
        return Relations(dangling)
    rivals = [
        f"{host}:{port} is {one.namespace}/{one.name}'s"
        for (host, port), one in sorted(taken.items(), key=lambda t: t[0])
    ]
    return Relations(dangling, Word("HostTaken", f"{_listed(rivals)}: the older entry is called"))


def of_workload(unknown: Sequence[tuple[str, int]]) -> Relations:
    if not unknown:
        return Relations()
    text = f"no ServiceEntry has {_listed(f'{host}:{port}' for host, port in unknown)}: calls of it fail"
    return Relations(Word("UpstreamNotFound", text))


def of_trust_domain(found: FederatedTrustDomain, own: TrustDomain, older: Sequence[object]) -> Relations:
    if found.trust_domain == own:
        return Relations(conflict=Word("OwnTrustDomain", f"{own.name} is this mesh itself: it is left out"))
    names = [one.name for one in older if isinstance(one, FederatedTrustDomain)]
    if not names:
        return Relations()
    return Relations(
        conflict=Word("OlderOneDecides", f"{names[0]} is older and of the same trust domain: it counts")
    )


def _no_workload(namespace: str, selector: Mapping[str, str]) -> Word:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
    carrying = f" that carries {labels}" if labels else ""
    return Word("NoWorkloads", f"{namespace} has no workload{carrying}")


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more
