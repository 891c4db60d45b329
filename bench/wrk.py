"""wrk (https://github.com/wg/wrk; Debian's package of that name): requests as fast as they are answered, on open connections."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

PROGRAM: Final = shutil.which("wrk")  # None: not installed
CONNECTIONS: Final = 8
# what wrk counted, as a line of JSON; a response of 400 and more is an error of status
_REPORT: Final = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\\n',
    summary.requests, e.connect, e.read, e.write, e.status, e.timeout))
end
"""


class Wrk:
    """Asks `http://ADDRESS/PATH` of `host` from entering to leaving; then `counted` is what it says.

    `directory`: where its script may stand.
    """

    def __init__(self, address: str, host: str, path: str, directory: Path) -> None:
        script = directory / "report.lua"
        script.write_text(_REPORT)
        self._command = [
            str(PROGRAM), "-t1", f"-c{CONNECTIONS}", "-d", "1h", "--timeout", "10s", "-s", str(script),
            "-H", f"Host: {host}", f"http://{address}{path}",
        ]  # fmt: skip
        self.counted: dict[str, int] = {}

    @property
    def failed(self) -> int:
        """Of `counted`: requests without an answer, or with one of 400 and more."""
        return sum(count for what, count in self.counted.items() if what != "requests")

    def __enter__(self) -> Wrk:
        self._running = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.send_signal(signal.SIGINT)  # ends it early, with its report
        said, _ = self._running.communicate(timeout=60)
        self.counted = json.loads(said.splitlines()[-1])
