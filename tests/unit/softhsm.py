"""Where SoftHSM is on this machine. Without it the omission is named in the run's last lines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

MODULES = [Path("/usr/lib/softhsm/libsofthsm2.so"), Path("/usr/lib64/pkcs11/libsofthsm2.so")]
MODULE = next((path for path in MODULES if path.exists()), None)
TOOL = shutil.which("softhsm2-util")
without_softhsm = pytest.mark.skipif(
    MODULE is None or TOOL is None,
    reason="no SoftHSM on this machine: PKCS#11 was not tried (apt-get install softhsm2)",
)
