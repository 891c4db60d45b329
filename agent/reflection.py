"""What the agent's socket serves, told to whoever asks: gRPC server reflection, v1 and v1alpha, and health.

A client that finds no reflection may assume only the Workload API (SPIFFE_Workload_Endpoint §7). The Workload API is
described to the last field; of SDS the name is told, its messages are Envoy's. Neither needs an identity: the answer
is the same for everybody.
Source: grpc/health/v1/health.proto; reflection itself is `xds.reflection`
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# generated messages come without complete types

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.exceptions import GRPCError

from agent.socket_server import receive
from agent.workload_schema import service_file
from xds.reflection import METHODS, Files, NotARequestError, answer

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
        found = {method: Method(_reflect, Cardinality.STREAM_STREAM, untyped, untyped) for method in METHODS}
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
    while (body := await receive(stream)) is not None:
        try:
            await stream.send_message(answer(body, SERVICES, _database()))
        except NotARequestError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error


@cache
def _database() -> Files:
    from google.protobuf import struct_pb2

    struct = FileDescriptorProto.FromString(struct_pb2.DESCRIPTOR.serialized_pb)
    return Files([service_file(), struct])
