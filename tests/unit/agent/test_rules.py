from __future__ import annotations

from agent import rules


def test_what_was_there_goes_in_the_same_transaction() -> None:
    assert rules.container().startswith(rules.removal())
    assert rules.container().count("table inet pylis {") == 1


def test_both_directions_are_redirected_and_guarded() -> None:
    text = rules.container()
    assert "redirect to :15001" in text
    assert "redirect to :15006" in text
    assert text.count("reject with tcp reset") == 2


def test_nothing_but_the_mark_and_loopback_is_let_out() -> None:
    """No port is left out: a hole for a port would be a way round the sidecar."""
    text = rules.container()
    assert "dport" not in text
    assert "meta skuid 61337 return" in text  # unmarked, it is not redirected, and the guard resets it
    assert "skuid" not in text.partition("chain out_guard")[2]


MACHINE = rules.Declared(users=(2100,), ports=(8080, 7000), left_out=(53,), ssh=(2222,))


def chains(text: str) -> dict[str, list[str]]:
    """Name → its rules."""
    found: dict[str, list[str]] = {}
    for part in text.split("  chain ")[1:]:
        name, _, body = part.partition(" {")
        found[name] = [line.strip() for line in body.splitlines() if line.startswith("    ")][1:]
    return found


def test_ssh_is_left_out_by_the_first_rule_of_each_chain_of_a_machine() -> None:
    for declared in (MACHINE, rules.Declared(slice_path="pylis.slice", ports=(22,), ssh=(2222,))):
        assert {lines[0] for lines in chains(rules.machine(declared)).values()} == {
            "tcp dport { 22, 2222 } return"
        }


def test_a_callers_port_22_opens_no_port() -> None:
    """Who is root on his own machine may call from any port."""
    found = chains(rules.machine(MACHINE))
    assert not any("sport" in line for name in ("in_redirect", "in_guard") for line in found[name])
    assert "tcp sport { 22 } return" in found["out_guard"]  # not 2222: a user could call from there


def test_of_a_machine_only_what_is_declared_is_touched() -> None:
    found = chains(rules.machine(MACHINE))
    touched = [
        line for lines in found.values() for line in lines if "redirect to" in line or "reject" in line
    ]
    assert all("skuid { 2100 }" in line or "dport" in line for line in touched)
    nothing = chains(rules.machine(rules.Declared(users=(2100,))))
    assert not any(
        "redirect" in line or "reject" in line for line in nothing["in_guard"] + nothing["in_redirect"]
    )


def test_a_slice_is_known_by_its_depth() -> None:
    text = rules.machine(rules.Declared(slice_path="a.slice/a-b.slice"))
    assert 'socket cgroupv2 level 2 "a.slice/a-b.slice"' in text
