"""Envoy's messages: envoy-data-plane is the schema, protobuf's upb the codec.

`descriptors.binpb` was derived from envoy-data-plane (see `derive`) and is loaded into a private descriptor
pool, so that it cannot clash with other protobuf users of the process. A nested message is named as in Envoy's
documentation (`envoy.config.rbac.v3.Permission.Set`). Enum values are envoy-data-plane's names (`STATIC`).

This is the one place where protobuf's untyped classes enter; what leaves is `Message`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from xds.errors import SchemaError
from xds.schema.on_demand import OnDemand, files_of

TYPE_URL_PREFIX: Final = "type.googleapis.com/"
_WELL_KNOWN: Final = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
_FILE: Final = Path(__file__).with_name("descriptors.binpb")


@cache
def pool() -> DescriptorPool:
    """The private pool with every message of the schema; each is built when it is first asked for."""
    return DescriptorPool(database())


@cache
def database() -> OnDemand:
    """The files of the schema and of protobuf's own types: each message of Envoy's has one to itself."""
    known = [module.DESCRIPTOR.serialized_pb for module in _WELL_KNOWN]
    return OnDemand([*known, *files_of(_FILE.read_bytes())])


@cache
def message_class(full_name: str) -> type[Message]:
    """Raises: SchemaError for a message the schema does not have."""
    try:
        return GetMessageClass(pool().FindMessageTypeByName(_flat(full_name)))
    except KeyError:
        raise SchemaError(
            f"{full_name} is no message of the schema: add it to xds/schema/derive.py"
        ) from None


def new(full_name: str, /, **fields: object) -> Message:
    """A message with `fields` set; nested messages as messages or dicts, enums by name.

    Raises: SchemaError for an unknown message, field or value.
    """
    cls: Any = message_class(full_name)  # upb's constructors have no static signature
    try:
        return cls(**fields)
    except (ValueError, TypeError) as error:
        raise SchemaError(f"{full_name}: {error}") from error


def pack(message: Message) -> Message:
    """The message inside a google.protobuf.Any."""
    return new("google.protobuf.Any", type_url=type_url(message), value=encode(message))


def encode(message: Message) -> bytes:
    """Bytes that are equal for equal messages."""
    return message.SerializeToString(deterministic=True)


def decode(full_name: str, data: bytes) -> Message:
    """Raises: SchemaError for an unknown message or for bytes that are none."""
    try:
        return message_class(full_name).FromString(data)
    except DecodeError as error:
        raise SchemaError(f"{full_name}: {error}") from error


def type_url(message: Message) -> str:
    return f"{TYPE_URL_PREFIX}{message.DESCRIPTOR.full_name}"


def _flat(full_name: str) -> str:
    """Nested messages stand beside their parents here, as they do in envoy-data-plane."""
    package, dot, local = re.sub(r"\.(?=[A-Z])", "\0", full_name, count=1).partition("\0")
    return f"{package}.{local.replace('.', '')}" if dot else full_name
