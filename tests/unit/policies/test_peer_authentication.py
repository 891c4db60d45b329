import pytest

from policies import codes
from policies.document import Document, Json
from policies.peer_authentication import PeerAuthentication, effective_mode, find_mode, parse
from policies.workload import MeshSettings, MtlsMode, Workload

MESH = MeshSettings("td", root_namespace="root")
ORDERS = Workload("shop", "orders", "orders", {"app": "orders"})
STRICT, PERMISSIVE, DISABLE = MtlsMode.STRICT, MtlsMode.PERMISSIVE, MtlsMode.DISABLE
MINE = {"app": "orders"}


def a_peer(namespace: str, mode: MtlsMode | None = None, **more: object) -> PeerAuthentication:
    return PeerAuthentication(namespace, "p", mode=mode, **more)  # pyright: ignore[reportArgumentType]


def mode(*peers: PeerAuthentication, port: int = 80) -> MtlsMode:
    return effective_mode(peers, ORDERS, port, MESH)


def test_nothing_is_strict_unless_told_otherwise() -> None:
    assert mode() is STRICT
    assert effective_mode((), ORDERS, 80, MESH, default=PERMISSIVE) is PERMISSIVE


def test_the_narrower_scope_wins() -> None:
    mesh, namespace, own = (
        a_peer("root", DISABLE),
        a_peer("shop", PERMISSIVE),
        a_peer("shop", STRICT, selector=MINE),
    )
    assert mode(mesh) is DISABLE
    assert mode(mesh, namespace) is PERMISSIVE
    assert mode(own, mesh, namespace) is STRICT


def test_unset_inherits() -> None:
    assert mode(a_peer("root", PERMISSIVE), a_peer("shop"), a_peer("shop", selector=MINE)) is PERMISSIVE
    assert mode(a_peer("root")) is STRICT


def test_the_oldest_of_a_scope_wins_alone() -> None:
    assert mode(a_peer("shop", PERMISSIVE), a_peer("shop", DISABLE)) is PERMISSIVE
    assert mode(a_peer("shop"), a_peer("shop", DISABLE)) is STRICT


def test_others_have_no_say() -> None:
    assert mode(a_peer("bank", DISABLE)) is STRICT
    assert mode(a_peer("shop", DISABLE, selector={"app": "catalog"})) is STRICT
    assert mode(a_peer("bank", DISABLE, selector=MINE)) is STRICT
    assert mode(a_peer("root", DISABLE, selector=MINE)) is STRICT


def test_a_selector_in_the_root_namespace_is_ignored_even_there() -> None:
    gate = Workload("root", "gate", "gate", MINE)
    assert effective_mode([a_peer("root", DISABLE, selector=MINE)], gate, 80, MESH) is STRICT


def test_ports_of_the_workload() -> None:
    own = a_peer("shop", PERMISSIVE, selector=MINE, ports={80: DISABLE, 81: None})
    assert [mode(own, port=port) for port in (80, 81, 82)] == [DISABLE, PERMISSIVE, PERMISSIVE]


def test_who_decided() -> None:
    namespace = a_peer("shop", PERMISSIVE)
    assert find_mode([namespace], ORDERS, 80, MESH).decided_by is namespace
    assert find_mode([], ORDERS, 80, MESH).decided_by is None


def a_document(spec: dict[str, Json]) -> Document:
    return Document(
        {"kind": "PeerAuthentication", "metadata": {"name": "p", "namespace": "shop"}, "spec": spec}
    )


def test_a_whole_object_is_read() -> None:
    found, problems = parse(
        a_document(
            {
                "selector": {"matchLabels": {"app": "orders"}},
                "mtls": {"mode": "PERMISSIVE"},
                "portLevelMtls": {"80": {"mode": "DISABLE"}, "81": {"mode": "UNSET"}, "82": {}},
            }
        )
    )
    assert problems == []
    assert found == PeerAuthentication("shop", "p", MINE, PERMISSIVE, {80: DISABLE, 81: None, 82: None})
    assert found.full_name == "shop/p"


@pytest.mark.parametrize(
    ("spec", "code", "path"),
    [
        ({"mtls": {"mode": "STRICKT"}}, codes.NOT_A_CHOICE, "spec.mtls.mode"),
        ({"mtls": {"modes": "STRICT"}}, codes.UNKNOWN_FIELD, "spec.mtls.modes"),
        ({"mtls": None}, codes.WRONG_TYPE, "spec.mtls"),
        ({"portLevelMtls": {"80": {}}}, codes.PORTS_WITHOUT_SELECTOR, "spec.portLevelMtls"),
        (
            {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"0": {}}},
            codes.BAD_PORT,
            "spec.portLevelMtls.0",
        ),
        (
            {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {}},
            codes.EMPTY_LIST,
            "spec.portLevelMtls",
        ),
    ],
)
def test_mistakes(spec: dict[str, Json], code: str, path: str) -> None:
    found, problems = parse(a_document(spec))
    assert found is None
    assert [(problem.code, problem.path) for problem in problems] == [(code, path)]


def test_only_authorization_policies_can_be_tried() -> None:
    metadata: dict[str, Json] = {"name": "p", "annotations": {"istio.io/dry-run": "true"}}
    found, problems = parse(Document({"metadata": metadata, "spec": {}}))
    assert found is None
    assert [problem.code for problem in problems] == [codes.DRY_RUN_MISUSE]
