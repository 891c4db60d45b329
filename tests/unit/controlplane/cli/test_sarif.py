from controlplane.cli.sarif import to_sarif
from policies import codes
from policies.problem import Origin, Problem, Severity


def test_rules_once_and_results_with_their_places() -> None:
    problem = Problem(codes.COSTLY, "shop/p", "text", "hint", Origin("a.yaml", 3), Severity.NOTE)
    nowhere = Problem(codes.COSTLY, "shop/q", "text", "", Origin(), Severity.WARNING)
    found = to_sarif([problem, nowhere])
    assert found["version"] == "2.1.0"
    (run,) = found["runs"]  # pyright: ignore
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [codes.COSTLY]
    first, second = run["results"]
    assert (first["level"], first["message"]["text"]) == ("note", "shop/p: text; hint")
    assert first["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}
    assert "locations" not in second
