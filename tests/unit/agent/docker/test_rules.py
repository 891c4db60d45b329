from __future__ import annotations

from agent.docker import rules


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
