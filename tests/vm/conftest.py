"""Machines with a systemd of their own, as root: `make test-vm`. Not part of `make test`, whose last lines say so."""

from __future__ import annotations

import os

WANTED = os.environ.get("PYLIS_TEST_VM") == "1"
collect_ignore_glob: list[str] = [] if WANTED else ["test_*.py"]
