"""What a write would change for whom, said to who tries it (`?dryRun=All`): the policy diff of the mesh with and without it. Pure.

Of workloads that policy cannot tell apart one is asked. Each line names a caller, whom it calls, the operation and the
rules that decide before and after, as `pylis policy diff` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeVar

from controlplane.mesh.mesh import Mesh
from controlplane.mesh.targets import policies_of, targets_of
from controlplane.request_words import caller_words, request_words
from controlplane.resources.workload_entry import WorkloadEntry
from policies.authorization_policy import AuthorizationPolicy
from policies.diff import Change, diff
from policies.pattern import TooManyError
from policies.peer_authentication import PeerAuthentication
from policies.program import Protocol
from policies.request_authentication import RequestAuthentication
from policies.selector import selects

MOST_TARGETS: Final = 40
MOST_LINES: Final = 10
KINDS: Final = frozenset({"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"})
_Any = TypeVar("_Any", AuthorizationPolicy, PeerAuthentication, RequestAuthentication)
_Selecting = AuthorizationPolicy | PeerAuthentication | RequestAuthentication


@dataclass(frozen=True, slots=True)
class Trial:
    """The mesh as it is and as it would be; `objects`: the one that differs, as it was and would be."""

    before: Mesh
    after: Mesh
    objects: tuple[object, ...]


def what_if(trial: Trial) -> list[str]:
    """A line a change, the sum first; a line of why not, where it cannot be said."""
    objects = [o for o in trial.objects if isinstance(o, _Selecting)]
    alike = {_kind(entry): entry for entry in trial.before.entries if _concerns(trial.before, objects, entry)}
    if not alike:
        return ["what if: no workload is selected; nothing changes yet"]
    entries = tuple(alike.values())
    places = {entry.namespace for entry in entries}
    services = tuple(s for s in trial.before.services if s.namespace in places)
    targets = targets_of(replace(trial.before, entries=entries, services=services))
    if not targets:
        return ["what if: no service leads to the workloads it selects; nothing changes yet"]
    try:
        found = diff(policies_of(trial.before), policies_of(trial.after), targets[:MOST_TARGETS])
    except TooManyError as error:
        return [f"what if: cannot be said: {error}"]
    rows = list(dict.fromkeys(_row(change) for change in found.changes))
    gained = sum(row.startswith("+") for row in rows)
    more = f" of the first {MOST_TARGETS} of {len(targets)} ports" if len(targets) > MOST_TARGETS else ""
    head = f"what if: {found.relation}{more} ({gained} gained, {len(rows) - gained} lost)"
    left = [f"… and {len(rows) - MOST_LINES} more"] if len(rows) > MOST_LINES else []
    tokens = [f"! {name}: which tokens are accepted changes" for name in found.tokens[:MOST_LINES]]
    return [head, *rows[:MOST_LINES], *left, *tokens]


def _row(change: Change) -> str:
    target, request = change.target, change.witness.request
    what = f"{request.method} {request.path}" if target.protocol is Protocol.HTTP else "TCP"
    return (
        f"{'+' if change.gained else '-'} {caller_words(request)} -> "
        f"{target.workload.namespace}/{target.workload.name}:{target.port} {what} "
        f"({change.before.rule} -> {change.after.rule}; e.g. {request_words(request, target.protocol)})"
    )


def _concerns(mesh: Mesh, objects: list[_Selecting], entry: WorkloadEntry) -> bool:
    root = mesh.settings.root_namespace
    return any(o.namespace in (root, entry.namespace) and selects(o.selector, entry.labels) for o in objects)


def _kind(entry: WorkloadEntry) -> tuple[object, ...]:
    return entry.namespace, entry.service_account, tuple(sorted(entry.labels.items()))


def changed(before: Mesh, old: object | None, new: object | None) -> Mesh:
    """The mesh with one object of a policy kind in another's place; `old` and `new` are of one kind and name."""
    one = old if new is None else new

    def placed(present: tuple[_Any, ...], kind: type[_Any]) -> tuple[_Any, ...]:
        if not isinstance(one, kind):
            return present
        with_it = [new] if isinstance(new, kind) else []
        name = one.full_name
        at = next((i for i, o in enumerate(present) if o.full_name == name), len(present))
        return (*present[:at], *with_it, *present[at + 1 :])

    return replace(
        before,
        policies=placed(before.policies, AuthorizationPolicy),
        peer_authentications=placed(before.peer_authentications, PeerAuthentication),
        request_authentications=placed(before.request_authentications, RequestAuthentication),
    )
