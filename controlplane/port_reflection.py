"""gRPC reflection on the xDS port (an edge): what the port serves, told to whoever has an identity of the mesh.

Nothing but Envoy's published messages is told, still nobody hears of it who is not known, or is cut off. The agents'
own service is told by name: its messages are no protobuf.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# grpc and generated messages come without complete types

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, Final

import grpc
import structlog
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from ca.node_protocol import SYNC_METHOD
from controlplane import client_status
from controlplane.client_status import FETCH, STREAM
from xds import health, reflection, schema
from xds.reflection import Files, NotARequestError
from xds.serve import Peer, methods, peer_of
from xds.services import SERVICES as XDS

# method → request, response
_DESCRIBED: Final = {method: (service.request, service.response) for method, service in XDS.items()}
_DESCRIBED.update(dict.fromkeys((FETCH, STREAM), (client_status.REQUEST, client_status.RESPONSE)))
_UNARY: Final = frozenset({FETCH})


def _service_of(method: str) -> str:
    return method.strip("/").partition("/")[0]


SERVICES: Final = tuple(
    sorted({_service_of(m) for m in (*_DESCRIBED, *reflection.METHODS, health.CHECK, SYNC_METHOD)})
)
log = structlog.get_logger()


class PortReflection:
    """`is_known`: False for a peer that is cut off."""

    def __init__(self, is_known: Callable[[Peer], bool]) -> None:
        self._is_known = is_known

    def handler(self) -> grpc.GenericRpcHandler:
        return methods(
            dict.fromkeys(reflection.METHODS, grpc.stream_stream_rpc_method_handler(self._reflect))
        )

    async def _reflect(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            await self._admit(context)  # at each request: a stream may be open for long
            try:
                yield reflection.answer(request, SERVICES, database())
            except NotARequestError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _admit(self, context: Any) -> None:
        peer = peer_of(context)
        if peer is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate carries no SPIFFE ID")
        elif not self._is_known(peer):
            log.warning("reflection.refused", peer=str(peer.identity))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this identity is cut off")


@cache
def database() -> Files:
    from grpclib.health.v1 import health_pb2
    from grpclib.reflection.v1 import reflection_pb2
    from grpclib.reflection.v1alpha import reflection_pb2 as reflection_v1alpha_pb2

    generated = [
        FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for module in (health_pb2, reflection_pb2, reflection_v1alpha_pb2)
    ]
    return Files([*generated, *_service_files()], [schema.database()])


def _service_files() -> Iterator[FileDescriptorProto]:
    """A file a service: Envoy's own files stand in the schema by message."""
    files: dict[str, FileDescriptorProto] = {}
    for method, (request, response) in _DESCRIBED.items():
        full, _, name = method.strip("/").partition("/")
        package, _, service = full.rpartition(".")
        if full not in files:
            files[full] = FileDescriptorProto(name=f"{full}.proto", package=package, syntax="proto3")
            files[full].service.add(name=service)
        stream = method not in _UNARY
        files[full].service[0].method.add(
            name=name,
            input_type=f".{request}",
            output_type=f".{response}",
            client_streaming=stream,
            server_streaming=stream,
        )
        homes = {schema.database().FindFileContainingSymbol(one).name for one in (request, response)}
        files[full].dependency[:] = sorted({*files[full].dependency, *homes})
    yield from files.values()
