"""YAML text → values with lines; hostile text ends in problems."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.resources.yaml_text import MAX_DEPTH, read_text
from policies import codes


def value(text: str) -> Any:
    (document,), problems = read_text(f"v: {text}", "a.yaml")
    assert problems == []
    return document.value["v"]


def refusal(text: str) -> tuple[str, int, str]:
    """(code, line, message) of the only problem."""
    _, (problem,) = read_text(text, "a.yaml")
    assert problem.origin.file == "a.yaml"
    return problem.code, problem.origin.line, problem.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ('"1"', "1"),
        ("1.5", 1.5),
        ("true", True),
        ("yes", True),
        ("null", None),
        ("", None),
        ("~", None),
        ("!!str 8080", "8080"),
        ("! 8080", "8080"),
        ("2026-01-31", "2026-01-31"),
        ("2026-99-99", "2026-99-99"),
        ("22:22", "22:22"),
        ("0x10", 16),
        ("{a: [1, b]}", {"a": [1, "b"]}),
        ("!!python/object/apply:os.system [x]", ["x"]),  # a tag makes no object: the list is read as it is
    ],
)
def test_scalars_are_what_kubectl_would_send(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_every_field_knows_its_line() -> None:
    (document,), _ = read_text("# head\nkind: X\nspec:\n  rules:\n  - a: 1\n  - a: 2\n    b: 3\n", "a.yaml")
    assert [document.origin(p).line for p in ("kind", "spec.rules", "spec.rules[1]", "spec.rules[1].b")] == [
        2,
        4,
        6,
        7,
    ]


def test_documents_of_one_file_keep_their_own_lines() -> None:
    documents, _ = read_text("kind: A\n---\n---\nkind: B\n", "a.yaml")
    assert [(d.kind, d.origin("kind").line) for d in documents] == [("A", 1), ("B", 4)]


def test_json_is_yaml() -> None:
    (document,), _ = read_text('{\n "kind": "A",\n\t"spec": {"x": [true]}\n}', "a.json")
    assert document.value == {"kind": "A", "spec": {"x": [True]}}


def test_a_key_that_stands_twice_is_a_problem_and_reading_goes_on() -> None:
    (document,), (problem,) = read_text("kind: A\nspec:\n  x: 1\n  x: 2\n", "a.yaml")
    assert (problem.code, problem.path, problem.origin.line) == (codes.DEFINED_TWICE, "spec.x", 4)
    assert document.kind == "A"


def test_what_stands_before_broken_text_is_still_read() -> None:
    documents, (problem,) = read_text("kind: A\n---\nkind: [\n", "a.yaml")
    assert [d.kind for d in documents] == ["A"]
    assert (problem.code, problem.origin.line) == (codes.UNREADABLE, 4)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\n---\n- 1\n", 3, "must be an object"),
        ("a:\n  b: !x 1\n", 2, "tag !x"),
        ("a: !!python/name:os.system x\n", 1, "is not read"),
        ("a: .nan\n", 1, "no number"),
        (f"a: {'9' * 5000}\n", 1, "no number"),
        ("a: 1\n? [b]\n: c\n", 2, "key must be plain"),
        ("a: *nothing\n", 1, ""),
        ("a: &x\n  b: *x\n", 2, "*x"),
    ],
)
def test_refused(text: str, line: int, words: str) -> None:
    code, where, message = refusal(text)
    assert (code, where) == (codes.UNREADABLE, line)
    assert words in message


def test_aliases_stand_for_their_value() -> None:
    (document,), problems = read_text("a: &x {k: [1]}\nb: *x\nc: &y text\nd: *y\n", "a.yaml")
    assert (document.value["b"], document.value["d"], problems) == ({"k": [1]}, "text", [])


def test_a_bomb_of_aliases_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    code, _, message = refusal("\n".join(lines))
    assert code == codes.UNREADABLE
    assert "means more than" in message


@pytest.mark.parametrize("opening", ["[", "- ", "{a: "])
def test_deep_text_is_refused(opening: str) -> None:
    """Composing this with libyaml kills the process."""
    code, line, message = refusal(opening * 100_000)
    assert (code, line) == (codes.UNREADABLE, 1)
    assert str(MAX_DEPTH) in message


def test_depth_by_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200))]
    assert "deeper" in refusal("\n".join(lines))[2]


@given(st.text())
def test_any_text_ends_in_values_or_problems(text: str) -> None:
    read_text(text, "a.yaml")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), _json))
def test_what_yaml_writes_is_read_back(value: dict[str, Any]) -> None:
    (document,), problems = read_text(yaml.safe_dump(value, allow_unicode=False), "a.yaml")
    assert (document.value, problems) == (value, [])
