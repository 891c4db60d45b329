"""ProxyPlan → Snapshot: pure, deterministic, a file a concern.

clusters and endpoints, tls, listeners, filters (and their order), routes, rbac (with its matcher tree and the
keys it looks at), access_log. Nothing here decides what a rule means or who may call whom.

A plan is compiled part by part; a `Compiler` remembers parts, so that replicas of a workload share what is equal
and an edit costs what it changed. A part is given nothing but what it may depend on:

    app         one InboundPort without program and address: the way to the application
    listener    one with no more of its program than a listener holds, and the plan's settings; then its address
    program     one DecisionProgram and its surroundings: the authorization of a port
    cut         the revoked: what ends their TCP connections that are open
    destination one Destination: cluster and endpoints
    outbound    one loopback listener; and its routes, which depend on all destinations
    intercepted two listeners for all there is, where the namespace's TCP is redirected
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Final

from policies.program import DecisionProgram, Protocol, Revoked
from xds import names
from xds.compile import clusters, cut, intercepted, listeners, rbac, routes
from xds.compile.memo import ByIdentity, Recent, WhileHeld
from xds.compile.proxyless import compile_proxyless, shortfalls
from xds.compile.surroundings import Surroundings
from xds.plan import Destination, InboundPort, Interception, ProxyPlan, SocketAddress, Upstream
from xds.snapshot import EXTENSION, RUNTIME, Resource, Snapshot, Table

_NO_PROGRAM: Final = DecisionProgram(Protocol.HTTP, 0)
_ANYWHERE: Final = SocketAddress("0.0.0.0", 0)  # noqa: S104 - stands for an address that does not matter

_rest_of_plan: Final = attrgetter(
    *(f.name for f in fields(ProxyPlan) if f.name not in ("inbound", "destinations"))
)
_rest_of_port: Final = attrgetter(*(f.name for f in fields(InboundPort) if f.name != "program"))
_MANY: Final = 400  # clauses or values; more take longer than others should be kept waiting
_SCOPES: Final = 1_000

Parts = tuple[Resource, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """`run` may be called in any thread, and its result given to `keep` in the compiler's own; equal keys, equal work."""

    key: Hashable
    run: Callable[[], Resource]
    keep: Callable[[Resource], None]


@dataclass(frozen=True, slots=True)
class _Called:
    """A destination: compiled, and as routes and listeners see it (`bare`: they look at no endpoint)."""

    parts: Parts
    bare: Destination
    place: tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Scope:
    """All that a proxy may call. Old ones are kept a while: what they hold is shared, so that they are small."""

    of: tuple[Destination, ...]
    called: tuple[_Called, ...]
    bare: tuple[Destination, ...]
    places: frozenset[tuple[str, int]]


def compile_plan(plan: ProxyPlan) -> Snapshot:
    """Every resource the proxy needs; an upstream whose service is out of scope gets no listener."""
    return Compiler().snapshot(plan)


class Compiler:
    """`snapshot` gives what `compile_plan` gives. One thread."""

    def __init__(self) -> None:
        self._programs: ByIdentity[DecisionProgram, dict[Hashable, Parts]] = ByIdentity()
        self._destinations: ByIdentity[Destination, _Called] = ByIdentity()
        self._scopes: Recent[_Scope] = Recent(_SCOPES)
        self._parts: WhileHeld[Resource] = WhileHeld()
        self._tables: WhileHeld[Table] = WhileHeld()

    def snapshot(self, plan: ProxyPlan, previous: tuple[ProxyPlan, Snapshot] | None = None) -> Snapshot:
        """Shares with `previous`, what the proxy was told before and why, all that did not change."""
        if plan.proxyless:
            return replace(compile_proxyless(plan), notes=shortfalls(plan))
        if previous is not None and _differ_in_programs_only(plan, previous[0]):
            edited = previous[1].with_table(EXTENSION, self._authorizations(plan))
            if _revoked(plan) == _revoked(previous[0]):
                return edited
            return edited.with_table(RUNTIME, Table.of([cut.runtime(_revoked(plan))]))
        return self._shared(self._whole(plan, previous[1] if previous else None))

    def heavy(self, plan: ProxyPlan) -> list[Work]:
        """What of the plan takes long to compile and is not compiled yet: `snapshot` is quick when it has been done."""
        large = [p for p in plan.inbound if not plan.proxyless and _is_large(p.program)]
        if not large:
            return []
        places, keys = self._scope(plan.destinations).places, dict(plan.jwks)
        found: list[Work] = []
        for port in large:
            near = Surroundings.of(port.program, plan.trust_domains, places, keys)
            known = self._programs.get(port.program, lambda _: {})
            if (port.name, near) not in known:
                found.append(_work(port, near, known))
        return found

    def _authorizations(self, plan: ProxyPlan) -> Table:
        """Of all ports; replicas have the same programs, and share the table."""
        ports = tuple((port.name, id(port.program), cut.ends_open(port)) for port in plan.inbound)
        key = (EXTENSION, ports, id(plan.destinations), plan.trust_domains, plan.jwks)
        alive = (plan.destinations, tuple(port.program for port in plan.inbound))
        return self._tables.get(key, lambda: (Table.of(self._authorized(plan)),), basis=alive)[0]

    def _authorized(self, plan: ProxyPlan) -> Parts:
        places, keys = self._scope(plan.destinations).places, dict(plan.jwks)
        around = (Surroundings.of(p.program, plan.trust_domains, places, keys) for p in plan.inbound)
        parts = (self._authorization(p, near) for p, near in zip(plan.inbound, around, strict=True))
        found = tuple(resource for part in parts for resource in part)
        return (*found, *_ending_open(plan))

    def _whole(self, plan: ProxyPlan, previous: Snapshot | None) -> Snapshot:
        settings = replace(
            plan, node_id="", inbound=(), http_proxy=None, destinations=(), upstreams=(), jwks=()
        )
        scope, keys = self._scope(plan.destinations), dict(plan.jwks)
        found: list[Resource] = [cut.runtime(_revoked(plan)), *_ending_open(plan)]

        def around(program: DecisionProgram) -> Surroundings:
            return Surroundings.of(program, plan.trust_domains, scope.places, keys)

        for port in plan.inbound:
            found.append(self._app(port))
            found += self._authorization(port, around(port.program))
        if plan.interception is None:
            found += [self._listener(port, around, settings) for port in plan.inbound]
            found += [part for one in scope.called for part in one.parts]
        else:
            found += self._intercepted(plan, plan.interception, around, settings)
        for make, key in _outbound(plan, scope, settings):
            found += self._parts.get(key, make)
        return Snapshot.of(found, previous)

    def _shared(self, snapshot: Snapshot) -> Snapshot:
        """Of tables with the same resources there is one: it holds them, so what is known of it holds as long as it does."""

        def one(type_url: str, table: Table) -> Table:
            key = (type_url, *map(id, table.values()))
            return self._tables.get(key, lambda: (table,))[0]

        return Snapshot({t: one(t, table) for t, table in snapshot.by_type.items()}, snapshot.notes)

    def _scope(self, destinations: tuple[Destination, ...]) -> _Scope:
        """Replicas are planned with one tuple: what it comes to is remembered by what it is, not by what it holds."""
        known = self._scopes.get(id(destinations), lambda: self._new_scope(destinations))
        if known.of is not destinations:
            known = self._scopes.put(id(destinations), self._new_scope(destinations))
        return known

    def _new_scope(self, destinations: tuple[Destination, ...]) -> _Scope:
        called = tuple(self._destinations.get(target, _called) for target in destinations)
        places = frozenset(one.place for one in called)
        return _Scope(destinations, called, tuple(one.bare for one in called), places)

    def _app(self, port: InboundPort) -> Resource:
        bare = replace(port, program=_NO_PROGRAM, listen=_ANYWHERE)
        make = lambda: (Resource.of(names.app_cluster(bare.name), clusters.app(bare)),)  # noqa: E731
        return self._parts.get(bare, make)[0]

    def _listener(
        self, port: InboundPort, around: Callable[[DecisionProgram], Surroundings], settings: ProxyPlan
    ) -> Resource:
        """Replicas differ in nothing but the address: it is put into what one of them made."""
        bare = replace(port, program=listeners.needed(port.program), listen=_ANYWHERE, app=_ANYWHERE)
        near, name = around(bare.program), names.inbound(port.name)
        make = lambda: (Resource.of(name, listeners.inbound(bare, near, settings)),)  # noqa: E731
        template = self._parts.get((bare, near, settings), make)[0]
        place = lambda: (Resource.of(name, listeners.at(template.body, port.listen)),)  # noqa: E731
        return self._parts.get((template.version, port.listen), place, basis=template)[0]

    def _intercepted(
        self,
        plan: ProxyPlan,
        taken: Interception,
        around: Callable[[DecisionProgram], Surroundings],
        settings: ProxyPlan,
    ) -> list[Resource]:
        bare = [
            replace(port, program=listeners.needed(port.program), listen=_ANYWHERE) for port in plan.inbound
        ]
        ports = tuple((port, around(port.program)) for port in bare)
        near = tuple(intercepted.reachable(target, taken) for target in plan.destinations)
        return [
            *self._parts.get(("in", ports, settings), lambda: _intercepted_inbound(ports, taken, settings)),
            *(part for one in near for part in self._parts.get(one, lambda one=one: _destination(one))),
            *self._parts.get(("out", near, settings), lambda: _intercepted_outbound(near, taken, settings)),
        ]

    def _authorization(self, port: InboundPort, around: Surroundings) -> Parts:
        known = self._programs.get(port.program, lambda _: {})
        key = (port.name, around)
        if key not in known:
            known[key] = (_extension(port, around),)
        return known[key]


def _ending_open(plan: ProxyPlan) -> Parts:
    return (cut.extension(),) if any(map(cut.ends_open, plan.inbound)) else ()


def _revoked(plan: ProxyPlan) -> Revoked:
    """They are the same on every port; a proxy that would not look is not told."""
    return next((port.program.revoked for port in plan.inbound if cut.ends_open(port)), Revoked())


def _extension(port: InboundPort, around: Surroundings) -> Resource:
    return Resource.of(names.authorization(port.name), rbac.extension(port.name, port.program, around))


def _work(port: InboundPort, around: Surroundings, known: dict[Hashable, Parts]) -> Work:
    key = (port.name, around)

    def keep(made: Resource) -> None:
        known[key] = (made,)

    return Work((id(port.program), *key), lambda: _extension(port, around), keep)


def _is_large(program: DecisionProgram) -> bool:
    clauses = (*program.deny, *program.allow)
    if len(clauses) > _MANY:
        return True
    return sum(len(condition.values) for clause in clauses for condition in clause.conditions) > _MANY


def _intercepted_inbound(
    ports: Sequence[tuple[InboundPort, Surroundings]], taken: Interception, settings: ProxyPlan
) -> Parts:
    name = names.INTERCEPTED_INBOUND
    return (Resource.of(name, intercepted.inbound(ports, taken, settings)),)


def _intercepted_outbound(
    destinations: tuple[Destination, ...], taken: Interception, settings: ProxyPlan
) -> Parts:
    named = [target for target in destinations if target.protocol.is_http]
    found = [
        Resource.of(names.INTERCEPTED_OUTBOUND, intercepted.outbound(destinations, taken, settings)),
        Resource.of(names.OUTBOUND_HTTP, routes.outbound(named)),
    ]
    if taken.passthrough:
        found.append(Resource.of(names.PASSTHROUGH, clusters.passthrough()))
        found.append(Resource.of(names.ELSEWHERE, routes.elsewhere(named)))
    return tuple(found)


def _differ_in_programs_only(new: ProxyPlan, old: ProxyPlan) -> bool:
    """What an edit of policy comes to, as a rule; said without hashing or compiling anything."""
    if new.destinations is not old.destinations or len(new.inbound) != len(old.inbound):
        return False
    if _rest_of_plan(new) != _rest_of_plan(old):
        return False
    return all(
        _rest_of_port(a) == _rest_of_port(b) and listeners.needed(a.program) == listeners.needed(b.program)
        for a, b in zip(new.inbound, old.inbound, strict=True)
    )


def _called(target: Destination) -> _Called:
    return _Called(
        _destination(target), replace(target, endpoints=(), identities=()), (target.host, target.port)
    )


def _destination(target: Destination) -> Parts:
    name = names.destination(target.host, target.port)
    return (
        Resource.of(name, clusters.destination(target)),
        Resource.of(name, clusters.endpoints(target)),
    )


def _outbound(
    plan: ProxyPlan, scope: _Scope, settings: ProxyPlan
) -> list[tuple[Callable[[], Parts], Hashable]]:
    """Each with the key of all it depends on."""
    parts: list[tuple[Callable[[], Parts], Hashable]] = []
    if (proxy := plan.http_proxy) is not None:
        name = names.OUTBOUND_HTTP
        listener = lambda: (Resource.of(name, listeners.outbound_http(proxy, settings)),)  # noqa: E731
        parts.append((listener, (proxy, settings)))
        parts.append((lambda: (Resource.of(name, routes.outbound(scope.bare)),), scope.bare))
    reachable = {one.place: one.bare for one in scope.called} if plan.upstreams else {}
    for declared in plan.upstreams:
        target = reachable.get((declared.host, declared.port))
        if target is not None:
            parts.append(
                (lambda d=declared, t=target: _upstream(d, t, settings), (declared, target, settings))
            )
    return parts


def _upstream(declared: Upstream, target: Destination, settings: ProxyPlan) -> Parts:
    name = names.upstream(declared.name)
    listener = Resource.of(name, listeners.upstream(declared, target, settings))
    if not target.protocol.is_http:
        return (listener,)
    return listener, Resource.of(name, routes.upstream(declared.name, target))
