from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.cli.output import Failure
from controlplane.local.directories import entries, remove, socket_directory

LONG = "a" * 60  # more than a Unix socket's path leaves room for


def test_sockets_stand_beside_the_state_when_their_paths_are_short(tmp_path: Path) -> None:
    link = Path("/tmp") / f"p{tmp_path.stat().st_ino}"
    link.symlink_to(tmp_path)
    try:
        made = socket_directory(link)
        assert made == link / "sockets"
        assert made.stat().st_mode & 0o777 == 0o700
    finally:
        link.unlink()


def test_a_long_path_gives_a_private_directory_elsewhere(tmp_path: Path) -> None:
    made = socket_directory(tmp_path / LONG, elsewhere=tmp_path)
    assert made.parent == tmp_path
    assert made.stat().st_mode & 0o777 == 0o700
    assert socket_directory(tmp_path / LONG, elsewhere=tmp_path) == made


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_what_another_could_have_put_there_is_refused(tmp_path: Path, kind: str) -> None:
    wanted = socket_directory(tmp_path / LONG, elsewhere=tmp_path)
    remove(wanted)
    match kind:
        case "open to others":
            wanted.mkdir()
            wanted.chmod(0o755)
        case "a link":
            (tmp_path / "mine").mkdir(mode=0o700)
            wanted.symlink_to(tmp_path / "mine")
        case _:
            wanted.write_text("")
    with pytest.raises(Failure, match="not private"):
        socket_directory(tmp_path / LONG, elsewhere=tmp_path)


def test_entries_are_the_directory_what_is_in_it_and_each_authority(tmp_path: Path) -> None:
    (tmp_path / "ca" / "example.org").mkdir(parents=True)
    (tmp_path / "store.db").write_text("")
    found = entries(tmp_path)
    assert found[0] == tmp_path
    assert set(found) == {tmp_path, tmp_path / "ca", tmp_path / "store.db", tmp_path / "ca" / "example.org"}


def test_what_is_removed_may_be_gone_already(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for path in (tmp_path / "d", tmp_path / "nothing"):
        remove(path)
        assert not path.exists()
