"""PolicyTest: expectations about requests, decided offline.

A case whose workload is touched by something this version does not enforce is `unsupported`: never passed.
Where no PeerAuthentication speaks, plaintext is judged as in Istio (PERMISSIVE): the documents are Istio's.
Source: docs/reference/policy-test.md
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policies import authorization_policy, peer_authentication
from policies.authorization_policy import AuthorizationPolicy
from policies.codes import Code
from policies.document import Document, Json
from policies.evaluate import evaluate
from policies.fields import Reader
from policies.lower import lower
from policies.peer_authentication import PeerAuthentication, effective_mode
from policies.problem import Problem
from policies.program import Protocol
from policies.request import Request
from policies.select import select
from policies.workload import MeshSettings, MtlsMode, PathNormalization, Workload

ALLOW: Final = "allow"
DENY: Final = "deny"
UNSUPPORTED: Final = "unsupported"
MTLS_STRICT: Final = "mtls-strict"
_SECURITY: Final = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A resource that was refused only for what it uses, and whom it would have selected."""

    namespace: str
    selector: dict[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """One request with its expectation. `status` 0 and `rule` "" are not asked."""

    id: str
    workload: str
    namespace: str
    port: int
    protocol: Protocol
    request: Request
    expect: str
    status: int
    rule: str
    unsupported: str = ""


@dataclass(frozen=True, slots=True)
class PolicyTest:
    name: str
    settings: MeshSettings
    policies: tuple[AuthorizationPolicy, ...]
    peer_authentications: tuple[PeerAuthentication, ...]
    unsupported: tuple[Unsupported, ...]
    workloads: tuple[Workload, ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Result:
    test: str
    id: str
    expect: str
    actual: str
    status: int
    rule: str
    ok: bool

    def as_json(self) -> dict[str, Json]:
        return {
            "test": self.test, "id": self.id, "expect": self.expect, "actual": self.actual,
            "status": self.status, "rule": self.rule, "ok": self.ok,
        }  # fmt: skip


def resource_files(document: Document) -> tuple[str, ...]:
    """`spec.resourceFiles`: patterns relative to the document's file, for the caller to read."""
    reader = Reader(document)
    return reader.texts(reader.mapping(document.value.get("spec"), "spec").get("resourceFiles"), "spec.resourceFiles")


def parse(document: Document, resources: Sequence[Document] = ()) -> tuple[PolicyTest | None, list[Problem]]:
    """`resources` are the documents of `spec.resourceFiles`."""
    read = Reader(document)
    spec = read.mapping(document.value.get("spec"), "spec")
    read.known(spec, "spec", ("mesh", "resourceFiles", "resources", "workloads", "requests"))
    settings = _settings(read, spec)
    inline = [
        Document(item, document.file)
        for i, value in enumerate(read.items(spec.get("resources"), "spec.resources"))
        if (item := read.mapping(value, f"spec.resources[{i}]"))
    ]
    policies: list[AuthorizationPolicy] = []
    peers: list[PeerAuthentication] = []
    unsupported: list[Unsupported] = []
    problems = read.problems
    for resource in [*inline, *resources]:
        match resource.kind:
            case "AuthorizationPolicy":
                policy, found = authorization_policy.parse(resource)
                policies += [policy] if policy else []
            case "PeerAuthentication":
                peer, found = peer_authentication.parse(resource)
                peers += [peer] if peer else []
            case "RequestAuthentication":
                found = [resource.problem(Code.UNSUPPORTED, "kind", "RequestAuthentication")]
            case _:
                continue
        if found and all(problem.code == Code.UNSUPPORTED for problem in found):
            unsupported.append(Unsupported(resource.namespace, _labels(resource), found[0].path))
        else:
            problems += found
    workloads = tuple(_workloads(read, spec))
    cases = tuple(_cases(read, spec))
    name = document.name or document.file
    test = PolicyTest(name, settings, tuple(policies), tuple(peers), tuple(unsupported), workloads, cases)
    return (None if problems else test), problems


def run(test: PolicyTest) -> list[Result]:
    """A result for each case, in order."""
    workloads = {(w.namespace, w.name): w for w in test.workloads}
    return [_judge(test, case, workloads.get((case.namespace, case.workload))) for case in test.cases]


def _judge(test: PolicyTest, case: Case, workload: Workload | None) -> Result:
    if workload is None:
        return Result(test.name, case.id, case.expect, "no such workload", 0, "", False)
    if case.unsupported or (reason := _unsupported_for(test, workload)):
        rule = case.unsupported or reason
        return Result(test.name, case.id, case.expect, UNSUPPORTED, 0, rule, False)
    mode = effective_mode(
        test.peer_authentications, workload, case.port, test.settings, default=MtlsMode.PERMISSIVE
    )
    if mode is MtlsMode.STRICT and case.request.principal is None:
        allowed, rule, status = False, MTLS_STRICT, 0
    else:
        selected = select(test.policies, workload, test.settings)
        program = lower(selected, test.settings, port=case.port, protocol=case.protocol)
        decision = evaluate(program, case.request, test.settings)
        allowed, rule, status = decision.allowed, decision.rule, decision.status
    actual = ALLOW if allowed else DENY
    ok = actual == case.expect and case.status in (0, status) and case.rule in ("", rule)
    return Result(test.name, case.id, case.expect, actual, status, rule, ok)


def _unsupported_for(test: PolicyTest, workload: Workload) -> str:
    spaces = (workload.namespace, test.settings.root_namespace)
    for item in test.unsupported:
        if item.namespace in spaces and item.selector.items() <= workload.labels.items():
            return item.reason
    return ""


def _labels(resource: Document) -> dict[str, str]:
    reader = Reader(resource)
    return authorization_policy.selector(reader, reader.mapping(resource.value.get("spec"), "spec"))


def _settings(read: Reader, spec: dict[str, Json]) -> MeshSettings:
    mesh = read.mapping(spec.get("mesh"), "spec.mesh")
    read.known(mesh, "spec.mesh", ("trustDomain", "trustDomainAliases", "rootNamespace", "pathNormalization"))
    modes = tuple(PathNormalization)
    return MeshSettings(
        read.text(mesh.get("trustDomain"), "spec.mesh.trustDomain") or "cluster.local",
        read.texts(mesh.get("trustDomainAliases"), "spec.mesh.trustDomainAliases"),
        read.text(mesh.get("rootNamespace"), "spec.mesh.rootNamespace") or "istio-system",
        PathNormalization(
            read.choice(mesh.get("pathNormalization"), "spec.mesh.pathNormalization", modes, PathNormalization.BASE)
        ),
    )


def _workloads(read: Reader, spec: dict[str, Json]) -> list[Workload]:
    result: list[Workload] = []
    for i, value in enumerate(read.items(spec.get("workloads"), "spec.workloads")):
        path = f"spec.workloads[{i}]"
        item = read.mapping(value, path)
        read.known(item, path, ("name", "namespace", "serviceAccount", "labels"))
        name = read.text(item.get("name"), f"{path}.name", required=True)
        namespace = read.text(item.get("namespace"), f"{path}.namespace", required=True)
        account = read.text(item.get("serviceAccount"), f"{path}.serviceAccount") or name
        labels = read.text_map(item.get("labels"), f"{path}.labels")
        result.append(Workload(namespace, name, account, labels))
    return result


_REQUEST: Final = (
    "id", "from", "to", "protocol", "method", "path", "host", "headers", "claims", "expect", "status", "rule",
    "expectDryRun",
)  # fmt: skip


def _cases(read: Reader, spec: dict[str, Json]) -> list[Case]:
    result: list[Case] = []
    for i, value in enumerate(read.items(spec.get("requests"), "spec.requests")):
        path = f"spec.requests[{i}]"
        item = read.mapping(value, path)
        read.known(item, path, _REQUEST)
        source = read.mapping(item.get("from"), f"{path}.from")
        to = read.mapping(item.get("to"), f"{path}.to")
        ip = read.text(source.get("ip"), f"{path}.from.ip")
        protocol = read.choice(item.get("protocol"), f"{path}.protocol", ("http", "http2", "grpc", "tcp"), "http")
        headers = read.text_map(item.get("headers"), f"{path}.headers")
        request = Request(
            read.text(source.get("principal"), f"{path}.from.principal") or None,
            _address(read, ip, f"{path}.from.ip"),
            read.text(item.get("method"), f"{path}.method"),
            read.text(item.get("path"), f"{path}.path"),
            read.text(item.get("host"), f"{path}.host"),
            {name.lower(): text for name, text in headers.items()},
        )
        result.append(
            Case(
                read.text(item.get("id"), f"{path}.id") or str(i),
                read.text(to.get("workload"), f"{path}.to.workload", required=True),
                read.text(to.get("namespace"), f"{path}.to.namespace", required=True),
                read.integer(to.get("port"), f"{path}.to.port", 0, 65535, required=True),
                Protocol.TCP if protocol == "tcp" else Protocol.HTTP,
                request,
                read.choice(item.get("expect"), f"{path}.expect", (ALLOW, DENY), ALLOW),
                read.integer(item.get("status"), f"{path}.status", 0, 599),
                read.text(item.get("rule"), f"{path}.rule"),
                "expectDryRun" if item.get("expectDryRun") else "",
            )
        )
    return result


def _address(
    read: Reader, text: str, path: str
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if not text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        read.note(Code.BAD_VALUE, path, f'"{text}" is no IP address')
        return None
