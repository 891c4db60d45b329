import pytest

from policies import codes
from policies.document import Document, Json
from policies.fields import Fields
from policies.selector import read_selector, selects


def read(spec: dict[str, Json]) -> tuple[dict[str, str], list[str]]:
    fields = Fields.of(Document(spec))
    return read_selector(fields), [problem.code for problem in fields.problems]


def test_labels_are_read_and_none_is_everything() -> None:
    assert read({"selector": {"matchLabels": {"app": "a"}}}) == ({"app": "a"}, [])
    assert read({}) == ({}, [])


def test_a_selector_without_labels_is_a_warning() -> None:
    assert read({"selector": {}})[1] == [codes.SELECTS_EVERYTHING]


@pytest.mark.parametrize("labels", [{"a*": "b"}, {"a": "*"}, {"": "b"}, {"a": "b" * 64}])
def test_labels_that_are_not_allowed(labels: dict[str, Json]) -> None:
    assert read({"selector": {"matchLabels": labels}})[1] == [codes.BAD_LABEL]


def test_an_empty_value_is_a_label() -> None:
    assert read({"selector": {"matchLabels": {"a": ""}}}) == ({"a": ""}, [])
    assert not selects({"a": ""}, {})


def test_match_expressions_are_no_field() -> None:
    assert codes.UNKNOWN_FIELD in read({"selector": {"matchExpressions": []}})[1]


def test_all_wanted_labels_must_be_there() -> None:
    assert selects({"a": "1"}, {"a": "1", "b": "2"})
    assert not selects({"a": "1", "b": "3"}, {"a": "1", "b": "2"})
    assert selects({}, {})
