"""A PKCS#11 token for all tests of a process: the module reads its settings once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.unit.softhsm import MODULE, TOOL


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a fresh token."""
    directory = tmp_path_factory.mktemp("hsm")
    (directory / "tokens").mkdir()
    (directory / "softhsm2.conf").write_text(
        f"directories.tokendir = {directory}/tokens\nlog.level = ERROR\n"
    )
    (directory / "pin").write_text("1234\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
        subprocess.run(
            [str(TOOL), "--init-token", "--free", "--label", "pylis", "--pin", "1234", "--so-pin", "0000"],
            check=True, capture_output=True,
        )  # fmt: skip
        yield f"pkcs11:token=pylis?module-path={MODULE}&pin-source=file:{directory}/pin"
