"""Derives protobuf descriptors from envoy-data-plane's message metadata (a development tool).

envoy-data-plane is the schema: each message class carries its fields' numbers, types, oneofs, maps and wrappers.
Importing it takes 0.7 s (pydantic), so what is derived is written to `descriptors.binpb` (`make schema`), and a
test derives anew and compares. Nothing else imports envoy_data_plane.
Source: betterproto2's FieldMetadata; google/protobuf/descriptor.proto
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import betterproto2
from envoy_data_plane.message_pool import default_message_pool
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

OUTPUT: Final = Path(__file__).with_name("descriptors.binpb")

# What Pylis sends or receives; everything these refer to comes along.
ROOTS: Final = (
    "envoy.service.discovery.v3.DiscoveryRequest",
    "envoy.service.discovery.v3.DiscoveryResponse",
    "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.filters.network.rbac.v3.RBAC",
    "envoy.extensions.filters.network.set_filter_state.v3.Config",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.set_filter_state.v3.Config",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
    "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput",
    "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput",
    "envoy.extensions.matching.input_matchers.ip.v3.Ip",
    "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "envoy.config.rbac.v3.Action",
    "xds.type.matcher.v3.Matcher",
    "envoy.service.discovery.v3.Resource",
    "envoy.service.runtime.v3.Runtime",
    "envoy.service.status.v3.ClientStatusRequest",
    "envoy.service.status.v3.ClientStatusResponse",
    "envoy.service.metrics.v3.StreamMetricsMessage",
    "envoy.service.metrics.v3.StreamMetricsResponse",
    "envoy.service.accesslog.v3.StreamAccessLogsMessage",
    "envoy.service.accesslog.v3.StreamAccessLogsResponse",
    "envoy.admin.v3.BootstrapConfigDump",
    "envoy.admin.v3.Clusters",
    "envoy.admin.v3.ClustersConfigDump",
    "envoy.admin.v3.ConfigDump",
    "envoy.admin.v3.EcdsConfigDump",
    "envoy.admin.v3.EndpointsConfigDump",
    "envoy.admin.v3.Listeners",
    "envoy.admin.v3.ListenersConfigDump",
    "envoy.admin.v3.RoutesConfigDump",
    "envoy.admin.v3.SecretsConfigDump",
    "envoy.admin.v3.ServerInfo",
    "envoy.config.accesslog.v3.AccessLog",
    "envoy.config.bootstrap.v3.Bootstrap",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.config.core.v3.SubstitutionFormatString",
    "envoy.config.metrics.v3.MetricsServiceConfig",
    "envoy.config.rbac.v3.RBAC",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
    "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
    "envoy.extensions.access_loggers.stats.v3.Config",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    "envoy.extensions.formatter.cel.v3.Cel",
    "envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput",
    "envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput",
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
    "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput",
    "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput",
    "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput",
    "envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput",
    "envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput",
    "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput",
    "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput",
    "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput",
    "envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
)

# Fields that Envoy 1.40 has and envoy-data-plane 2.2 has not: message → name, number, message type.
# Source: the descriptors inside Envoy's binary.
SUPPLEMENTS: Final[dict[str, tuple[tuple[str, int, str], ...]]] = {
    "envoy.extensions.formatter.cel.v3.Cel": (("cel_config", 1, "envoy.config.core.v3.CelExpressionConfig"),),
}

_SCALARS: Final = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "sint32": FieldDescriptorProto.TYPE_SINT32,
    "sint64": FieldDescriptorProto.TYPE_SINT64,
    "fixed32": FieldDescriptorProto.TYPE_FIXED32,
    "fixed64": FieldDescriptorProto.TYPE_FIXED64,
    "sfixed32": FieldDescriptorProto.TYPE_SFIXED32,
    "sfixed64": FieldDescriptorProto.TYPE_SFIXED64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}


class Derivation:
    """Collects the messages reachable from the roots; messages that refer to each other share a file.

    Packages refer to each other in circles and files may not, so a package's messages are spread over files.
    """

    def __init__(self) -> None:
        self._messages: dict[str, DescriptorProto] = {}
        self._refers: dict[str, list[str]] = {}

    def run(self, roots: Iterable[str]) -> FileDescriptorSet:
        todo = list(roots)
        while todo:
            name = todo.pop()
            if name not in self._messages and not name.startswith("google.protobuf."):
                self._refers[name] = self._message(name)
                todo.extend(self._refers[name])
        return FileDescriptorSet(file=[self._file(group) for group in groups(self._refers)])

    def _file(self, group: list[str]) -> FileDescriptorProto:
        package, local = split(group[0])
        file = FileDescriptorProto(name=f"{package}.{flat(local)}.proto", package=package, syntax="proto3")
        file.message_type.extend(self._messages[name] for name in group)
        return file

    def _message(self, full_name: str) -> list[str]:
        cls = message_type(full_name)
        message = self._messages[full_name] = DescriptorProto(name=flat(split(full_name)[1]))
        refers: list[str] = []
        oneofs: dict[str, int] = {}
        hints = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]))
        for field in dataclasses.fields(cls):
            meta: Any = field.metadata["betterproto"]
            proto = FieldDescriptorProto(name=field.name.rstrip("_"), number=meta.number)
            repeated = meta.repeated or meta.proto_type == "map"
            proto.label = (
                FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if meta.proto_type == "map":
                refers += self._map(message, proto, meta, hints[field.name], full_name)
            else:
                refers += self._type(proto, meta, hints[field.name])
            if meta.group is not None:
                if meta.group not in oneofs:
                    oneofs[meta.group] = len(message.oneof_decl)
                    message.oneof_decl.add(name=meta.group)
                proto.oneof_index = oneofs[meta.group]
            elif meta.optional and meta.proto_type != "message":
                proto.proto3_optional = True
            message.field.append(proto)
        for name, number, type_name in SUPPLEMENTS.get(full_name, ()):
            package, local = split(type_name)
            message.field.add(
                name=name,
                number=number,
                label=FieldDescriptorProto.LABEL_OPTIONAL,
                type=FieldDescriptorProto.TYPE_MESSAGE,
                type_name=f".{package}.{flat(local)}",
            )
            refers.append(type_name)
        for proto in message.field:
            if proto.proto3_optional:  # presence is a oneof of one, after all real ones
                proto.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{proto.name}")
        return refers

    def _map(
        self, owner: DescriptorProto, proto: FieldDescriptorProto, meta: Any, hint: Any, full_name: str
    ) -> list[str]:
        entry = DescriptorProto(name=camel(proto.name) + "Entry")
        entry.options.map_entry = True
        key_hint, value_hint = typing.get_args(_bare(hint))
        key = FieldDescriptorProto(name="key", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL)
        value = FieldDescriptorProto(name="value", number=2, label=FieldDescriptorProto.LABEL_OPTIONAL)
        key_meta, value_meta = meta.map_meta
        self._type(key, key_meta, key_hint)
        refers = self._type(value, value_meta, value_hint)
        entry.field.extend([key, value])
        owner.nested_type.append(entry)
        package, local = split(full_name)
        proto.type = FieldDescriptorProto.TYPE_MESSAGE
        proto.type_name = f".{package}.{flat(local)}.{entry.name}"
        return refers

    def _type(self, proto: FieldDescriptorProto, meta: Any, hint: Any) -> list[str]:
        if meta.proto_type in _SCALARS:
            proto.type = _SCALARS[meta.proto_type]
            return []
        inner = _element(hint)
        if meta.proto_type == "enum":
            proto.type = FieldDescriptorProto.TYPE_ENUM
            proto.type_name, holder = self._enum(inner)
            return [holder] if holder else []
        cls = meta.unwrap() if meta.unwrap is not None else inner
        full_name = name_of(cls)
        proto.type = FieldDescriptorProto.TYPE_MESSAGE
        package, local = split(full_name)
        proto.type_name = f".{package}.{flat(local)}"
        return [full_name]

    def _enum(self, cls: type[betterproto2.Enum]) -> tuple[str, str]:
        """The enum's type name, and the message that holds it.

        Names of values share the scope of what their enum stands in, and envoy-data-plane has cut their
        prefixes: a holder of its own for each enum keeps them apart.
        """
        package = cls.__module__.removeprefix("envoy_data_plane.")
        holder = f"{package}.{cls.__name__}Holder"
        if holder not in self._messages:
            message = self._messages[holder] = DescriptorProto(name=f"{cls.__name__}Holder")
            self._refers[holder] = []
            enum = message.enum_type.add(name=cls.__name__)
            values = sorted(cls.__members__.items(), key=lambda item: (int(item[1]) != 0, int(item[1])))
            for name, value in values:
                enum.value.add(name=name.rstrip("_"), number=int(value))
        return f".{holder}.{cls.__name__}", holder


def groups(refers: Mapping[str, list[str]]) -> list[list[str]]:
    """Strongly connected components, what is referred to first. Source: Tarjan 1972."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in refers[name]:
            if other not in refers:
                continue
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            at = stack.index(name)
            result.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(refers):
        if name not in order:
            visit(name)
    return result


def message_type(full_name: str) -> type[Any]:
    """The envoy-data-plane class of a message; nested messages have flat Python names."""
    package, local = split(full_name)
    importlib.import_module(f"envoy_data_plane.{package}")
    return default_message_pool.url_to_type[f"type.googleapis.com/{package}.{local}"]


def name_of(cls: type[Any]) -> str:
    if cls.__module__.startswith("betterproto2") or cls.__module__.endswith("google.protobuf"):
        return f"google.protobuf.{cls.__name__}"
    url: str = default_message_pool.type_to_url[cls]
    return url.removeprefix("type.googleapis.com/")


def split(full_name: str) -> tuple[str, str]:
    """`a.b.v3.Outer.Inner` → (`a.b.v3`, `Outer.Inner`): message names begin with a capital."""
    match = re.match(r"^((?:[a-z0-9_]+\.)*[a-z0-9_]+)\.([A-Z].*)$", full_name)
    if match is None:
        raise ValueError(f"{full_name!r} is no message name")
    return match[1], match[2]


def flat(local: str) -> str:
    return local.replace(".", "")


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _bare(hint: Any) -> Any:
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint


def _element(hint: Any) -> Any:
    """The class inside `X | None`, `list[X]`, `Annotated[X, …]`."""
    hint = _bare(hint)
    arguments = [a for a in typing.get_args(hint) if a is not type(None)]
    return _element(arguments[0]) if arguments else hint


def derive() -> bytes:
    """The serialized FileDescriptorSet, byte for byte the same for the same envoy-data-plane."""
    return Derivation().run(ROOTS).SerializeToString(deterministic=True)


if __name__ == "__main__":
    OUTPUT.write_bytes(derive())
