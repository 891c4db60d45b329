from __future__ import annotations

from typing import Any

import yaml

from agent.vm.resources import resources
from controlplane.resources import kinds
from policies.document import Document
from tests.unit.agent.vm.builders import a_host


def test_the_control_plane_takes_all_of_it() -> None:
    documents: list[Any] = list(yaml.safe_load_all(resources(a_host(hosts=("orders",)), "vm-1")))
    assert [one["kind"] for one in documents] == ["WorkloadRegistration", "WorkloadEntry", "ServiceEntry"]
    for one in documents:
        parsed, problems = kinds.parse(Document(one))
        assert parsed is not None, problems
        assert problems == []


def test_only_the_sidecars_unit_on_this_agent_holds_the_identity() -> None:
    registration: Any = next(yaml.safe_load_all(resources(a_host(), "vm-1")))
    assert registration["spec"]["selectors"] == ["systemd:id:pylis-envoy.service"]
    assert registration["spec"]["agents"] == ["vm-1"]


def test_what_serves_nothing_is_no_service() -> None:
    assert "ServiceEntry" not in resources(a_host(ports=()), "vm-1")
