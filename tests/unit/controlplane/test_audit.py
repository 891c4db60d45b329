"""The chain: what is changed, removed, added or moved is found; what is whole is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from controlplane.audit import Decision, Entry, Head, against, chain, decode, seal, seal_holds, syslog, verify

TIME = "2026-11-26T02:00:00.000000Z"


def a_log(count: int = 6) -> list[str]:
    head, lines = Head(), list[str]()
    for n in range(count):
        record = chain(head, Entry("create", "ann", name=f"n{n}", detail={"n": n}), time=TIME, revision=n)
        lines.append(record.line())
        head = record.head
    return lines


def _edit(lines: list[str], at: int, **fields: object) -> list[str]:
    value = {**json.loads(lines[at]), **fields}
    return [*lines[:at], json.dumps(value), *lines[at + 1 :]]


TAMPERED: dict[str, tuple[Callable[[list[str]], list[str]], int]] = {
    "changed who": (lambda li: _edit(li, 2, who="bob"), 3),
    "changed detail": (lambda li: _edit(li, 0, detail={}), 1),
    "changed hash": (lambda li: _edit(li, 3, hash="f" * 64), 4),
    "removed": (lambda li: li[:2] + li[3:], 4),
    "removed first": (lambda li: li[1:], 2),
    "reordered": (lambda li: [li[0], li[2], li[1], *li[3:]], 3),
    "doubled": (lambda li: [*li[:3], li[2], *li[3:]], 3),
    "added": (lambda li: [*li[:2], chain(Head(2), Entry("x", "eve"), time=TIME).line(), *li[2:]], 3),
    "no json": (lambda li: [*li[:4], "x", *li[5:]], 5),
    "no object": (lambda li: [*li[:4], "[]", *li[5:]], 5),
}


def test_an_untouched_log_holds() -> None:
    lines = a_log()
    head, faults = verify(lines)
    assert (head.sequence, head.hash, faults) == (6, json.loads(lines[-1])["hash"], [])
    assert verify([]) == (Head(), [])


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found_at_its_place(what: str) -> None:
    change, place = TAMPERED[what]
    _, faults = verify(change(a_log()))
    assert faults, what
    assert faults[0].sequence == place


def test_a_cut_end_and_a_rewritten_log_are_found_by_a_noted_head() -> None:
    lines = a_log()
    noted, _ = verify(lines)
    cut, _ = verify(lines[:4])
    assert "cut off" in against(cut, noted)[0].reason
    other = [chain(Head(), Entry("x", "eve"), time=TIME).line()]
    assert against(Head(6, json.loads(other[0])["hash"]), noted)
    assert against(noted, noted) == []


def test_only_the_key_can_seal() -> None:
    head = Head(3, "a" * 64)
    assert seal_holds(b"k", head, seal(b"k", head))
    assert not seal_holds(b"other", head, seal(b"k", head))
    assert not seal_holds(b"k", Head(4, "a" * 64), seal(b"k", head))


def test_a_line_is_read_back_whole() -> None:
    entry = Entry(
        "issue", "spiffe://x/a", Decision.REFUSE, "r", "ns", "n", "::1", "id", "why", {"ü": ["\ud800"]}
    )
    record = chain(Head(), entry, time=TIME, revision=7)
    assert decode(record.line()) == record
    assert verify([record.line()])[1] == []


def test_syslog_is_rfc_5424() -> None:
    text = syslog(chain(Head(), Entry("create", 'a"]\\', Decision.REFUSE), time=TIME), "host")
    assert text.startswith(f'<108>1 {TIME} host pylis - create [audit@32473 sequence="1" ')
    assert 'who="a\\"\\]\\\\"' in text


@pytest.mark.parametrize("detail", [{}, {"zeta": "ü", "alpha": [1, {"b": 2, "a": None}]}, {"hash": "x"}])
def test_a_line_is_the_canonical_json_of_all_it_says(detail: dict[str, object]) -> None:
    record = chain(Head(), Entry("create", 'eve "the" hash', reason='","hash":"x', detail=detail), time=TIME)
    said = json.loads(record.line())
    assert said["hash"] == record.hash
    assert record.line() == json.dumps(said, separators=(",", ":"), sort_keys=True)
    assert record.line() == decode(record.line()).line()
    assert verify([record.line()]) == (record.head, [])
