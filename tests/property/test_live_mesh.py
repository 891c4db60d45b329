"""Many edits, taken one by one, end where one reading of everything ends; and only proxies that changed are named."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.mesh.live import Edit, LiveMesh
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.planning import Planner
from controlplane.mesh.presence import Presence
from controlplane.resources.destination_rule import DestinationRule, LocalityPreference, PortPolicy
from controlplane.resources.quarantine import Quarantine
from controlplane.resources.service_entry import PortProtocol, ServiceEntry, ServicePort
from controlplane.resources.sidecar import Egress, Sidecar
from controlplane.resources.workload_entry import (
    InterceptionLayout,
    SidecarLayout,
    UpstreamLayout,
    WorkloadEntry,
)
from policies import observe
from policies.attributes import Attribute, Key
from policies.authentication import JwtRule
from policies.authorization_policy import AuthorizationPolicy, Match, Rule
from policies.authorizer import Authorizer, Speaks
from policies.peer_authentication import PeerAuthentication
from policies.problem import Origin
from policies.program import Action
from policies.request_authentication import RequestAuthentication
from policies.workload import MeshSettings, MtlsMode
from xds.compile import Compiler, compile_plan
from xds.plan import Locality, ProxyPlan
from xds.snapshot import Snapshot
from xds.traffic import Limits, Spread, TrafficPolicy

GUARDS = tuple(Authorizer(f"guard-{h}", Speaks.GRPC, h, 80) for h in ("a.shop", "b.shop", "nowhere"))
SETTINGS = MeshSettings("example.org", ("old.example",), authorizers=GUARDS)
KEYS = {"https://one/keys": "{}", "https://two/keys": "{}"}
NAMESPACES = ("shop", "ops")
SCOPES = (*NAMESPACES, SETTINGS.root_namespace)
ACCOUNTS = ("a", "b", "c")
AGENTS = ("one", "two")
HOSTS = ("a.shop", "b.shop", "c.shop")

namespaces = st.sampled_from(NAMESPACES)
labels = st.fixed_dictionaries(
    {"app": st.sampled_from(ACCOUNTS)},
    optional={"tier": st.sampled_from("xy"), observe.LABEL: st.just(observe.OBSERVE)},
)
selectors = st.fixed_dictionaries({}, optional={"app": st.sampled_from(ACCOUNTS), "tier": st.just("x")})
principals = st.sampled_from([f"example.org/ns/{n}/sa/{a}" for n in NAMESPACES for a in ACCOUNTS])


def matches(attribute: Attribute, values: st.SearchStrategy[str], *, negated: bool = False) -> object:
    some = st.lists(values, min_size=1, max_size=2, unique=True).map(tuple)
    return some.map(lambda v: Match(Key(attribute), v, negated, "", Origin()))


sources = st.lists(
    st.one_of(
        matches(Attribute.PRINCIPAL, principals),
        matches(Attribute.PRINCIPAL, st.sampled_from(["example.org/ns/shop/*", "*", "*/sa/a"])),
        matches(Attribute.PRINCIPAL, principals, negated=True),
        matches(Attribute.NAMESPACE, namespaces),
        matches(Attribute.NAMESPACE, st.sampled_from(["sh*", "*"])),
        matches(Attribute.SERVICE_ACCOUNT, st.sampled_from(["shop/a", "ops/b"])),
    ),
    max_size=2,
).map(tuple)
operations = st.one_of(
    st.just(()), st.tuples(matches(Attribute.DESTINATION_PORT, st.sampled_from(["80", "81"])))
)
rules = st.builds(Rule, st.lists(sources, max_size=2).map(tuple), st.tuples(operations))
policies = st.builds(
    AuthorizationPolicy,
    st.sampled_from(SCOPES),
    st.sampled_from(["p", "q", "r"]),
    st.sampled_from(Action),
    selectors,
    st.lists(rules, max_size=2).map(tuple),
    provider=st.sampled_from(["guard-a.shop", "guard-b.shop", "guard-nowhere", "undeclared"]),
    dry_run=st.sampled_from([False, False, True]),
)
token_rules = st.lists(
    st.builds(JwtRule, st.sampled_from(["r0", "r1"]), st.just("me"), jwks_uri=st.sampled_from(sorted(KEYS))),
    max_size=2,
).map(tuple)
tokens = st.builds(
    RequestAuthentication, st.sampled_from(SCOPES), st.sampled_from(["p", "q"]), selectors, token_rules
)
modes = st.sampled_from([None, *MtlsMode])
authentications = st.builds(
    PeerAuthentication,
    st.sampled_from(SCOPES),
    st.sampled_from(["p", "q"]),
    selectors,
    modes,
    st.dictionaries(st.sampled_from([80, 81]), modes, max_size=1),
)
ports = st.lists(
    st.builds(
        ServicePort,
        st.sampled_from([80, 81]),
        st.sampled_from(["http", "tcp"]),
        st.sampled_from([PortProtocol.HTTP, PortProtocol.TCP]),
        st.sampled_from([0, 81]),
    ),
    min_size=1,
    max_size=2,
    unique_by=(lambda p: p.number, lambda p: p.name),
).map(tuple)
services = st.builds(
    ServiceEntry,
    namespaces,
    st.sampled_from(["s", "t", "u"]),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2).map(tuple),
    ports,
    selectors,
)
layouts = st.builds(
    SidecarLayout,
    st.dictionaries(st.sampled_from(["http", "tcp"]), st.just("127.0.0.1:9001")),
    st.sampled_from(["", "127.0.0.1:9002"]),
    st.lists(
        st.builds(
            UpstreamLayout, st.just("u"), st.sampled_from(HOSTS), st.just(80), st.just("127.0.0.1:9003")
        ),
        max_size=1,
    ).map(tuple),
)
CAPTURED = SidecarLayout({}, interception=InterceptionLayout(15006, 15001, False, (), ("10.0.0.0/8",), True))
entries = st.builds(
    WorkloadEntry,
    namespaces,
    st.sampled_from(["v", "w", "x", "y"]),
    st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    st.sampled_from(ACCOUNTS),
    st.dictionaries(st.just("http"), st.just(9000)),
    labels,
    st.one_of(st.none(), layouts, st.just(CAPTURED)),
    st.sampled_from([Locality(), Locality("eu", "1"), Locality("eu", "2"), Locality("us", "1")]),
    st.sampled_from(["", *AGENTS]),
)
quarantines = st.builds(
    Quarantine,
    st.sampled_from(["q", "r"]),
    st.lists(principals.map(lambda p: f"spiffe://{p}"), max_size=1).map(tuple),
    st.sampled_from([(), ("a1",)]),
    st.just(""),
)
traffic = st.builds(
    PortPolicy,
    st.sampled_from(
        [TrafficPolicy(), TrafficPolicy(Spread.RANDOM), TrafficPolicy(limits=Limits(connections=1))]
    ),
    st.sampled_from(
        [
            LocalityPreference(),
            LocalityPreference(enabled=False),
            LocalityPreference(failover=(("eu", "us"),)),
        ]
    ),
)
destination_rules = st.builds(
    DestinationRule,
    st.sampled_from(SCOPES),
    st.sampled_from(["d", "e"]),
    st.sampled_from([*HOSTS, "*.shop", "*"]),
    traffic,
    st.dictionaries(st.sampled_from([80, 81]), traffic, max_size=1),
    st.sampled_from([("*",), (".",), ("ops",)]),
)
sidecars = st.builds(
    Sidecar,
    st.sampled_from(SCOPES),
    st.sampled_from(["s", "t"]),
    selectors,
    st.one_of(
        st.none(),
        st.lists(
            st.builds(
                Egress, st.sampled_from([".", "*", "ops", "~"]), st.sampled_from(["*", "a.shop", "*.shop"])
            ),
            max_size=2,
        ).map(tuple),
    ),
    st.booleans(),
)
presences = st.builds(
    Presence,
    st.sampled_from(AGENTS),
    st.just(""),
    st.sets(st.sampled_from([f"{n}/{w}" for n in NAMESPACES for w in "vwxy"])).map(frozenset),
    lost=st.booleans(),
)
objects = st.one_of(
    quarantines, policies, policies, authentications, tokens, services, services, entries, entries, entries,
    destination_rules, sidecars, presences,
)  # fmt: skip
changes = st.lists(st.lists(st.tuples(objects, st.booleans()), min_size=1, max_size=6), max_size=12)

Key_ = tuple[str, str, str]


class Store:
    """What was written, with the age of each object."""

    def __init__(self) -> None:
        self.now: dict[Key_, Edit] = {}
        self._clock = 0

    def write(self, value: object, *, delete: bool) -> Edit:
        self._clock += 1
        name = value.agent if isinstance(value, Presence) else value.name  # type: ignore[attr-defined]
        key = (type(value).__name__, getattr(value, "namespace", ""), name)
        old = self.now.pop(key, None)
        edit = Edit(key, old.created if old else self._clock, None if delete else value)
        if not delete:
            self.now[key] = edit
        return edit

    @property
    def mesh(self) -> Mesh:
        edits = sorted(self.now.values(), key=lambda edit: edit.created)
        return Mesh.of(SETTINGS, [edit.value for edit in edits])


def plans(of: Planner | LiveMesh, nodes: Sequence[str]) -> dict[str, ProxyPlan | None]:
    return {node: of.plan(node) for node in nodes}


@settings(max_examples=150)
@given(changes)
def test_edits_one_by_one_end_where_one_reading_ends(batches: list[list[tuple[object, bool]]]) -> None:
    store, live = Store(), LiveMesh(SETTINGS)
    before: dict[str, ProxyPlan | None] = {}
    compiler, compiled = Compiler(), dict[str, tuple[ProxyPlan, Snapshot]]()
    for batch in batches:
        affected = live.apply([store.write(value, delete=delete) for value, delete in batch])
        planner = Planner(store.mesh)
        assert set(live.node_ids) == set(planner.node_ids)
        now = plans(planner, planner.node_ids)
        assert plans(live, live.node_ids) == now
        assert {node: live.identity(node) for node in now} == {node: planner.identity(node) for node in now}
        changed = {node for node in now.keys() | before.keys() if now.get(node) != before.get(node)}
        assert changed <= affected.nodes
        edited = {f"{v.namespace}/{v.name}" for v, _ in batch if isinstance(v, WorkloadEntry)}
        assert affected.nodes <= changed | edited
        before = now
        for node in sorted(live.node_ids):
            if (plan := live.plan(node)) is not None:
                compiled[node] = (plan, compiler.snapshot(plan, compiled.get(node)))
                assert compiled[node][1] == compile_plan(plan)


def a_shop() -> list[object]:
    """Everybody may call everybody: three services in two namespaces, of which agents watch some replicas."""
    one = ServicePort(80, "http", PortProtocol.HTTP), ServicePort(81, "tcp", PortProtocol.TCP)
    found: list[object] = [
        ServiceEntry("shop" if host != "c.shop" else "ops", host[0], (host,), one, {"app": host[0]})
        for host in HOSTS
    ]
    places = (Locality("eu", "1"), Locality("eu", "2"), Locality("us", "1"), Locality())
    for n, name in enumerate("vwxy"):
        namespace, account = ("shop", "ops")[n % 2], "abca"[n]
        layout = CAPTURED if name == "x" else SidecarLayout({}, "127.0.0.1:9002")
        watched = AGENTS[n] if n < 2 else ""
        found.append(
            WorkloadEntry(
                namespace, name, f"10.0.0.{n}", account, {}, {"app": account}, layout, places[n], watched
            )
        )
    return found


@settings(max_examples=60)
@given(st.lists(st.tuples(st.one_of(destination_rules, sidecars, presences), st.booleans()), max_size=12))
def test_how_services_are_reached_follows_every_edit(edits: list[tuple[object, bool]]) -> None:
    store, live = Store(), LiveMesh(SETTINGS)
    live.apply([store.write(value, delete=False) for value in a_shop()])
    before = plans(live, live.node_ids)
    assert all(plan is not None and plan.destinations for plan in before.values())
    for value, delete in edits:
        affected = live.apply([store.write(value, delete=delete)])
        now = plans(Planner(store.mesh), live.node_ids)
        assert plans(live, live.node_ids) == now
        assert affected.nodes == {node for node in now if now[node] != before[node]}
        before = now


@settings(max_examples=60)
@given(changes, st.sampled_from(sorted(KEYS)))
def test_keys_concern_those_whose_rules_need_them(
    batches: list[list[tuple[object, bool]]], source: str
) -> None:
    store, live = Store(), LiveMesh(SETTINGS)
    for batch in batches:
        live.apply([store.write(value, delete=delete) for value, delete in batch])
    before = plans(live, live.node_ids)
    wanted = {rule.key_source for o in store.mesh.request_authentications for rule in o.rules}
    assert live.key_sources.keys() == wanted
    affected = live.learn_keys(source, KEYS[source])
    now = plans(live, live.node_ids)
    assert now == plans(Planner(store.mesh, jwks={source: KEYS[source]}), live.node_ids)
    assert affected.nodes >= {node for node in now if now[node] != before[node]}
    assert not live.learn_keys(source, KEYS[source]).nodes


@settings(max_examples=60)
@given(changes)
def test_one_reading_of_everything_mends_whatever_was_missed(
    batches: list[list[tuple[object, bool]]],
) -> None:
    store, live = Store(), LiveMesh(SETTINGS)
    for index, batch in enumerate(batches):
        edits = [store.write(value, delete=delete) for value, delete in batch]
        if index % 2:
            live.apply(edits)
    live.replace_all(store.now.values())
    planner = Planner(store.mesh)
    assert plans(live, sorted(live.node_ids)) == plans(planner, sorted(planner.node_ids))
    assert live.replace_all(store.now.values()).nodes == frozenset()
