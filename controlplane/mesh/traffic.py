"""How one caller sees a destination: by the DestinationRule that holds for it, and by where the caller runs.

Which rule: the caller's namespace before the service's before the root namespace; in each the most specific host,
and of the same host the oldest that is exported to the caller. A caller in the root namespace looks at the
service's namespace first, as in Istio: rules there are meant for everybody.

    endpoint in the caller's           is called
    region, zone and subzone           first
    region and zone                    next
    region                             then
    failover region (by rule)          then; without a rule for the caller's region, any region
    elsewhere                          last
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from controlplane.resources.destination_rule import DestinationRule, LocalityPreference, PortPolicy
from xds.plan import Destination, Endpoint, Locality
from xds.traffic import TrafficPolicy

RuleKey = tuple[str, str]  # namespace and host, as the rule writes it
Rules = Mapping[RuleKey, Sequence[DestinationRule]]  # the oldest first

_DEFAULT = PortPolicy()
_NO_TRAFFIC = TrafficPolicy()


def rules_by_host(found: Iterable[DestinationRule]) -> dict[RuleKey, list[DestinationRule]]:
    """`found`: oldest first."""
    table: dict[RuleKey, list[DestinationRule]] = {}
    for rule in found:
        table.setdefault((rule.namespace, rule.host), []).append(rule)
    return table


def patterns(host: str) -> Iterator[str]:
    """Every host of a rule that matches, the most specific first."""
    yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield "*"


def chosen(rules: Rules, caller: str, service: str, host: str, root: str) -> DestinationRule | None:
    """`caller` and `service`: their namespaces."""
    if not rules:
        return None
    order = (service, root) if caller == root else (caller, service, root)
    for namespace in dict.fromkeys(order):
        for pattern in patterns(host):
            for rule in rules.get((namespace, pattern), ()):
                if rule.is_visible_in(caller):
                    return rule
    return None


def as_seen(destination: Destination, rule: DestinationRule | None, here: Locality) -> Destination:
    """The very destination where nothing is special about it."""
    policy = _DEFAULT if rule is None else rule.of_port(destination.port)
    traffic = None if policy.traffic == _NO_TRAFFIC else policy.traffic
    endpoints = _by_distance(destination.endpoints, here, policy.locality)
    if traffic is None and endpoints == destination.endpoints:
        return destination
    return replace(destination, traffic=traffic, endpoints=endpoints)


def _by_distance(
    endpoints: tuple[Endpoint, ...], here: Locality, preference: LocalityPreference
) -> tuple[Endpoint, ...]:
    if not preference.enabled or not here.region:
        return endpoints
    onward = dict(preference.failover).get(here.region, "")
    distances = [_distance(here, one.locality, onward) for one in endpoints]
    rank = {distance: number for number, distance in enumerate(sorted(set(distances)))}
    if len(rank) < 2:
        return endpoints
    return tuple(replace(one, priority=rank[d]) for one, d in zip(endpoints, distances, strict=True))


def _distance(here: Locality, there: Locality, onward: str) -> int:
    if here.region != there.region:
        return 4 if onward and there.region != onward else 3
    if here.zone != there.zone:
        return 2
    return 0 if here.subzone == there.subzone else 1
