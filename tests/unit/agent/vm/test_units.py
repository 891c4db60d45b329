from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from agent.vm import units
from tests.unit.agent.vm.builders import PROGRAMS, a_host

ALL = units.units(a_host(in_slice=True), PROGRAMS)


@pytest.mark.parametrize("name", [name for name in ALL if name.endswith(".service")])
def test_every_service_is_confined(name: str) -> None:
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "SystemCallFilter=@system-service",
    ):
        assert line in ALL[name].splitlines()


def test_each_has_the_least_capabilities() -> None:
    found = {
        name: line.partition("=")[2]
        for name, text in ALL.items()
        for line in text.splitlines()
        if line.startswith("CapabilityBoundingSet=")
    }
    assert found == {
        units.AGENT: "",
        units.ENVOY: "CAP_NET_RAW",
        units.INTERCEPTION: "CAP_NET_ADMIN",
        units.ROLLBACK: "CAP_NET_ADMIN",
    }


def test_a_rollback_is_no_boot_and_a_boot_is_a_rollback() -> None:
    """Nothing on trial is loaded at boot, and the timer needs nothing but nft."""
    assert "[Install]" not in ALL[units.TIMER] + ALL[units.ROLLBACK]
    assert not any(str(units.TRIAL) in text for text in ALL.values())
    assert f"ExecStart=/usr/sbin/nft -f {units.CONFIRMED}" in ALL[units.ROLLBACK]
    assert "OnActiveSec=60s" in ALL[units.TIMER]


def test_the_slice_is_there_before_the_rules_that_name_it() -> None:
    for name in (units.INTERCEPTION, units.ROLLBACK):
        assert "Requires=pylis.slice" in ALL[name]
    assert "pylis.slice" not in "".join(units.units(a_host(), PROGRAMS).values())


def test_systemd_takes_them(tmp_path: Path) -> None:
    """Where there is a systemd; programs that are not installed are the only complaint."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        assert all(text.startswith("[Unit]\n") for text in ALL.values())
        return
    for name, text in ALL.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [verify, "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / name) for name in ALL)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert [line for line in said if str(tmp_path) in line or line.startswith("pylis")] == []
