"""What the last lines of a run say; that of a distributed run is put together where no test is collected."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("PYLIS_TEST_DOCKER") != "1":
        terminalreporter.write_line("not run here: tests/docker, on a real engine (make test-docker)")
    if os.environ.get("PYLIS_TEST_VM") != "1":
        terminalreporter.write_line("not run here: tests/vm, on machines with systemd (make test-vm)")
