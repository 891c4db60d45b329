"""Source of the vectors: SPIFFE-ID §2, requirements ID-01 to ID-17."""

from __future__ import annotations

import pytest

from ca.errors import SpiffeIdError
from ca.spiffe_id import SpiffeId, TrustDomain, agent_id, agent_name, server_id, workload_id

TD = TrustDomain.parse("example.org")


@pytest.mark.spiffe("ID-02", "ID-09", "ID-14")
@pytest.mark.parametrize(
    "text",
    [
        "spiffe://example.org",
        "spiffe://example.org/ns/a/sa/b",
        "spiffe://1.2.3.4/service",
        "spiffe://a_b-c.d/..a/.../a..",
        "spiffe://td/" + "p" * (2048 - len("spiffe://td/")),
        "spiffe://" + "t" * 255,
    ],
)
def test_a_valid_id_is_kept_as_written(text: str) -> None:
    assert str(SpiffeId.parse(text)) == text


@pytest.mark.spiffe(
    "ID-01",
    "ID-02",
    "ID-03",
    "ID-04",
    "ID-05",
    "ID-06",
    "ID-07",
    "ID-08",
    "ID-10",
    "ID-11",
    "ID-12",
    "ID-13",
    "ID-15",
    "ID-16",
)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "scheme"),
        ("http://td/a", "scheme"),
        ("SPIFFE://td/a", "scheme"),
        (" spiffe://td/a", "scheme"),
        ("spiffe:///a", "empty"),
        ("spiffe://", "empty"),
        ("spiffe://TD/a", "'T'"),
        ("spiffe://user@td/a", "'@'"),
        ("spiffe://td:8080/a", "':'"),
        ("spiffe://td:/a", "':'"),
        ("spiffe://t%64/a", "'%'"),
        ("spiffe://td?", "'?'"),
        ("spiffe://td/a?", "'?'"),
        ("spiffe://td/a#", "'#'"),
        ("spiffe://td/%61", "'%'"),
        ("spiffe://td/", "empty segment"),
        ("spiffe://td/a/", "trailing slash"),
        ("spiffe://td/a//b", "empty segment"),
        ("spiffe://td/./a", "dot segment"),
        ("spiffe://td/a/..", "dot segment"),
        ("spiffe://td/a\n", r"'\n'"),
        ("spiffe://td/\u212a", "'\u212a'"),
        ("spiffe://td/\ud800", "the path has"),
        ("spiffe://" + "t" * 256 + "/a", "255"),
        ("spiffe://td/" + "p" * 2048, "2048"),
    ],
)
def test_the_first_broken_rule_is_named(text: str, reason: str) -> None:
    with pytest.raises(SpiffeIdError) as caught:
        SpiffeId.parse(text)
    assert reason in str(caught.value)


@pytest.mark.spiffe("ID-17")
def test_paths_differ_by_case() -> None:
    assert SpiffeId.parse("spiffe://td/A") != SpiffeId.parse("spiffe://td/a")


def test_a_workload_has_a_namespace_and_a_service_account() -> None:
    identity = workload_id(TD, "shop", "orders")
    assert str(identity) == "spiffe://example.org/ns/shop/sa/orders"
    assert (identity.namespace, identity.service_account) == ("shop", "orders")
    assert identity.principal == "example.org/ns/shop/sa/orders"


@pytest.mark.parametrize("path", ["/ns/shop", "/ns/shop/sa/orders/x", "/NS/shop/sa/orders", ""])
def test_other_shapes_have_neither(path: str) -> None:
    identity = SpiffeId.parse(f"spiffe://example.org{path}")
    assert (identity.namespace, identity.service_account) == (None, None)


@pytest.mark.parametrize("part", ["", "..", "a/b", "a b", "%2e"])
def test_a_part_that_is_no_single_segment_makes_no_id(part: str) -> None:
    with pytest.raises(SpiffeIdError):
        workload_id(TD, part, "orders")
    with pytest.raises(SpiffeIdError):
        agent_id(TD, part)


def test_what_the_control_plane_keeps_for_itself() -> None:
    assert agent_id(TD, "one").is_reserved
    assert server_id(TD).is_reserved
    assert SpiffeId.parse("spiffe://example.org/pylis").is_reserved
    assert not SpiffeId.parse("spiffe://example.org/pylisx/a").is_reserved


def test_an_agents_name_is_read_from_agents_ids_only() -> None:
    assert agent_name(agent_id(TD, "one")) == "one"
    assert agent_name(server_id(TD)) is None
    assert agent_name(SpiffeId.parse("spiffe://example.org/pylis/agent/a/b")) is None
