"""Status conditions: what the control plane says about an object, as a pure function of what it observed.

    Accepted    True Accepted; False Invalid (stored by another version, and this one cannot read it)
    Programmed  True Programmed, NoProxies; False Pending, Refused, NotAccepted
    ResolvedRefs, Conflicted  what `mesh.relations` says, as long as there is something to say

Programmed is said once for a generation: when every connected sidecar holds a mesh that has it. A sidecar that
connects later is given the mesh of then before anything else, so the word stays true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.mesh.relations import Relations

MOST_NAMES: Final = 3  # in a message
_RELATED: Final = frozenset({"ResolvedRefs", "Conflicted"})


@dataclass(frozen=True, slots=True)
class Tally:
    """Of the connected sidecars: how many there are, how many hold the revision, what some refused.

    `known` False: some server has not said yet what its sidecars hold.
    """

    total: int = 0
    holding: int = 0
    refused: Sequence[str] = field(default_factory=list[str])
    known: bool = True

    @property
    def is_final(self) -> bool:
        return self.known and self.holding == self.total


@dataclass(frozen=True, slots=True)
class Observed:
    """Of one object. `problem` "" when it can be read; `tally` None for a kind that sidecars never see."""

    generation: int
    problem: str = ""
    tally: Tally | None = None
    relations: Relations = Relations()


def conditions(observed: Observed, before: Sequence[dict[str, Any]], now: str) -> list[dict[str, Any]]:
    """`now` (RFC 3339) is the transition time of what changed; what says the same keeps its time."""
    wanted = [_accepted(observed)]
    if observed.tally is not None:
        wanted.append(_programmed(observed, observed.tally))
    known = {c.get("type"): c for c in before}
    wanted += _related(observed.relations)
    result: list[dict[str, Any]] = []
    for type_, status, reason, message in wanted:
        old = known.get(type_, {})
        since = old.get("lastTransitionTime", now) if old.get("status") == status else now
        result.append(
            {
                "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
                "observedGeneration": observed.generation,
            }
        )  # fmt: skip
    ours = {type_ for type_, *_ in wanted} | _RELATED
    return [*result, *(c for c in before if c.get("type") not in ours)]


_Condition = tuple[str, str, str, str]


def _accepted(observed: Observed) -> _Condition:
    if observed.problem:
        return "Accepted", "False", "Invalid", observed.problem
    return "Accepted", "True", "Accepted", ""


def are_said(relations: Relations, conditions: Sequence[dict[str, Any]]) -> bool:
    """Do these conditions say how the object stands to others?"""
    said = [(c["type"], c.get("reason"), c.get("message")) for c in conditions if c.get("type") in _RELATED]
    return said == [(type_, reason, message) for type_, _, reason, message in _related(relations)]


def _related(relations: Relations) -> Iterator[_Condition]:
    """Nothing where nothing is wrong."""
    if relations.dangling is not None:
        yield "ResolvedRefs", "False", relations.dangling.reason, relations.dangling.message
    if relations.conflict is not None:
        yield "Conflicted", "True", relations.conflict.reason, relations.conflict.message


def _programmed(observed: Observed, tally: Tally) -> _Condition:
    counted = f"{tally.holding} of {tally.total} sidecars hold this generation"
    if observed.problem:
        return "Programmed", "False", "NotAccepted", "what is not accepted is sent to no sidecar"
    if tally.total == 0 and tally.known:
        return "Programmed", "True", "NoProxies", "no sidecar is connected"
    if tally.is_final:
        return "Programmed", "True", "Programmed", counted
    if tally.refused:
        more = f" and {len(tally.refused) - MOST_NAMES} more" if len(tally.refused) > MOST_NAMES else ""
        return (
            "Programmed",
            "False",
            "Refused",
            f"{counted}; refused by {', '.join(tally.refused[:MOST_NAMES])}{more}",
        )
    return "Programmed", "False", "Pending", counted
