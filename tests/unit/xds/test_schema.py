"""The surface of xds.schema; that it agrees with envoy-data-plane is test_schema_derive's."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, wrappers_pb2

from xds import schema
from xds.errors import SchemaError

CLUSTER = "envoy.config.cluster.v3.Cluster"
LISTENER = "envoy.config.listener.v3.Listener"


def a_cluster(**fields: object) -> Any:
    return schema.new(CLUSTER, **fields)


def test_fields_lists_maps_enums_and_nested_messages_are_set_by_plain_values() -> None:
    cluster = a_cluster(
        name="a",
        type="EDS",
        connect_timeout={"seconds": 5},
        eds_cluster_config={"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        metadata={"filter_metadata": {"x": {"fields": {"k": {"string_value": "v"}}}}},
    )
    assert cluster.type == 3
    assert cluster.WhichOneof("cluster_discovery_type") == "type"
    assert cluster.connect_timeout.seconds == 5
    assert cluster.eds_cluster_config.eds_config.HasField("ads")
    assert cluster.metadata.filter_metadata["x"].fields["k"].string_value == "v"


def test_an_enum_in_a_oneof_keeps_its_zero() -> None:
    assert schema.encode(a_cluster(type="STATIC")) == bytes([2 << 3, 0])


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("envoy.config.cluster.v3.Nothing", {}, "no message of the schema"),
        ("", {}, "no message of the schema"),
        (CLUSTER, {"no_such_field": 1}, "no_such_field"),
        (CLUSTER, {"name": 1}, "Cluster"),
        (CLUSTER, {"type": "NO_SUCH_VALUE"}, "NO_SUCH_VALUE"),
        (CLUSTER, {"connect_timeout": {"minutes": 1}}, "minutes"),
    ],
)
def test_what_the_schema_does_not_have_is_a_schema_error(
    name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        schema.new(name, **fields)


def test_encoding_is_deterministic_for_maps() -> None:
    names = [f"k{i}" for i in range(20)]
    one = a_cluster(metadata={"filter_metadata": {name: {} for name in names}})
    other = a_cluster(metadata={"filter_metadata": {name: {} for name in reversed(names)}})
    assert schema.encode(one) == schema.encode(other)


def test_decode_undoes_encode() -> None:
    cluster = a_cluster(name="a", type="STATIC")
    assert schema.decode(CLUSTER, schema.encode(cluster)) == cluster


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff"])
def test_bytes_that_are_no_message_are_a_schema_error(data: bytes) -> None:
    with pytest.raises(SchemaError):
        schema.decode(CLUSTER, data)


def test_unknown_fields_of_a_newer_envoy_do_not_fail() -> None:
    assert schema.decode(CLUSTER, b"\x0a\x01a" + b"\xf8\x7f\x01") is not None


def test_a_type_url_is_that_of_the_documentation() -> None:
    assert schema.type_url(a_cluster()) == "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def test_a_packed_message_is_a_standard_any() -> None:
    cluster = a_cluster(name="a")
    official = any_pb2.Any.FromString(schema.encode(schema.pack(cluster)))
    assert official.type_url == schema.type_url(cluster)
    assert official.value == schema.encode(cluster)


def test_well_known_types_are_the_official_ones() -> None:
    cluster = a_cluster(
        connect_timeout={"seconds": 1, "nanos": 2}, per_connection_buffer_limit_bytes={"value": 3}
    )
    timeout = duration_pb2.Duration.FromString(cluster.connect_timeout.SerializeToString())
    assert (timeout.seconds, timeout.nanos) == (1, 2)
    limit = wrappers_pb2.UInt32Value.FromString(cluster.per_connection_buffer_limit_bytes.SerializeToString())
    assert limit.value == 3
    for official in (any_pb2.Any, duration_pb2.Duration, struct_pb2.Struct, wrappers_pb2.BoolValue):
        ours = schema.message_class(official.DESCRIPTOR.full_name)
        assert ours.DESCRIPTOR.file.pool is not official.DESCRIPTOR.file.pool
        assert ours.DESCRIPTOR.fields_by_name.keys() == official.DESCRIPTOR.fields_by_name.keys()


def test_a_message_prints_as_json_with_durations_wrappers_and_anys() -> None:
    inner = schema.pack(a_cluster(name="inner"))
    listener = schema.new(
        LISTENER,
        name="l",
        listener_filters_timeout={"seconds": 1, "nanos": 500_000_000},
        use_original_dst={"value": True},
        filter_chains=[{"filters": [{"name": "f", "typed_config": inner}]}],
    )
    text = json_format.MessageToDict(
        listener, descriptor_pool=schema.pool(), preserving_proto_field_name=True
    )
    assert text["listener_filters_timeout"] == "1.500s"
    assert text["use_original_dst"] is True
    (packed,) = text["filter_chains"][0]["filters"]
    assert packed["typed_config"] == {"@type": schema.type_url(a_cluster()), "name": "inner"}


def test_nested_messages_go_by_their_documented_names() -> None:
    schema.new("xds.type.matcher.v3.Matcher.MatcherList.Predicate")
    schema.new("envoy.config.rbac.v3.Permission.Set")


def test_using_it_loads_neither_envoy_data_plane_nor_pydantic_nor_the_default_pool() -> None:
    program = (
        "import sys\n"
        "from xds import schema\n"
        f"schema.new({CLUSTER!r})\n"
        "from google.protobuf.descriptor_pool import Default\n"
        "heavy = {'envoy_data_plane', 'betterproto2', 'pydantic', 'grpc', 'asyncio'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "try:\n"
        f"    Default().FindMessageTypeByName({CLUSTER!r})\n"
        "except KeyError:\n"
        "    sys.exit(0)\n"
        "sys.exit('the default pool has our messages')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
