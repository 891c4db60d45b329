"""Who may ever call what: found for a port that changed, and for an identity that is new."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from controlplane.mesh.deciding import Decisions
from controlplane.mesh.graph import Graph, Target, drop
from policies.program import DecisionProgram
from policies.scope import Audience, may_ever_allow

Key = tuple[str, str]


class Reach:
    def __init__(self, graph: Graph, decisions: Decisions) -> None:
        self._graph = graph
        self._decisions = decisions
        self._asking: dict[Key, dict[Target, None]] = {}

    def callers_again(self, target: Target, concerned: frozenset[str] | None = None) -> None:
        """`concerned`: of whom it has to be found out; None: of everybody."""
        if concerned is not None:
            self._among(target, concerned)
            return
        identities = self._graph.identities
        callers = set[str]()
        asked = dict[Key, None]()
        for group in target.service.groups:
            judged = self._decisions.judged(group, target.port)
            asked |= _listings(judged.audience)
            callers.update(self._let_in(judged.program, judged.audience))
        self.list(target, tuple(asked))
        for principal in target.callers - callers:
            identities[principal].reach.pop(target, None)
        for principal in callers - target.callers:
            identities[principal].reach[target] = None
        self._graph.dirty.principals.update(dict.fromkeys(sorted(target.callers ^ callers)))
        target.callers = callers

    def _among(self, target: Target, concerned: frozenset[str]) -> None:
        programs = [self._decisions.judged(g, target.port).program for g in target.service.groups]
        for principal in sorted(concerned & self._graph.identities.keys()):
            may_call = any(may_ever_allow(program, principal) for program in programs)
            if may_call is (principal in target.callers):
                continue
            if may_call:
                target.callers.add(principal)
                self._graph.identities[principal].reach[target] = None
            else:
                target.callers.discard(principal)
                self._graph.identities[principal].reach.pop(target, None)
            self._graph.dirty.principals[principal] = None

    def reach_of(self, principal: str) -> None:
        """An identity that was not there before: of what exists, what may it call?"""
        identity = self._graph.identities[principal]
        namespace = next(iter(identity.groups)).workload.namespace
        keys = (("principal", principal), ("namespace", namespace), ("anyone", ""))
        for target in {t: None for key in keys for t in self._asking.get(key, ())}:
            programs = (self._decisions.judged(g, target.port).program for g in target.service.groups)
            if any(may_ever_allow(program, principal) for program in programs):
                target.callers.add(principal)
                identity.reach[target] = None
        self._graph.dirty.principals[principal] = None

    def list(self, target: Target, asked: tuple[Key, ...]) -> None:
        """Under these keys an identity that comes later finds the target."""
        for key in target.asked:
            drop(self._asking, key, target)
        for key in asked:
            self._asking.setdefault(key, {})[target] = None
        target.asked = asked

    def _let_in(self, program: DecisionProgram, who: Audience) -> Iterator[str]:
        identities = self._graph.identities
        named = who.named & identities.keys()
        yield from (p for p in named if not who.denies or may_ever_allow(program, p))
        asked = identities if who.anyone else self._in(who.namespaces)
        yield from (p for p in asked if p not in named and may_ever_allow(program, p))

    def _in(self, namespaces: Collection[str]) -> Iterator[str]:
        for namespace in namespaces:
            yield from self._graph.by_namespace.get(namespace, ())


def _listings(who: Audience) -> dict[Key, None]:
    if who.anyone:
        return {("anyone", ""): None}
    named = {("principal", text): None for text in who.named}
    return named | {("namespace", text): None for text in who.namespaces}
