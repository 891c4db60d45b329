"""PolicyTest (pylis.io/v1alpha1): the kind that holds expectations about requests, checked.

Parsing only; `judge` decides. Where no PeerAuthentication speaks, plaintext is judged in `mesh.mtlsMode`,
PERMISSIVE by default as in Istio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from policies import authorization_policy, codes, peer_authentication, request_authentication
from policies.authorization_policy import AuthorizationPolicy
from policies.document import Document, Json
from policies.fields import TOP_LEVEL, Fields
from policies.mesh_settings import read_settings
from policies.nested import lift, nest
from policies.peer_authentication import PeerAuthentication
from policies.problem import Problem
from policies.program import Protocol
from policies.request import IpAddress, Request
from policies.request_authentication import RequestAuthentication
from policies.values import read_address
from policies.workload import MeshSettings, MtlsMode, Workload

API_VERSION: Final = "pylis.io/v1alpha1"
KIND: Final = "PolicyTest"
SECURITY_GROUP: Final = ("security.istio.io/v1", "security.istio.io/v1beta1")
_REQUEST_FIELDS: Final = (
    "id", "from", "to", "protocol", "method", "path", "host", "headers", "claims", "authorizers",
    "expect", "status", "rule", "expectDryRun",
)  # fmt: skip


class Expect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class RequestProtocol(StrEnum):
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what is expected of it; `status` 0, `rule` "" and a dry run of None are not asked.

    `authorizers`: what each external authorizer is taken to answer; one that is not named denies.
    """

    id: str
    workload: Workload
    port: int
    protocol: Protocol
    request: Request
    expect: Expect
    status: int = 0
    rule: str = ""
    dry_run_allow: Expect | None = None
    dry_run_deny: Expect | None = None
    authorizers: Mapping[str, bool] = field(default_factory=dict[str, bool])


@dataclass(frozen=True, slots=True)
class PolicyTest:
    name: str
    settings: MeshSettings
    default_mode: MtlsMode = MtlsMode.PERMISSIVE
    policies: tuple[AuthorizationPolicy, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    request_authentications: tuple[RequestAuthentication, ...] = ()
    cases: tuple[Case, ...] = ()


@dataclass(slots=True)
class _Resources:
    policies: list[AuthorizationPolicy] = field(default_factory=list[AuthorizationPolicy])
    peers: list[PeerAuthentication] = field(default_factory=list[PeerAuthentication])
    requests: list[RequestAuthentication] = field(default_factory=list[RequestAuthentication])


def resource_files(document: Document) -> tuple[str, ...]:
    """`spec.resourceFiles`: patterns relative to the document's file, for an edge to read."""
    return Fields.of(document).child("spec").texts("resourceFiles")


def parse(document: Document, resources: Sequence[Document] = ()) -> tuple[PolicyTest | None, list[Problem]]:
    """The test, or None and every problem. `resources`: the documents of `spec.resourceFiles`."""
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    _check_kind(root, document)
    name = root.child("metadata", required=True).text("name", required=True)
    spec = root.child("spec", required=True)
    spec.only("mesh", "resourceFiles", "resources", "workloads", "requests")
    spec.texts("resourceFiles")
    mesh = spec.child("mesh")
    settings = read_settings(mesh, "mtlsMode")
    found = _Resources()
    for entry in spec.children("resources"):
        inner = nest(document, entry.path, dict(entry.value))
        root.problems += lift(_read_resource(inner, found, inline=True), entry.path)
    for resource in resources:
        root.problems += _read_resource(resource, found, inline=False)
    workloads = _read_workloads(spec)
    test = PolicyTest(
        name,
        settings,
        mesh.choice("mtlsMode", MtlsMode.PERMISSIVE),
        tuple(found.policies),
        tuple(found.peers),
        tuple(found.requests),
        tuple(_read_cases(spec, workloads)),
    )
    return (None if root.failed else test), root.problems


def _check_kind(root: Fields, document: Document) -> None:
    if document.kind != KIND or document.api_version != API_VERSION:
        root.add(codes.UNKNOWN_KIND, "kind", f"is not {API_VERSION} {KIND}")


def _read_resource(resource: Document, found: _Resources, *, inline: bool) -> list[Problem]:
    """Files may hold kinds that say nothing about requests; what is written inline is meant to."""
    if resource.api_version in SECURITY_GROUP:
        match resource.kind:
            case "AuthorizationPolicy":
                policy, problems = authorization_policy.parse(resource)
                found.policies += [] if policy is None else [policy]
                return problems
            case "PeerAuthentication":
                peer, problems = peer_authentication.parse(resource)
                found.peers += [] if peer is None else [peer]
                return problems
            case "RequestAuthentication":
                request, problems = request_authentication.parse(resource)
                found.requests += [] if request is None else [request]
                return problems
            case _:
                pass
    if not inline and not resource.api_version.startswith("security.istio.io/"):
        return []
    what = f"{resource.api_version or '(no apiVersion)'} {resource.kind or '(no kind)'}"
    return [resource.problem(codes.UNKNOWN_KIND, "kind", f"{what} says nothing about requests")]


def _read_workloads(spec: Fields) -> dict[tuple[str, str], Workload]:
    workloads = dict[tuple[str, str], Workload]()
    for entry in spec.children("workloads"):
        entry.only("name", "namespace", "serviceAccount", "labels")
        name = entry.text("name", required=True)
        namespace = entry.text("namespace", "default")
        if (namespace, name) in workloads:
            entry.add(codes.DEFINED_TWICE, "name", f"{namespace}/{name} is defined twice")
        account = entry.text("serviceAccount", name)
        workloads[namespace, name] = Workload(namespace, name, account, entry.text_map("labels"))
    return workloads


def _read_cases(spec: Fields, workloads: Mapping[tuple[str, str], Workload]) -> Iterable[Case]:
    seen = set[str]()
    for index, entry in enumerate(spec.children("requests")):
        entry.only(*_REQUEST_FIELDS)
        case_id = entry.text("id", f"requests[{index}]")
        if case_id in seen:
            entry.add(codes.DEFINED_TWICE, "id", f"{case_id} is defined twice")
        seen.add(case_id)
        entry.require("expect", "to")
        protocol = entry.choice("protocol", RequestProtocol.HTTP)
        workload, port = _read_target(entry.child("to"), workloads)
        tried = entry.child("expectDryRun")
        tried.only("allow", "deny")
        answers = entry.child("authorizers")
        yield Case(
            case_id,
            workload,
            port,
            Protocol.TCP if protocol is RequestProtocol.TCP else Protocol.HTTP,
            _read_request(entry, protocol),
            entry.choice("expect", Expect.ALLOW),
            entry.integer("status", low=0, high=599),
            entry.text("rule"),
            tried.choice("allow", Expect.ALLOW) if "allow" in tried else None,
            tried.choice("deny", Expect.ALLOW) if "deny" in tried else None,
            {name: answers.choice(name, Expect.DENY) is Expect.ALLOW for name in answers.value},
        )


def _read_target(to: Fields, workloads: Mapping[tuple[str, str], Workload]) -> tuple[Workload, int]:
    to.only("workload", "namespace", "port", "ip", "sni")
    name, namespace = to.text("workload", required=True), to.text("namespace", "default")
    port = to.integer("port", low=0, high=65535, required=True)
    workload = workloads.get((namespace, name))
    if workload is None:
        to.add(codes.NOT_FOUND, "workload", f"{namespace}/{name} is not in spec.workloads", "add it there")
        return Workload(namespace, name, name), port
    return workload, port


def _read_request(entry: Fields, protocol: RequestProtocol) -> Request:
    source, to = entry.child("from"), entry.child("to")
    source.only("principal", "ip", "remoteIp")
    principal = None if source.value.get("principal") is None else source.text("principal")
    headers = {name.lower(): value for name, value in entry.text_map("headers").items()}
    claims: Mapping[str, Json] | None = entry.child("claims").value if "claims" in entry else None
    method, path, host = entry.text("method"), entry.text("path"), entry.text("host")
    connection = Request(
        principal=principal,
        source_ip=_read_address(source, "ip"),
        remote_ip=_read_address(source, "remoteIp"),
        destination_ip=_read_address(to, "ip"),
        sni="" if to.value.get("sni") is None else to.text("sni"),
    )
    if protocol is RequestProtocol.TCP:
        return connection
    method = method or ("POST" if protocol is RequestProtocol.GRPC else "GET")
    return replace(connection, method=method, path=path or "/", host=host, headers=headers, claims=claims)


def _read_address(entry: Fields, name: str) -> IpAddress | None:
    text = "" if entry.value.get(name) is None else entry.text(name)
    address = read_address(text) if text else None
    if text and address is None:
        entry.add(codes.BAD_NETWORK, name, f'"{text}" is no IP address')
    return address
