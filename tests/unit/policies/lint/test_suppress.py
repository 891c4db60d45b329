import pytest

from policies import codes
from policies.lint.suppress import is_suppressed
from policies.problem import Origin, Problem

TEXT = """\
spec:
  rules:   # pylis: ignore PYL1311, PYL1316
  # why this is right
  # pylis: ignore PYL1312
  - from:
  - to:  # pylis: ignore
"""


def suppressed(code: str, line: int, text: str = TEXT) -> bool:
    return is_suppressed(Problem(code, "", "", origin=Origin("a.yaml", line)), {"a.yaml": text.splitlines()})


@pytest.mark.parametrize(
    ("code", "line", "wanted"),
    [
        (codes.NOT_PATHS_IN_ALLOW, 2, True),
        (codes.COSTLY, 2, True),
        (codes.ANY_PRINCIPAL, 2, False),
        (codes.ANY_PRINCIPAL, 5, True),
        (codes.COSTLY, 5, False),
        (codes.COSTLY, 6, False),  # a comment without a code names nothing
        (codes.COSTLY, 0, False),
        (codes.COSTLY, 99, False),
    ],
)
def test_a_comment_suppresses_its_codes_on_its_line(code: str, line: int, wanted: bool) -> None:
    assert suppressed(code, line) is wanted


def test_a_whole_file() -> None:
    assert suppressed(codes.COSTLY, 5, f"# pylis: ignore-file PYL1316\n{TEXT}")
    assert not is_suppressed(Problem(codes.COSTLY, "", ""), {})
