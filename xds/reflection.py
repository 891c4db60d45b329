"""gRPC server reflection without I/O, v1 and v1alpha: a request in, the answer out. For the xDS port and the agent's socket.

What is described comes from a descriptor database as protobuf has them (`FindFileByName`, `FindFileContainingSymbol`);
an answer holds the file that was asked for and all that it imports, each before what imports it. What is not described
is an error in the answer, as the protocol has it.
Source: grpc/reflection/v1/reflection.proto (v1alpha: the same messages)
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# generated messages come without complete types

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

METHODS: Final = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
)
_NOT_FOUND: Final = 5  # gRPC's status


class NotARequestError(Exception):
    """Bytes that are no ServerReflectionRequest."""


class Database(Protocol):
    """As protobuf's DescriptorDatabase: both raise KeyError."""

    def FindFileByName(self, name: str) -> FileDescriptorProto: ...

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptorProto: ...


class Files:
    """A database of files that are at hand; what they do not have is looked for in `others`."""

    def __init__(self, files: Iterable[FileDescriptorProto], others: Sequence[Database] = ()) -> None:
        self._files = {file.name: file for file in files}
        self._holders = dict(_holders(self._files))
        self._others = others

    def FindFileByName(self, name: str) -> FileDescriptorProto:
        """Raises: KeyError."""
        if name in self._files:
            return self._files[name]
        for other in self._others:
            try:
                return other.FindFileByName(name)
            except KeyError:
                continue
        raise KeyError(name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptorProto:
        """Raises: KeyError."""
        if symbol in self._holders:
            return self._files[self._holders[symbol]]
        for other in self._others:
            try:
                return other.FindFileContainingSymbol(symbol)
            except KeyError:
                continue
        raise KeyError(symbol)


def answer(body: bytes, services: Sequence[str], database: Database) -> bytes:
    """A ServerReflectionResponse. Raises: NotARequestError."""
    from grpclib.reflection.v1 import reflection_pb2  # with the first who asks

    request = reflection_pb2.ServerReflectionRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise NotARequestError("no ServerReflectionRequest") from error
    response = reflection_pb2.ServerReflectionResponse(valid_host=request.host)
    response.original_request.CopyFrom(request)
    if request.WhichOneof("message_request") == "list_services":
        for name in services:
            response.list_services_response.service.add(name=name)
        return response.SerializeToString()
    try:
        _describe(response, _asked_for(request, database), database)
    except KeyError:
        response.error_response.error_code = _NOT_FOUND
        response.error_response.error_message = "not described here"
    return response.SerializeToString()


def _asked_for(request: Any, database: Database) -> FileDescriptorProto:
    """Raises: KeyError."""
    match request.WhichOneof("message_request"):
        case "file_by_filename":
            return database.FindFileByName(request.file_by_filename)
        case "file_containing_symbol":
            return database.FindFileContainingSymbol(request.file_containing_symbol)
        case other:
            raise KeyError(other)


def _describe(response: Any, file: FileDescriptorProto, database: Database) -> None:
    found: dict[str, FileDescriptorProto] = {}
    _gather(file, database, found)
    # the one that was asked for stands first; the rest in the order in which a pool can take them
    ordered = [file, *(one for name, one in found.items() if name != file.name)]
    response.file_descriptor_response.file_descriptor_proto.extend(f.SerializeToString() for f in ordered)


def _gather(file: FileDescriptorProto, database: Database, found: dict[str, FileDescriptorProto]) -> None:
    if file.name in found:
        return
    for name in file.dependency:
        if name not in found:
            _gather(database.FindFileByName(name), database, found)
    found[file.name] = file


def _holders(files: Mapping[str, FileDescriptorProto]) -> Iterable[tuple[str, str]]:
    """Full name of a service, method, message or enum → its file."""
    for file in files.values():
        prefix = f"{file.package}." if file.package else ""
        for one in (*file.message_type, *file.enum_type):
            yield f"{prefix}{one.name}", file.name
        for service in file.service:
            yield f"{prefix}{service.name}", file.name
            for method in service.method:
                yield f"{prefix}{service.name}.{method.name}", file.name
