"""In a process of its own: it is the process that ends."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, time
from controlplane.stopping import Stopping

async def obedient():
    await asyncio.Event().wait()

async def deaf():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def blocked():
    try:
        await asyncio.Event().wait()
    finally:
        time.sleep(60)

async def leaves_a_thread():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    await asyncio.Event().wait()

async def main(stopping):
    task = asyncio.ensure_future({how}())
    await asyncio.sleep(0)
    stopping.begin(task)
    stopping.begin(task)
    await asyncio.wait([task])

asyncio.run(main(Stopping(late=0.2, most={most})))
print("in order")
"""


def stopped(how: str, most: float) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(PROGRAM.format(how=how, most=most))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50
    )


def test_what_ends_in_time_ends_in_order() -> None:
    done = stopped("obedient", 60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "in order", "")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("deaf", "server.stop_late"),
        ("blocked", "in blocked"),
        ("leaves_a_thread", "shutdown_default_executor"),
    ],
)
def test_what_does_not_end_says_where_it_waits_and_is_ended(how: str, said: str) -> None:
    done = stopped(how, 1.0)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Timeout (0:00:01)!" in done.stderr
