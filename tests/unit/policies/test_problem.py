from policies.problem import Origin, Problem, Severity


def test_a_problem_reads_as_place_field_code_and_advice() -> None:
    problem = Problem(
        "PYL1002", "spec.method", "unknown field", 'did you mean "methods"?', Origin("a.yaml", 3)
    )
    assert str(problem) == 'a.yaml:3  spec.method  PYL1002  unknown field; did you mean "methods"?'


def test_what_is_not_known_is_left_out() -> None:
    assert str(Problem("PYL1002", "", "unknown field")) == "PYL1002  unknown field"
    assert str(Origin("a.yaml")) == "a.yaml"


def test_a_warning_is_no_error() -> None:
    assert not Problem("PYL1102", "", "x", severity=Severity.WARNING).is_error
    assert Problem("PYL1001", "", "x").is_error
