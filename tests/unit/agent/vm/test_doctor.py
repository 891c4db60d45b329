from __future__ import annotations

from dataclasses import replace

from agent.rules import Declared, machine
from agent.vm.doctor import FAILED, WARNING, WELL, Seen, found


def listed(text: str) -> str:
    """As `nft list` gives it: the table alone, by tabs."""
    return text[text.index("table inet pylis {") :].replace("  ", "\t").replace("{ 22 }", "22")


RULES = listed(machine(Declared(users=(1000,), ports=(8080,))))
GOOD = Seen(stopped=(), rules=RULES, confirmed=True, on_trial=False, unhealthy="")


def test_a_machine_that_is_well() -> None:
    assert [(level, what) for level, what, _, _ in found(GOOD)] == [(WELL, "interception")]


def test_ssh_on_more_than_one_port_is_left_out_too() -> None:
    rules = listed(machine(Declared(users=(1000,), ssh=(2222,))))
    assert "tcp dport { 22, 2222 } return" in rules
    assert found(replace(GOOD, rules=rules))[0][0] == WELL


def test_each_thing_that_is_wrong_is_found_with_the_next_command() -> None:
    cases = {
        "does not run": replace(GOOD, stopped=("pylis-envoy.service",)),
        "no configuration": replace(GOOD, unhealthy="Envoy has no configuration"),
        "on trial": replace(GOOD, on_trial=True),
        "are not loaded": replace(GOOD, rules=""),
        "nothing is intercepted": replace(GOOD, rules="", confirmed=False),
        "port 22": replace(GOOD, rules=RULES.replace("tcp dport 22 return\n", "", 1)),
    }
    for words, seen in cases.items():
        findings = found(seen)
        assert any(words in text for _, _, text, _ in findings), words
        assert all(following for *_, following in findings), words


def test_a_trial_is_no_failure_and_open_ports_are() -> None:
    assert [level for level, *_ in found(replace(GOOD, on_trial=True))] == [WARNING]
    assert [level for level, *_ in found(replace(GOOD, rules=""))] == [FAILED]


def test_a_rule_that_only_looks_like_it_does_not_leave_ssh_out() -> None:
    for rule in ("tcp dport 2222 return", "tcp dport 22 reject", "tcp sport 22 return"):
        wrong = RULES.replace("tcp dport 22 return", rule, 1)
        assert found(replace(GOOD, rules=wrong))[0][:2] == (FAILED, "ssh")
