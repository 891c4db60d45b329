from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from agent.vm.files import File
from agent.vm.machine import Machine, MachineError, hidden_from_others, uid_of

PLACE = PurePosixPath("/etc/pylis/x")


def test_a_file_takes_the_place_of_a_link_and_never_follows_it(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours")
    machine = Machine(tmp_path / "root")
    machine.at(PLACE).parent.mkdir(parents=True)
    machine.at(PLACE).symlink_to(elsewhere)
    machine.write([File(PLACE, "ours")])
    assert elsewhere.read_text() == "not ours"
    assert machine.at(PLACE).read_text() == "ours"
    assert not machine.at(PLACE).is_symlink()


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file")
    with pytest.raises(MachineError, match="cannot write"):
        Machine(tmp_path).write([File(PLACE, "ours")])


def test_nothing_is_tried_that_was_not_installed(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="pylis agent install"):
        Machine(tmp_path).try_rules("/nonexistent/nft")


def test_users_are_known_by_name_and_by_number() -> None:
    assert uid_of("root") == uid_of("0") == 0
    assert uid_of("nobody-of-that-name") is None
    assert uid_of("99999999999999999999") is None


def test_units_see_nothing_below_a_home(tmp_path: Path) -> None:
    assert hidden_from_others(Path("/home/me/.local/bin/pylis")) == Path("/home")
    assert hidden_from_others(Path("/root/bin/pylis")) == Path("/root")
    assert hidden_from_others(Path("/usr/bin/env")) is None
    (tmp_path / "closed").mkdir(mode=0o700)
    assert hidden_from_others(tmp_path / "closed" / "pylis") is not None
