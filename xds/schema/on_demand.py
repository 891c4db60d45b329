"""Descriptors on demand: a process builds the few dozen message types it uses, not the schema's hundreds.

Files stay bytes until the pool asks for one. Only as much of the wire format is read here as it takes to know
the name of each file and of the messages in it.
Source: google.protobuf.descriptor_database; google/protobuf/descriptor.proto (field numbers)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

_LENGTH_DELIMITED: Final = 2
_FILES: Final = 1  # FileDescriptorSet.file
_NAME, _PACKAGE, _MESSAGES, _ENUMS = 1, 2, 4, 5  # FileDescriptorProto; a type's name is its field 1, too


class OnDemand:
    """The database a DescriptorPool asks. `files` are serialized FileDescriptorProtos, their imports left out."""

    def __init__(self, files: Iterable[bytes]) -> None:
        self._files: dict[str, bytes] = {}
        self._file_of: dict[str, str] = {}  # full name of a type → its file
        for data in files:
            fields = list(_fields(data))
            text = {number: body.decode() for number, body in fields if number in (_NAME, _PACKAGE)}
            self._files[text[_NAME]] = data
            for number, body in fields:
                if number in (_MESSAGES, _ENUMS):
                    name = next(inner.decode() for n, inner in _fields(body) if n == _NAME)
                    self._file_of[f"{text[_PACKAGE]}.{name}"] = text[_NAME]

    def FindFileByName(self, name: str) -> FileDescriptorProto:
        """Raises: KeyError."""
        file = FileDescriptorProto.FromString(self._files[name])
        named = {field.type_name for message in _messages(file.message_type) for field in message.field}
        file.dependency[:] = sorted({self._home(full[1:]) for full in named if full} - {name})
        return file

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptorProto:
        """Raises: KeyError."""
        return self.FindFileByName(self._home(symbol))

    def _home(self, symbol: str) -> str:
        """The file of a type, or of the message it stands in."""
        while symbol not in self._file_of and "." in symbol:
            symbol = symbol.rpartition(".")[0]
        return self._file_of[symbol]


def _messages(found: Iterable[DescriptorProto]) -> Iterator[DescriptorProto]:
    """These and all that stand inside them: the entries of maps."""
    for message in found:
        yield message
        yield from _messages(message.nested_type)


def files_of(descriptor_set: bytes) -> list[bytes]:
    """The serialized files of a serialized FileDescriptorSet."""
    return [body for number, body in _fields(descriptor_set) if number == _FILES]


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message, in order. Descriptors hold varints beside them, and nothing else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        value, position = _varint(data, position)
        if key & 7 == _LENGTH_DELIMITED:
            yield key >> 3, data[position : position + value]
            position += value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
