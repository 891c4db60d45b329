from __future__ import annotations

from ca.attest.supervised import selectors


def test_a_supervised_process_is_known_by_its_workload() -> None:
    assert selectors("shop", "orders") == {"supervised:workload:shop/orders"}
