import os
from pathlib import Path

from controlplane.cli.watching import stamp, wait_for_change


def test_a_stamp_tells_a_write_an_addition_and_a_removal(tmp_path: Path) -> None:
    file = tmp_path / "a"
    nothing = stamp([file])
    file.write_text("1")
    first = stamp([file])
    os.utime(file, ns=(1, 1))
    assert nothing == {str(file): None}
    assert len({str(s) for s in (nothing, first, stamp([file]), stamp([]))}) == 4


def test_waiting_ends_with_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    asked = 0

    def files() -> list[Path]:
        nonlocal asked
        asked += 1
        if asked == 3:
            file.write_text("new")
        return [file]

    wait_for_change(stamp(files()), files)
    assert asked == 3
