"""What the socket serves is found out by gRPC's own reflection client, and its health by a bare call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from agent.reflection import SERVICES, Reflection
from agent.socket_server import SocketServer
from agent.workload_schema import METHODS, message

INFO = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    stopping = asyncio.Event()
    server = SocketServer([Reflection(stopping)], stopping, lambda: None)
    await server.listen(tmp_path / "agent.sock")
    yield f"unix://{tmp_path}/agent.sock"
    await server.stop()


def described(address: str) -> tuple[set[str], Any]:
    """The services a client finds, and the Workload API as it is described to it."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        return set(database.get_services()), pool.FindServiceByName("SpiffeWorkloadAPI")


@pytest.mark.spiffe("E-22")
async def test_a_client_finds_the_services_and_every_method_of_the_workload_api(address: str) -> None:
    names, service = await asyncio.to_thread(described, address)
    assert names == set(SERVICES)
    found = {(m.name, m.input_type.name, m.output_type.name, m.server_streaming) for m in service.methods}
    assert found == set(METHODS)


async def test_what_is_described_is_what_is_spoken(address: str) -> None:
    _, service = await asyncio.to_thread(described, address)
    seen = service.FindMethodByName("FetchJWTSVID").input_type
    ours = message("JWTSVIDRequest")(audience=["db"], spiffe_id="spiffe://example.org/a")
    theirs = GetMessageClass(seen).FromString(ours.SerializeToString())
    assert list(theirs.audience) == ["db"]
    assert theirs.spiffe_id == "spiffe://example.org/a"
    answer = service.FindMethodByName("ValidateJWTSVID").output_type
    assert answer.fields_by_name["claims"].message_type.full_name == "google.protobuf.Struct"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_answer_and_what_is_not_described_is_not_found(
    address: str, version: str
) -> None:
    request, response = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
    asked = [
        request(list_services=""),
        request(file_containing_symbol="no.such.Thing"),
        request(file_by_filename="x"),
    ]
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(INFO.format(version), request.SerializeToString, response.FromString)(
            iter(asked)
        )
        services, *missing = [one async for one in call]
    assert {one.name for one in services.list_services_response.service} == set(SERVICES)
    assert [one.error_response.error_code for one in missing] == [grpc.StatusCode.NOT_FOUND.value[0]] * 2


async def test_it_says_that_it_is_serving_and_knows_no_service_by_name(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(b"\x0a\x01x")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        watched = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert await watched.read() == b"\x08\x01"
        watched.cancel()
