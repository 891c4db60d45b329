"""Reflection as bytes: what is described, what is not, and what is no request."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.reflection.v1 import reflection_pb2

from xds import schema
from xds.reflection import Files, NotARequestError, answer

DELTA = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
OWN = FileDescriptorProto(name="own.proto", package="own", syntax="proto3")
OWN.message_type.add(name="Message")
OWN.service.add(name="Service").method.add(name="Do", input_type=".own.Message", output_type=f".{DELTA}")
OWN.dependency.append(f"{DELTA}.proto")
DATABASE = Files([OWN], [schema.database()])


def ask(**request: str) -> Any:
    body = reflection_pb2.ServerReflectionRequest(host="h", **request).SerializeToString()
    response = reflection_pb2.ServerReflectionResponse.FromString(answer(body, ["own.Service"], DATABASE))
    assert (response.valid_host, response.original_request.SerializeToString()) == ("h", body)
    return response


def files(response: Any) -> list[FileDescriptorProto]:
    found = response.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(body) for body in found]


def test_services_are_listed() -> None:
    assert [one.name for one in ask(list_services="").list_services_response.service] == ["own.Service"]


@pytest.mark.parametrize("symbol", ["own.Service", "own.Service.Do", "own.Message"])
def test_a_symbol_is_answered_by_its_file_and_all_that_it_imports(symbol: str) -> None:
    found = files(ask(file_containing_symbol=symbol))
    assert found[0].name == "own.proto"
    names = {file.name for file in found}
    assert all(set(file.dependency) <= names for file in found), "nothing is left to ask for"
    assert "google/protobuf/any.proto" in names


def test_files_are_found_by_name_in_every_database() -> None:
    assert files(ask(file_by_filename="own.proto"))[0].name == "own.proto"
    assert files(ask(file_by_filename=f"{DELTA}.proto"))[0].message_type[0].name == "DeltaDiscoveryRequest"


@pytest.mark.parametrize(
    "request_",
    [
        {"file_by_filename": "/etc/passwd"},
        {"file_containing_symbol": "no.such.Symbol"},
        {"file_containing_symbol": ""},
        {"all_extension_numbers_of_type": DELTA},
        {},
    ],
)
def test_what_is_not_described_is_an_error_in_the_answer(request_: dict[str, str]) -> None:
    assert ask(**request_).error_response.error_code == 5


def test_bytes_that_are_no_request_are_said_to_be_none() -> None:
    with pytest.raises(NotARequestError):
        answer(b"\xff", [], DATABASE)
