import pytest

from policies import codes
from policies.document import Document, Json
from policies.fields import Fields
from policies.target_ref import TargetRef, read_target_refs


def read(spec: dict[str, Json]) -> tuple[tuple[TargetRef, ...], list[str]]:
    fields = Fields.of(Document(spec))
    return read_target_refs(fields, {}), [problem.code for problem in fields.problems]


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("", "Service"), ("networking.istio.io", "ServiceEntry"),
        ("gateway.networking.k8s.io", "Gateway"), ("gateway.networking.k8s.io", "GatewayClass"),
    ],
)  # fmt: skip
def test_what_a_policy_can_be_for(group: str, kind: str) -> None:
    found, problems = read({"targetRefs": [{"group": group, "kind": kind, "name": "x"}]})
    assert found == (TargetRef(group, kind, "x"),)
    assert problems == [codes.TARGETS_NO_SIDECAR]


def test_the_old_field_is_read_too_but_not_both() -> None:
    assert read({"targetRef": {"kind": "Service", "name": "x"}})[0] == (TargetRef("", "Service", "x"),)
    both = {"targetRef": {"kind": "Service", "name": "x"}, "targetRefs": [{"kind": "Service", "name": "y"}]}
    assert codes.EXCLUDE_EACH_OTHER in read(both)[1]
    assert read({}) == ((), [])
