"""`make fuzz-api`: schemathesis against a running server, by its own OpenAPI document. In a virtual environment of its own.

Ends with 1 when there was a server error, an answer that does not fit its schema, or a content type nobody promised.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.running_server import RunningServer

CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemathesis", default=".venv-fuzz/bin/schemathesis")
    parser.add_argument("--examples", type=int, default=20, help="of each operation")
    parser.add_argument("--seconds", type=int, default=600, help="for the whole run")
    parser.add_argument("--phases", default="examples,coverage,fuzzing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, RunningServer(Path(name)) as server:
        ca = Path(name) / "ca.pem"
        ca.write_text(server.ca_pem)
        command = [
            arguments.schemathesis, "run", f"https://{server.api}/openapi.json", "--tls-verify", str(ca),
            "--header", f"Authorization: Bearer {server.token}", "--checks", CHECKS,
            "--max-examples", str(arguments.examples), "--max-time", str(arguments.seconds),
            # who deletes the roles they act by tests nothing but refusals from then on
            "--exclude-operation-id-regex", "^(delete|deletecollection|put|patch)ClusterRole", "--phases", arguments.phases, "--workers", "2", "--request-timeout", "30",
        ]  # fmt: skip
        hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.no_watches", "PYTHONPATH": "."}
        return subprocess.run(command, check=False, env={**os.environ, **hooks}).returncode


if __name__ == "__main__":
    sys.exit(main())
