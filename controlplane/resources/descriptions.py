"""What an editor shows beside a field: one sentence each. Fields without an entry explain themselves."""

from __future__ import annotations

from typing import Final

_RULES: Final = "spec.rules"
_SOURCE: Final = "spec.rules.from.source"
_OPERATION: Final = "spec.rules.to.operation"

# "Kind path" or, for every kind, "path"; paths without indexes
DESCRIPTIONS: Final[dict[str, str]] = {
    "metadata.name": "Lower-case letters, digits, - and .",
    "metadata.namespace": "The namespace; default if left out.",
    "spec.selector": "Which workloads; left out: every workload of the namespace (of the mesh, in the root namespace).",
    "spec.selector.matchLabels": "The labels a workload must carry, all of them.",
    "AuthorizationPolicy spec.action": "ALLOW by default. Any matching DENY rule wins over every ALLOW rule.",
    "AuthorizationPolicy spec.rules": "Any rule that matches applies. ALLOW without rules allows nothing; the rule {} matches everything.",
    f"AuthorizationPolicy {_RULES}.from": "Who calls: any of the entries. Left out: anybody.",
    f"AuthorizationPolicy {_RULES}.to": "What is called: any of the entries. Left out: anything.",
    f"AuthorizationPolicy {_RULES}.when": "Further conditions: all of them.",
    f"AuthorizationPolicy {_RULES}.when.key": "An attribute; pylis schema attributes lists them.",
    f"AuthorizationPolicy {_RULES}.when.values": "Any of these.",
    f"AuthorizationPolicy {_RULES}.when.notValues": "None of these. True where the attribute is absent.",
    f"AuthorizationPolicy {_SOURCE}.principals": "trust-domain/ns/NAMESPACE/sa/ACCOUNT, without spiffe://; needs mutual TLS. Forms: exact, prefix*, *suffix, *.",
    f"AuthorizationPolicy {_SOURCE}.requestPrincipals": "issuer/subject of a verified JWT. Forms: exact, prefix*, *suffix, *.",
    f"AuthorizationPolicy {_SOURCE}.namespaces": "Namespace of the caller's identity; needs mutual TLS.",
    f"AuthorizationPolicy {_SOURCE}.serviceAccounts": "ACCOUNT (of the policy's namespace) or NAMESPACE/ACCOUNT, exact; needs mutual TLS.",
    f"AuthorizationPolicy {_SOURCE}.trustDomains": "Trust domain of the caller's identity; needs mutual TLS.",
    f"AuthorizationPolicy {_SOURCE}.ipBlocks": "Address of the connection's direct peer: IP or CIDR.",
    f"AuthorizationPolicy {_SOURCE}.remoteIpBlocks": "Address of the original client, by X-Forwarded-For: IP or CIDR.",
    f"AuthorizationPolicy {_OPERATION}.hosts": "Host header, port included where it is sent; case does not count.",
    f"AuthorizationPolicy {_OPERATION}.ports": "The workload's own port, as text.",
    f"AuthorizationPolicy {_OPERATION}.methods": "HTTP method; gRPC is always POST.",
    f"AuthorizationPolicy {_OPERATION}.paths": "Path without query, normalised. Forms: exact, prefix*, *suffix, *, templates with {*} and {**}.",
    "PeerAuthentication spec.mtls.mode": "STRICT: mutual TLS only. PERMISSIVE: plaintext too. DISABLE: plaintext only. UNSET: inherits.",
    "PeerAuthentication spec.portLevelMtls": "The mode by the workload's port; needs a selector.",
    "ServiceEntry spec.hosts": "The names callers use.",
    "ServiceEntry spec.workloadSelector.labels": "The workloads behind the service, in its namespace.",
    "ServiceEntry spec.ports.number": "The port callers use.",
    "ServiceEntry spec.ports.targetPort": "The workload's port, if another.",
    "WorkloadEntry spec.address": "Where its sidecar is reached: an IP address.",
    "WorkloadEntry spec.serviceAccount": "Its identity is trust-domain/ns/NAMESPACE/sa/ACCOUNT.",
    "WorkloadEntry spec.locality": "Where it runs: REGION/ZONE/SUBZONE. Callers prefer what is near.",
    "DestinationRule spec.host": "A host as its ServiceEntry writes it, *.SUFFIX, or *; the most specific one holds.",
    "DestinationRule spec.exportTo": "Namespaces whose callers it is for: names, . (its own), * (all, the default).",
    "DestinationRule spec.trafficPolicy.tls.mode": "ISTIO_MUTUAL only: the mesh's mutual TLS cannot be switched off here.",
    "DestinationRule spec.trafficPolicy.portLevelSettings": "By the service's port; they replace the settings above whole.",
    "DestinationRule spec.trafficPolicy.connectionPool.http.maxRetries": "Retries at a time; left out: a fifth of the running requests, at least 64.",
    "DestinationRule spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors": "502, 503, 504 or no connection, so many in a row. 0: not counted.",
    "DestinationRule spec.trafficPolicy.outlierDetection.consecutive5xxErrors": "Any 5xx, so many in a row. 0: not counted.",
    "DestinationRule spec.trafficPolicy.loadBalancer.localityLbSetting.enabled": "Whether endpoints near the caller are called first; true by default.",
    "Sidecar spec.egress.hosts": "NAMESPACE/HOST: . is the workload's own namespace, * any, ~ none; HOST exact, *.SUFFIX or *.",
    "Sidecar spec.outboundTrafficPolicy.mode": "REGISTRY_ONLY: what is no service is refused. ALLOW_ANY opens nothing.",
    "GitSource spec.url": "https://HOST/PATH.git. What the source may write is what its user pylis:gitsource:NAMESPACE:NAME is bound to.",
    "GitSource spec.ref": "A branch or tag; the repository's default branch if left out.",
    "GitSource spec.path": "The folder that is read, with all below it.",
    "GitSource spec.intervalSeconds": "How long until it is fetched again; 60 if left out.",
    "GitSource spec.prune": "Whether what the source made goes when it leaves the repository; true by default.",
    "GitSource spec.secretRef.name": "A Secret of this namespace with username and password.",
    "GitSource spec.caBundle": "PEM of a private certificate authority.",
    "PolicyTest spec.resourceFiles": "Patterns of files with the resources, relative to this file.",
    "PolicyTest spec.requests.expect": "What the answer must be.",
    "PolicyTest spec.requests.status": "The HTTP status, if it matters: 200, 401, 403.",
    "PolicyTest spec.requests.rule": "The deciding rule, if it matters: namespace/policy[0].",
    "PolicyTest spec.requests.from.principal": "null: plaintext.",
    "mesh.yaml trustDomain": "The mesh's trust domain.",
    "mesh.yaml policies": "Files and directories, applied and re-applied on change.",
    "mesh.yaml workloads": "By name: what runs, each beside its own sidecar.",
    "mesh.yaml workloads.80.command": "What to run; {port} and {socket} are replaced by where it must listen.",
    "mesh.yaml workloads.80.serviceAccount": "Its identity; the name if left out.",
    "mesh.yaml workloads.80.ports": "Name to service port; the name says the protocol: http, http2, grpc, else TCP.",
    "mesh.yaml workloads.80.env": "Environment; HTTP_PROXY is set to the sidecar.",
    "mesh.yaml workloads.80.readinessProbe": "When it takes requests, as in Kubernetes; ports by name. Left out: always.",
    "mesh.yaml workloads.80.upstreams": "Raw TCP out: PYLIS_UPSTREAM_NAME is the loopback host:port.",
}  # fmt: skip


def describe(kind: str, path: str) -> str:
    """The sentence for a field; a `notX` is told by its X."""
    own = DESCRIPTIONS.get(f"{kind} {path}") or DESCRIPTIONS.get(path)
    if own:
        return own
    parent, _, name = path.rpartition(".")
    if not (name.startswith("not") and name[3:4].isupper()):
        return ""
    positive = DESCRIPTIONS.get(f"{kind} {parent}.{name[3].lower()}{name[4:]}", "")
    return f"None of these. {positive}" if positive else ""
