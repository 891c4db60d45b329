"""What `pylis agent install` writes for one machine, byte for byte; `make golden` writes it anew."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from agent.vm.files import files
from agent.vm.units import BOOTSTRAP, TRIAL
from tests.unit.agent.vm.builders import PROGRAMS, TOKEN, a_host

GOLDEN = Path(__file__).with_name("machine")
CASES = {
    "by-user": a_host(ssh_ports=(2222,), left_out=(53,)),
    "by-slice": a_host(users=(), in_slice=True, ports=()),
}


@pytest.mark.parametrize("case", CASES)
def test_files(case: str, request: pytest.FixtureRequest) -> None:
    written = files(CASES[case], TOKEN, PROGRAMS)
    text = "".join(
        f"# {file.path} {file.mode:04o}\n{'[secret]' if file.secret else file.text.rstrip()}\n\n"
        for file in written
        if file.path != BOOTSTRAP  # test_bootstrap has it
    )
    path = GOLDEN / f"{case}.out.txt"
    if request.config.getoption("--golden-rewrite", default=False):
        path.write_text(text)
        return
    assert text == path.read_text()


def test_nft_takes_the_rules() -> None:
    """Where there is one, and it may look; the slice's control group is not there, so its rules are left out."""
    nft = shutil.which("nft")
    rules = next(file.text for file in files(CASES["by-user"], TOKEN, PROGRAMS) if file.path == TRIAL)
    assert rules.count("tcp dport { 22, 2222 } return") == 4
    if nft is None:
        return
    done = subprocess.run(
        [nft, "-c", "-f", "-"], input=rules, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
