"""The committed descriptors are what envoy-data-plane says, and both codecs read each other's bytes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from google.protobuf.descriptor import FieldDescriptor

from xds import schema
from xds.schema import derive

pytestmark = [
    # envoy-data-plane declares its validators in a form that pydantic no longer likes; it is said at import
    pytest.mark.filterwarnings("ignore:Using `@model_validator`:DeprecationWarning"),
    # every field is filled, those that Envoy deprecates too
    pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning"),
]

SMALLEST = {
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.25,
    FieldDescriptor.CPPTYPE_INT32: -3,
    FieldDescriptor.CPPTYPE_INT64: -(2**40),
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**63,
}


def fill(message: Any, rng: random.Random, depth: int = 0) -> Any:
    """Sets every field (one of each oneof) down to a depth, so that no field number goes untried."""
    choices = [rng.choice(oneof.fields) for oneof in message.DESCRIPTOR.oneofs]
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is None or field in choices:
            fill_field(message, field, rng, depth)
    return message


def fill_field(message: Any, field: Any, rng: random.Random, depth: int) -> None:
    value = getattr(message, field.name)
    if field.message_type is None:
        scalar = fill_scalar(field, rng)
        if field.is_repeated:
            value.extend([scalar, scalar])
        else:
            setattr(message, field.name, scalar)
    elif field.message_type.GetOptions().map_entry:
        fill_map(value, field.message_type.fields_by_name, rng, depth)
    elif depth < 4 and not field.message_type.full_name.startswith("google.protobuf."):
        fill(value.add() if field.is_repeated else value, rng, depth + 1)
    elif not field.is_repeated:
        value.SetInParent()


def fill_map(value: Any, parts: Any, rng: random.Random, depth: int) -> None:
    key = fill_scalar(parts["key"], rng)
    if parts["value"].message_type is None:
        value[key] = fill_scalar(parts["value"], rng)
    elif depth < 4 and not parts["value"].message_type.full_name.startswith("google.protobuf."):
        fill(value[key], rng, depth + 1)


def fill_scalar(field: Any, rng: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice(field.enum_type.values).number
        case FieldDescriptor.CPPTYPE_STRING:
            text = f"{field.name}ü"
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case kind:
            return SMALLEST[kind]


def unknown_fields(message: Any) -> list[str]:
    """Where envoy-data-plane met a field it has no place for, and that was not added on purpose."""
    supplemented = derive.name_of(type(message)) in derive.SUPPLEMENTS
    found = [type(message).__name__] if message._unknown_fields and not supplemented else []
    for value in vars(message).values():
        items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        found += [
            name for item in items if isinstance(item, betterproto2.Message) for name in unknown_fields(item)
        ]
    return found


def test_the_committed_file_is_what_is_derived() -> None:
    committed = Path(schema.__file__).with_name("descriptors.binpb").read_bytes()
    assert derive.derive() == committed, "run `make schema` and commit what it writes"


@pytest.mark.parametrize("root", derive.ROOTS)
@pytest.mark.parametrize("seed", range(3))
def test_both_codecs_read_each_others_bytes(root: str, seed: int) -> None:
    ours: Any = fill(schema.new(root), random.Random(seed))
    theirs = derive.message_type(root).parse(schema.encode(ours))
    assert unknown_fields(theirs) == []
    assert schema.decode(root, bytes(theirs)) == ours


@pytest.mark.parametrize("root", derive.ROOTS)
def test_an_empty_message_has_no_bytes(root: str) -> None:
    assert schema.encode(schema.new(root)) == bytes(derive.message_type(root)()) == b""


def test_optional_scalars_and_wrappers_know_zero_from_unset() -> None:
    unset: Any = schema.new("envoy.config.core.v3.SocketAddress", address="a")
    zero: Any = schema.new("envoy.config.core.v3.SocketAddress", address="a", port_value=0)
    assert unset.WhichOneof("port_specifier") is None
    assert zero.WhichOneof("port_specifier") == "port_value"
    limit: Any = schema.new("envoy.config.cluster.v3.Cluster", per_connection_buffer_limit_bytes={"value": 0})
    assert limit.HasField("per_connection_buffer_limit_bytes")


def test_an_unknown_root_names_itself() -> None:
    with pytest.raises(ValueError, match="'nothing' is no message name"):
        derive.split("nothing")


def test_messages_that_refer_to_each_other_share_a_group() -> None:
    refers = {"a": ["b"], "b": ["c"], "c": ["b", "outside"], "d": ["a", "d"]}
    assert derive.groups(refers) == [["b", "c"], ["a"], ["d"]]
