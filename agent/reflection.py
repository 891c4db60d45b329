"""What the agent's socket serves, told to whoever asks: gRPC server reflection, v1 and v1alpha, and health.

A client that finds no reflection may assume only the Workload API (SPIFFE_Workload_Endpoint §7). The Workload API is
described to the last field; of SDS the name is told, its messages are Envoy's. Neither needs an identity: the answer
is the same for everybody.
Source: grpc/reflection/v1/reflection.proto (v1alpha: the same messages); grpc/health/v1/health.proto
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# generated messages come without complete types

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.exceptions import GRPCError

from agent.socket_server import receive
from agent.workload_schema import service_file

SERVICES: Final = (
    "SpiffeWorkloadAPI",
    "envoy.service.secret.v3.SecretDiscoveryService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse {status: SERVING}


class Reflection:
    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    def __mapping__(self) -> dict[str, Method]:
        untyped: Any = None  # messages stay bytes
        found = {
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": Method(
                _reflect, Cardinality.STREAM_STREAM, untyped, untyped
            )
            for version in ("v1", "v1alpha")
        }
        health = "/grpc.health.v1.Health/"
        found[f"{health}Check"] = Method(_check, Cardinality.UNARY_UNARY, untyped, untyped)
        found[f"{health}Watch"] = Method(self._watch, Cardinality.UNARY_STREAM, untyped, untyped)
        return found

    async def _watch(self, stream: Any) -> None:
        await _check(stream)
        await self._stopping.wait()
        raise GRPCError(Status.UNAVAILABLE, "the agent is stopping")


async def _check(stream: Any) -> None:
    if await receive(stream):  # HealthCheckRequest {service}: the server as a whole has no name
        raise GRPCError(Status.NOT_FOUND, "only the whole is watched: leave service empty")
    await stream.send_message(_SERVING)


async def _reflect(stream: Any) -> None:
    from grpclib.reflection.v1 import reflection_pb2  # with the first who asks

    while (body := await receive(stream)) is not None:
        request = reflection_pb2.ServerReflectionRequest()
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, "no ServerReflectionRequest") from error
        response = reflection_pb2.ServerReflectionResponse(valid_host=request.host)
        response.original_request.CopyFrom(request)
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in SERVICES:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename" if request.file_by_filename in _files():
                _describe(response, request.file_by_filename)
            case "file_containing_symbol" if (name := _holder(request.file_containing_symbol)) is not None:
                _describe(response, name)
            case _:
                response.error_response.error_code = Status.NOT_FOUND.value
                response.error_response.error_message = "not described here"
        await stream.send_message(response.SerializeToString())


def _describe(response: Any, name: str) -> None:
    """A file and what it imports."""
    files = _files()
    for one in (name, *files[name].dependency):
        response.file_descriptor_response.file_descriptor_proto.append(files[one].SerializeToString())


@cache
def _files() -> dict[str, FileDescriptorProto]:
    from google.protobuf import struct_pb2

    struct = FileDescriptorProto()
    struct.ParseFromString(struct_pb2.DESCRIPTOR.serialized_pb)
    return {file.name: file for file in (service_file(), struct)}


@cache
def _symbols() -> dict[str, str]:
    """Full name of a service, method or message → its file."""
    found: dict[str, str] = {}
    for file in _files().values():
        prefix = f"{file.package}." if file.package else ""
        found.update({f"{prefix}{message.name}": file.name for message in file.message_type})
        for service in file.service:
            found[f"{prefix}{service.name}"] = file.name
            found.update({f"{prefix}{service.name}.{method.name}": file.name for method in service.method})
    return found


def _holder(symbol: str) -> str | None:
    return _symbols().get(symbol)
