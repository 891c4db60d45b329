"""Which lines are written, and what is in them."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from xds import schema
from xds.compile import access_log
from xds.plan import AccessLog

_STDOUT = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"


def fields(logger: Any) -> dict[str, Any]:
    config: Any = schema.decode(_STDOUT, logger.typed_config.value)
    assert config.log_format.omit_empty_values
    return MessageToDict(config.log_format.json_format)


def looked_for(logger: Any) -> list[str]:
    """The metadata that a line is written for, beside its status."""
    filters = logger.filter.or_filter.filters
    return [f.metadata_filter.matcher.path[0].key for f in filters if f.HasField("metadata_filter")]


def test_off_writes_nothing() -> None:
    assert access_log.requests(AccessLog.OFF, direction="inbound", port=80) == []
    assert access_log.connections(AccessLog.OFF, direction="inbound", port=80) == []


def test_all_has_no_filter() -> None:
    [logger] = access_log.requests(AccessLog.ALL, direction="inbound", port=80)
    assert not logger.HasField("filter")


def test_what_would_be_denied_is_written_where_it_comes_in() -> None:
    [inbound] = access_log.requests(AccessLog.DENIED, direction="inbound", port=8080)
    [outbound] = access_log.requests(AccessLog.DENIED, direction="outbound", port=15001)
    assert looked_for(inbound) == ["access_log_hint", "observed_shadow_engine_result"]
    assert looked_for(outbound) == ["access_log_hint"]
    assert "observedRule" in fields(inbound)
    assert "observedRule" not in fields(outbound)


def test_a_connection_has_the_port_it_was_meant_for_where_a_listener_serves_several() -> None:
    [one] = access_log.connections(AccessLog.DENIED, direction="inbound", port=5432)
    [many] = access_log.connections(AccessLog.DENIED, direction="inbound", port=None)
    assert fields(one)["port"] == "5432"
    assert fields(many)["port"] == "%DOWNSTREAM_LOCAL_PORT%"
