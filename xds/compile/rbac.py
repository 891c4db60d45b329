"""The authorization of one port, as the ECDS resource its listener refers to.

A policy edit replaces this resource alone: it is in force on live connections at once and drains none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from policies.program import DecisionProgram, Protocol
from xds import names
from xds.compile.matcher import authorization
from xds.schema import new, pack

HTTP_RBAC: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK_RBAC: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"


def extension(port_name: str, program: DecisionProgram, trust_domains: Sequence[str]) -> Message:
    """A TypedExtensionConfig named `rbac:<port name>`."""
    name = names.authorization(port_name)
    matcher = authorization(program, trust_domains)
    match program.protocol:
        case Protocol.HTTP:
            config = new(HTTP_RBAC, matcher=matcher, rules_stat_prefix=names.ENFORCED_PREFIX)
        case Protocol.TCP:
            # the network filter names what it denies; the shadow copy names what it allows
            config = new(
                NETWORK_RBAC,
                stat_prefix="tcp.",
                matcher=matcher,
                shadow_matcher=matcher,
                shadow_rules_stat_prefix=names.ENFORCED_PREFIX,
            )
    return new("envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=pack(config))


def filter_type(protocol: Protocol) -> str:
    """The type the listener expects of the ECDS resource."""
    return f"type.googleapis.com/{HTTP_RBAC if protocol is Protocol.HTTP else NETWORK_RBAC}"


def discovery() -> dict[str, object]:
    """The config source of an ECDS reference."""
    return {"ads": {}, "resource_api_version": "V3"}
