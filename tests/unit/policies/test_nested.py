from policies.document import Document
from policies.nested import lift, nest

OUTER = Document(
    {}, "t.yaml", {"": 1, "spec.resources[0]": 3, "spec.resources[0].spec": 5, "spec.workloads": 9}
)


def test_lines_are_those_of_the_outer_file() -> None:
    inner = nest(OUTER, "spec.resources[0]", {"kind": "X"})
    assert inner.origin("spec.rules[0]").line == 5
    assert inner.origin("metadata").line == 3
    assert dict(inner.lines) == {"spec": 5}
    assert len(inner.lines) == 1


def test_problems_get_the_outer_path() -> None:
    inner = nest(OUTER, "spec.resources[0]", {})
    lifted = lift(
        [inner.problem("PYL1003", "spec", "x"), inner.problem("PYL1003", "", "x")], "spec.resources[0]"
    )
    assert [problem.path for problem in lifted] == ["spec.resources[0].spec", "spec.resources[0]"]
    assert lifted[0].origin.line == 5
