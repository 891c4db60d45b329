from ipaddress import ip_address

from policies import codes
from policies.document import Document, Json
from policies.policy_test import PolicyTest, parse, resource_files
from policies.program import Protocol
from policies.workload import MeshSettings, MtlsMode, PathNormalization


def a_document(**spec: Json) -> Document:
    whole: dict[str, Json] = {
        "workloads": [{"name": "b", "namespace": "shop", "labels": {"app": "b"}}],
        "requests": [a_request()],
        **spec,
    }
    return Document(
        {"apiVersion": "pylis.io/v1alpha1", "kind": "PolicyTest", "metadata": {"name": "t"}, "spec": whole},
        "t.yaml",
    )


def a_request(**fields: Json) -> dict[str, Json]:
    return {"to": {"workload": "b", "namespace": "shop", "port": 80}, "expect": "allow", **fields}


def a_policy(name: str = "p", **spec: Json) -> dict[str, Json]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": dict(spec),
    }


def accepted(document: Document, *resources: Document) -> PolicyTest:
    test, problems = parse(document, resources)
    assert test is not None, problems
    return test


def refused(document: Document, *resources: Document) -> list[tuple[str, str]]:
    test, problems = parse(document, resources)
    assert test is None
    return [(problem.code, problem.path) for problem in problems]


def test_defaults() -> None:
    test = accepted(a_document())
    assert test.settings == MeshSettings("cluster.local", (), "istio-system", PathNormalization.MERGE_SLASHES)
    assert test.default_mode is MtlsMode.PERMISSIVE
    [case] = test.cases
    assert (case.id, case.port, case.protocol, case.workload.service_account) == (
        "requests[0]",
        80,
        "http",
        "b",
    )
    assert (case.request.method, case.request.path, case.request.principal) == ("GET", "/", None)


def test_everything_written_is_read() -> None:
    mesh: Json = {
        "trustDomain": "td", "trustDomainAliases": ["old"], "rootNamespace": "root",
        "pathNormalization": "BASE", "mtlsMode": "STRICT",
    }  # fmt: skip
    request = a_request(
        id="one", protocol="http2", method="PUT", path="/x?y", host="b.shop", headers={"X-A": "1"},
        expect="deny", status=403, rule="shop/p[0]",
        **{"from": {"principal": "td/ns/a/sa/b", "ip": "10.0.0.1", "remoteIp": "1.2.3.4"}},
    )  # fmt: skip
    test = accepted(a_document(mesh=mesh, requests=[request]))
    assert test.settings == MeshSettings("td", ("old",), "root", PathNormalization.BASE)
    assert test.default_mode is MtlsMode.STRICT
    [case] = test.cases
    assert (case.id, case.expect, case.status, case.rule) == ("one", "deny", 403, "shop/p[0]")
    assert case.request.source_ip == ip_address("10.0.0.1")
    assert case.request.headers == {"x-a": "1"}


def test_tcp_has_no_http_fields_and_grpc_posts() -> None:
    tcp, grpc = accepted(
        a_document(
            requests=[a_request(id="1", protocol="tcp", path="/x"), a_request(id="2", protocol="grpc")]
        )
    ).cases
    assert (tcp.protocol, tcp.request.method, tcp.request.path) == (Protocol.TCP, "", "")
    assert (grpc.protocol, grpc.request.method) == (Protocol.HTTP, "POST")


def test_all_mistakes_at_once() -> None:
    document = a_document(
        mesh={"trustdomain": "td"},
        resources=[a_policy(actoin="DENY"), {"apiVersion": "v1", "kind": "Pod"}],
        workloads=[{"name": "b", "namespace": "shop"}, {"name": "b", "namespace": "shop"}],
        requests=[
            a_request(id="x", expect="alow"),
            a_request(id="x", to={"workload": "nobody", "port": 80}),
            a_request(**{"from": {"ip": "x"}}),
        ],
    )
    assert refused(document) == [
        (codes.UNKNOWN_FIELD, "spec.mesh.trustdomain"),
        (codes.UNKNOWN_FIELD, "spec.resources[0].spec.actoin"),
        (codes.UNKNOWN_KIND, "spec.resources[1].kind"),
        (codes.DEFINED_TWICE, "spec.workloads[1].name"),
        (codes.NOT_A_CHOICE, "spec.requests[0].expect"),
        (codes.DEFINED_TWICE, "spec.requests[1].id"),
        (codes.NOT_FOUND, "spec.requests[1].to.workload"),
        (codes.BAD_NETWORK, "spec.requests[2].from.ip"),
    ]


def test_another_kind_is_no_policy_test() -> None:
    assert (codes.UNKNOWN_KIND, "kind") in refused(
        Document({"kind": "PolicyTests", "metadata": {"name": "t"}})
    )


def test_every_kind_of_policy_is_read() -> None:
    selector: Json = {"matchLabels": {"app": "b"}}
    request_authentication: Json = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "jwt", "namespace": "shop"},
        "spec": {"selector": selector, "jwtRules": [{"issuer": "me"}]},
    }
    test = accepted(a_document(resources=[a_policy(action="AUDIT"), request_authentication]))
    assert [policy.action for policy in test.policies] == ["AUDIT"]
    assert [one.rules[0].issuer for one in test.request_authentications] == ["me"]


def test_what_a_request_says_of_its_connection_token_and_authorizers() -> None:
    request = a_request(
        claims={"sub": "s"}, authorizers={"guard": "allow", "other": "deny"},
        expectDryRun={"allow": "deny"},
        **{"from": {"ip": "10.0.0.1", "remoteIp": "1.2.3.4"}},
        to={"workload": "b", "namespace": "shop", "port": 80, "ip": "10.0.0.2", "sni": "b.shop"},
    )  # fmt: skip
    [case] = accepted(a_document(requests=[request])).cases
    seen = case.request
    assert (seen.remote_ip, seen.destination_ip) == (ip_address("1.2.3.4"), ip_address("10.0.0.2"))
    assert (seen.sni, seen.claims) == ("b.shop", {"sub": "s"})
    assert (case.dry_run_allow, case.dry_run_deny) == ("deny", None)
    assert case.authorizers == {"guard": True, "other": False}


def test_resource_files_and_what_they_may_hold() -> None:
    document = a_document(resourceFiles=["policies/*.yaml"])
    assert resource_files(document) == ("policies/*.yaml",)
    service = Document({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}, "s.yaml")
    test = accepted(document, Document(a_policy(), "p.yaml"), service)
    assert [policy.full_name for policy in test.policies] == ["shop/p"]
    wrong = Document({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicie"}, "p.yaml")
    assert refused(document, wrong) == [(codes.UNKNOWN_KIND, "kind")]
