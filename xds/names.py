"""Names (and one time) that the compiled configuration, the bootstrap and the agent's socket must agree on."""

from __future__ import annotations

# static clusters of every bootstrap
AGENT_CLUSTER = "agent"  # the agent's Unix socket: SDS
XDS_CLUSTER = "xds"  # the control plane: ADS

# secrets the agent serves to every sidecar
SVID_SECRET = "default"  # noqa: S105 - a resource name
OWN_BUNDLE_SECRET = "ROOTCA"  # noqa: S105 - a resource name: the trust domain's own
BUNDLE_SECRET = "ALL"  # noqa: S105 - a resource name: every trust domain's that is believed

# filter state: written once per connection or request, read by the authorization matcher
PRINCIPAL_KEY = "pylis.principal"
SERIAL_KEY = "pylis.serial"  # of the peer's certificate
PATH_KEY = "pylis.path"
HOST_KEY = "pylis.host"
ISSUER_KEY = "pylis.iss"
SUBJECT_KEY = "pylis.sub"

# How long connections of a listener that was changed may still live by the old one: a port that became STRICT, or
# whose caller was cut off, must not go on for Envoy's ten minutes. Each is told to close at once.
LISTENER_DRAIN_SECONDS = 5

# the prefix of what RBAC leaves in dynamic metadata and statistics
ENFORCED_PREFIX = "enf_"
OBSERVED_PREFIX = "observed_"
AUDIT_PREFIX = "audit_"
DRY_RUN_ALLOW_PREFIX = "istio_dry_run_allow_"
DRY_RUN_DENY_PREFIX = "istio_dry_run_deny_"


def custom_prefix(provider: str) -> str:
    """Of what RBAC leaves about a request that is put to an external authorizer."""
    return f"custom_{provider}_"


OUTBOUND_HTTP = "outbound:http"

# server_listener_resource_name_template of a gRPC bootstrap
GRPC_SERVER_TEMPLATE = "grpc/server?addr=%s"

# where all of a namespace's TCP is redirected to
INTERCEPTED_INBOUND = "intercepted:inbound"
INTERCEPTED_OUTBOUND = "intercepted:outbound"
ELSEWHERE = "outbound:elsewhere"  # routes of HTTP that leaves the mesh's networks
PASSTHROUGH = "passthrough"  # the cluster that goes on to where a connection was meant for


# what ends connections that are open: the ECDS resource every TCP port refers to, and the runtime it looks at
CUT = "cut"
RUNTIME_LAYER = "pylis"


def inbound(port_name: str) -> str:
    """Listener of one port of the workload."""
    return f"inbound:{port_name}"


def app_cluster(port_name: str) -> str:
    """Cluster that leads from the sidecar to its own application."""
    return f"app:{port_name}"


def authorization(port_name: str) -> str:
    """ECDS resource with the authorization of one port."""
    return f"rbac:{port_name}"


def destination(host: str, port: int) -> str:
    """Cluster (and its endpoints) of one port of a service."""
    return f"{host}:{port}"


def upstream(name: str) -> str:
    """Listener for one declared upstream on a loopback port."""
    return f"upstream:{name}"


def server_name(host: str, port: int) -> str:
    """SNI between sidecars, in the form policies written for Istio expect."""
    return f"outbound_.{port}_._.{host}"


def grpc_server(address: str) -> str:
    """Listener of a gRPC server without a sidecar: the template of its bootstrap, expanded."""
    return GRPC_SERVER_TEMPLATE % address
