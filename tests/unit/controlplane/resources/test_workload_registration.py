from __future__ import annotations

from datetime import timedelta
from typing import Any

from controlplane.resources.workload_registration import WorkloadRegistration, duration, parse
from policies.document import Document


def declared(name: str, **spec: Any) -> WorkloadRegistration:
    found, problems = parse(
        Document(
            {
                "apiVersion": "pylis.io/v1alpha1",
                "kind": "WorkloadRegistration",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"serviceAccount": name, "selectors": ["unix:uid:1"], "agents": ["one"], **spec},
            }
        )
    )
    assert found is not None, problems
    return found


def test_equal_sets_are_one_object_however_many_registrations_name_them() -> None:
    one, two = declared("a"), declared("b", selectors=["unix:uid:1"], agentSelectors=[])
    assert one != two
    assert one.selectors is two.selectors
    assert one.agents is two.agents
    assert one.agent_selectors is two.agent_selectors
    assert one.federates_with is two.federates_with
    other = declared("c", selectors=["unix:uid:2"])
    assert other.selectors == {"unix:uid:2"}


def test_a_duration_is_a_number_with_its_unit() -> None:
    assert duration("90s") == timedelta(seconds=90)
    assert duration("10m") == timedelta(minutes=10)
    assert duration("1h") == timedelta(hours=1)
    assert [duration(text) for text in ("", "5", "1d", "-1s", "1h30m")] == [None] * 5
