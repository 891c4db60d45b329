from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from controlplane.cli.observed import enforce, observed

LINE: dict[str, Any] = {
    "event": "request", "time": "2026-11-01T10:00:00.000Z", "method": "GET", "path": "/items", "status": 200,
    "peer": "spiffe://example.org/ns/shop/sa/web", "remote": "172.18.0.5:40000", "port": "8080", "observed": "denied",
    "observedRule": "default-deny:shop/catalog[0]:principal",
}  # fmt: skip


def test_a_log_says_who_would_have_been_refused_and_what_would_let_him_through(tmp_path: Path) -> None:
    log = tmp_path / "catalog.shop.log"
    log.write_text(
        "starting\n" + json.dumps(LINE) + "\n" + json.dumps({**LINE, "observed": "allowed"}) + "\n"
    )
    shown = CliRunner().invoke(observed, ["--log", str(log)])
    assert shown.exit_code == 0, shown.output
    assert "example.org/ns/shop/sa/web" in shown.output
    assert "catalog.shop:8080" in shown.output
    assert "pylis policy suggest spiffe://example.org/ns/shop/sa/web catalog.shop --port 8080" in shown.output
    [one] = json.loads(CliRunner().invoke(observed, ["--log", str(log), "-o", "json"]).output)["refusals"]
    assert (one["count"], one["what"]) == (1, "GET /items")


def test_nothing_is_said_to_be_nothing_and_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "nothing would have been refused" in CliRunner().invoke(observed, ["--log", "-"], input="").output
    assert CliRunner().invoke(observed, ["--log", str(tmp_path / "none")]).exit_code != 0


def test_enforce_wants_services_or_all_of_them() -> None:
    for arguments in ([], ["web", "--all"]):
        answer = CliRunner().invoke(enforce, [*arguments, "-n", "shop"])
        assert "name services, or --all" in answer.output
