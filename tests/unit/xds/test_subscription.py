from __future__ import annotations

import pytest

from xds.errors import ProtocolError
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, RUNTIME, Resource
from xds.subscription import MAX_NAMES, ORDER, Interest, Subscriptions, limit

OFFERED = {name: Resource(ENDPOINTS, name, b"", "1") for name in ("b", "a", "c")}


def test_names_choose_of_what_is_offered_and_a_wildcard_takes_it_whole() -> None:
    assert list(Interest(names={"c", "a", "none"}).of(OFFERED)) == ["a", "c"]
    assert Interest(wildcard=True).of(OFFERED) is OFFERED
    assert Interest(names={"a"}).wants("a") and not Interest(names={"a"}).wants("b")
    assert Interest(wildcard=True).wants("b")


def test_types_are_kept_in_the_order_they_are_sent_in_whatever_order_they_came() -> None:
    found = Subscriptions(Interest)
    for type_url in (LISTENER, RUNTIME, ENDPOINTS, CLUSTER):
        found.open(type_url)
    order = [type_url for type_url, _ in found.items()]
    assert order == [type_url for type_url in ORDER if type_url in order]


def test_what_is_known_of_other_types_stays_when_one_is_opened() -> None:
    found = Subscriptions(Interest)
    found.open(LISTENER).names.add("l")
    found.open(CLUSTER)
    assert (one := found.get(LISTENER)) is not None and one.names == {"l"}
    assert found.get(ENDPOINTS) is None


def test_a_type_nobody_serves_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not served"):
        Subscriptions(Interest).open("type.googleapis.com/nothing")


def test_names_are_limited() -> None:
    limit({str(n) for n in range(MAX_NAMES)})
    with pytest.raises(ProtocolError, match="more than"):
        limit({str(n) for n in range(MAX_NAMES + 1)})
