from __future__ import annotations

from pathlib import Path

from controlplane.local.watched_files import changes


def test_a_change_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    one, other = tmp_path / "policies" / "a.yaml", tmp_path / "b.yaml"
    one.write_text("a")
    told = changes([tmp_path / "policies", other])
    assert not next(told)  # the first look
    assert not next(told)
    other.write_text("b")
    assert next(told)
    assert not next(told)
    one.write_text("another length")
    assert next(told)
    one.unlink()
    assert next(told)
    assert not next(told)
