"""Services as something to be called: what each is, and how callers see it by their DestinationRule and locality.

What callers of one namespace and locality see is made once and shared: equal scopes hold the same objects.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from controlplane.mesh import planning
from controlplane.mesh.deciding import Decisions
from controlplane.mesh.graph import Graph, Node, Place, Target
from controlplane.mesh.traffic import RuleKey, as_seen, chosen
from controlplane.resources.destination_rule import DestinationRule
from controlplane.resources.sidecar import Egress, admits
from xds.plan import Destination, Locality


class Destinations:
    def __init__(self, graph: Graph, decisions: Decisions, root_namespace: str) -> None:
        self._graph = graph
        self._decisions = decisions
        self._root = root_namespace
        self._rules: dict[RuleKey, list[DestinationRule]] = {}  # what holds, the oldest first
        self._aged: dict[RuleKey, dict[Hashable, tuple[int, DestinationRule]]] = {}

    def put(self, key: Hashable, created: int, rule: DestinationRule) -> None:
        self._aged.setdefault((rule.namespace, rule.host), {})[key] = (created, rule)
        self._rules_again(rule)

    def remove(self, key: Hashable, rule: DestinationRule) -> None:
        del self._aged[rule.namespace, rule.host][key]
        self._rules_again(rule)

    def again(self, target: Target) -> None:
        """The target's service, its members or their modes changed."""
        members = [entry for group in target.service.groups for entry in group.entries.values()]
        for host in dict.fromkeys(target.service.entry.hosts):
            new = planning.destination(host, target.port, members, self._decisions.look)
            if target.destinations.get(host) != new:
                target.destinations[host] = new
                target.seen.clear()
                self._graph.tell_users(target)

    def told(self, node: Node, egress: tuple[Egress, ...] | None) -> Iterator[Destination]:
        """All that a node's sidecar is told of, oldest service first."""
        graph, namespace = self._graph, node.entry.namespace
        reach = graph.identities[node.group.identity.principal].reach
        wanted = {t: None for place in node.declared for t in graph.by_host.get(place, ())}
        seen: set[Place] = set()
        for target in sorted({**reach, **wanted}, key=lambda t: t.age):
            service = target.service.entry
            for host in service.hosts:
                place = (host, target.port.number)
                may = target in reach or place in node.declared
                may = (may and admits(egress, namespace, service.namespace, host)) or place in node.asked
                if may and place not in seen:
                    seen.add(place)
                    yield self._seen(target, host, namespace, node.entry.locality)

    def _seen(self, target: Target, host: str, namespace: str, here: Locality) -> Destination:
        key = (host, namespace, here)
        if key not in target.seen:
            rule = chosen(self._rules, namespace, target.service.entry.namespace, host, self._root)
            target.seen[key] = as_seen(target.destinations[host], rule, here)
        return target.seen[key]

    def _rules_again(self, rule: DestinationRule) -> None:
        key = (rule.namespace, rule.host)
        if aged := self._aged[key]:
            self._rules[key] = [one for _, one in sorted(aged.values(), key=lambda pair: pair[0])]
        else:
            del self._aged[key], self._rules[key]
        for target in self._matching(rule.host):
            target.seen.clear()
            self._graph.tell_users(target)

    def _matching(self, pattern: str) -> list[Target]:
        if not pattern.startswith("*"):
            return list(self._graph.hosts.get(pattern, ()))
        suffix = pattern[1:]
        found = (targets for host, targets in self._graph.hosts.items() if host.endswith(suffix))
        return list({target: None for targets in found for target in targets})
