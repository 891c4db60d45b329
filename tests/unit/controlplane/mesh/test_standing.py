"""What is said of objects that name what is not there, or whose place an older one has."""

from __future__ import annotations

from controlplane.mesh.live import Edit, LiveMesh
from controlplane.mesh.relations import Relations
from controlplane.resources.kinds import by_word
from policies.document import Document
from policies.workload import MeshSettings


class Mesh:
    """Objects by kind, name and spec, in the order of their age."""

    def __init__(self) -> None:
        self.live = LiveMesh(MeshSettings("example.org"))
        self._age = 0

    def put(self, word: str, name: str, spec: object, namespace: str = "shop", **annotations: str) -> str:
        kind = by_word(word)
        assert kind is not None
        place = {"namespace": namespace} if kind.namespaced else {}
        noted = {"annotations": {f"pylis.io/{key}": value for key, value in annotations.items()}}
        metadata = {"name": name, **place, **noted}
        value = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        parsed, problems = kind.parse(Document(value))  # type: ignore[arg-type]
        assert parsed is not None, problems
        self._age += 1
        self.live.apply([Edit(f"{word} {namespace}/{name}", self._age, parsed)])
        return f"{word} {namespace}/{name}"

    def gone(self, key: str) -> None:
        self.live.apply([Edit(key, 0, None)])

    def said(self, key: str) -> tuple[str, str]:
        """The reasons of what dangles and of what is in conflict."""
        found = self.live.relations(key)
        return (
            found.dangling.reason if found.dangling else "",
            found.conflict.reason if found.conflict else "",
        )


def a_workload(app: str, **more: object) -> dict[str, object]:
    return {
        "address": "10.0.0.1",
        "ports": {"http": 80},
        "labels": {"app": app},
        "serviceAccount": app,
        **more,
    }


def a_service(host: str, app: str) -> dict[str, object]:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return {"hosts": [host], "ports": ports, "workloadSelector": {"labels": {"app": app}}}


def test_a_policy_without_workloads_says_so_until_there_is_one() -> None:
    mesh = Mesh()
    selecting = {"selector": {"matchLabels": {"app": "a"}}}
    policy = mesh.put("ap", "p", selecting)
    modes = mesh.put("pa", "m", {**selecting, "mtls": {"mode": "STRICT"}})
    everywhere = mesh.put("ap", "all", {}, "istio-system")
    assert [mesh.said(k) for k in (policy, modes, everywhere)] == [
        ("NoWorkloads", ""),
        ("NoWorkloads", ""),
        ("", ""),
    ]
    dangling = mesh.live.relations(policy).dangling
    assert dangling is not None
    assert dangling.message == "shop has no workload that carries app=a"
    entry = mesh.put("we", "a1", a_workload("a"))
    assert [mesh.said(k) for k in (policy, modes)] == [("", ""), ("", "")]
    mesh.gone(entry)
    assert mesh.said(policy) == ("NoWorkloads", "")


def test_a_custom_policy_names_an_authorizer_that_is_there() -> None:
    mesh = Mesh()
    mesh.put("we", "a1", a_workload("a"))
    policy = mesh.put("ap", "p", {"action": "CUSTOM", "provider": {"name": "guard"}, "rules": [{}]})
    assert mesh.said(policy) == ("ProviderNotFound", "")


def test_of_two_modes_for_the_same_workloads_the_younger_is_told() -> None:
    mesh = Mesh()
    mesh.put("we", "a1", a_workload("a"))
    first = mesh.put("pa", "first", {"mtls": {"mode": "STRICT"}})
    second = mesh.put("pa", "second", {"mtls": {"mode": "PERMISSIVE"}})
    other = mesh.put("pa", "other", {"mtls": {"mode": "STRICT"}, "selector": {"matchLabels": {"app": "a"}}})
    assert [mesh.said(k)[1] for k in (first, second, other)] == ["", "OlderOneDecides", ""]
    mesh.gone(first)
    assert mesh.said(second) == ("", "")


def test_a_host_that_an_older_service_has_is_taken() -> None:
    mesh = Mesh()
    mesh.put("we", "a1", a_workload("a"))
    first = mesh.put("se", "first", a_service("a.shop", "a"))
    second = mesh.put("se", "second", a_service("a.shop", "nobody"), "ops")
    assert mesh.said(first) == ("", "")
    assert mesh.said(second) == ("NoWorkloads", "HostTaken")
    conflict = mesh.live.relations(second).conflict
    assert conflict is not None
    assert conflict.message == "a.shop:80 is shop/first's: the older entry is called"
    mesh.gone(first)
    assert mesh.said(second) == ("NoWorkloads", "")


def test_an_upstream_that_nobody_declares_is_missing() -> None:
    mesh = Mesh()
    upstream = '{"inbound": {}, "upstreams": [{"name": "db", "service": "db.shop", "port": 80, "listen": "127.0.0.1:9"}]}'
    entry = mesh.put("we", "a1", a_workload("a"), sidecar=upstream)
    assert mesh.said(entry) == ("UpstreamNotFound", "")
    mesh.put("se", "db", a_service("db.shop", "db"))
    assert mesh.said(entry) == ("", "")


def test_of_two_federations_with_one_trust_domain_the_older_counts() -> None:
    mesh = Mesh()
    web = {
        "bundleEndpointURL": "https://other.example/bundle",
        "bundleEndpointProfile": {"type": "https_web"},
    }
    first = mesh.put("ftd", "first", {"trustDomain": "other.example", **web})
    second = mesh.put("ftd", "second", {"trustDomain": "other.example", **web})
    own = mesh.put("ftd", "own", {"trustDomain": "example.org", **web})
    assert [mesh.said(k)[1] for k in (first, second, own)] == ["", "OlderOneDecides", "OwnTrustDomain"]
    mesh.gone(first)
    assert mesh.said(second) == ("", "")


def test_what_is_not_there_stands_to_nobody() -> None:
    assert Mesh().live.relations("nothing") == Relations()
