"""The checker itself: it must find what is wrong, or the tests that use it prove nothing."""

from __future__ import annotations

import pytest

from tests.integration.linearizable import Did, Operation, faults


def op(did: Did, value: str, version: int, began: float, ended: float) -> Operation:
    return Operation("k", did, value, version, began, ended)


GOOD = [
    op(Did.WRITE, "a", 1, 0, 1),
    op(Did.WRITE, "b", 2, 0.5, 3),
    op(Did.READ, "a", 1, 1.5, 2),
    op(Did.READ, "b", 2, 1.6, 2.5),
    op(Did.LOST, "c", 0, 3, float("inf")),
    op(Did.READ, "c", 3, 4, 5),
]


def test_a_good_history_has_no_faults() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    "bad",
    [
        op(Did.READ, "a", 1, 6, 7),  # stale: b was known
        op(Did.READ, "x", 4, 6, 7),  # nobody wrote it
        op(Did.READ, "x", 2, 6, 7),  # another value is at this version
        op(Did.WRITE, "d", 2, 6, 7),  # a version twice
        op(Did.WRITE, "d", 3, 6, 7),  # a write that is not newer than what was read
    ],
)
def test_a_bad_one_is_found(bad: Operation) -> None:
    assert faults([*GOOD, bad])
