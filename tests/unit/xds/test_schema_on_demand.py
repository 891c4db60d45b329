"""Only what is asked for is built, and it is what the whole set would give."""

from __future__ import annotations

import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from xds.schema.on_demand import OnDemand, files_of


def a_file(name: str, *types: str, field: str = "") -> FileDescriptorProto:
    file = FileDescriptorProto(name=f"{name}.proto", package="p", syntax="proto3")
    for one in types:
        message = file.message_type.add(name=one)
        if field:
            message.field.add(name="inner", number=1, label=1, type=11, type_name=field)
    return file


def test_the_files_of_a_set_are_found() -> None:
    files = [a_file("a", "A"), a_file("b", "B", "C")]
    assert files_of(FileDescriptorSet(file=files).SerializeToString()) == [
        f.SerializeToString() for f in files
    ]


def test_a_message_is_found_by_name_and_brings_what_it_refers_to() -> None:
    files = [a_file("a", "A", field=".p.C"), a_file("b", "B", "C"), struct_pb2.DESCRIPTOR]
    database = OnDemand(
        f.SerializeToString() if isinstance(f, FileDescriptorProto) else f.serialized_pb for f in files
    )
    assert list(database.FindFileContainingSymbol("p.A").dependency) == ["b.proto"]
    assert list(database.FindFileByName("b.proto").dependency) == []
    assert database.FindFileContainingSymbol("google.protobuf.NullValue").package == "google.protobuf"
    pool = DescriptorPool(database)
    assert pool.FindMessageTypeByName("p.A").fields_by_name["inner"].message_type.full_name == "p.C"


def test_what_is_not_there_is_a_key_error() -> None:
    database = OnDemand([a_file("a", "A").SerializeToString()])
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("p.Nothing")
    with pytest.raises(KeyError):
        database.FindFileByName("none.proto")
