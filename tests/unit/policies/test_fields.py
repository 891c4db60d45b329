from enum import StrEnum

import pytest

from policies import codes
from policies.document import Document, Json
from policies.fields import Fields, is_label, is_subdomain, read_metadata, step


class Fruit(StrEnum):
    APPLE = "APPLE"
    PEAR = "PEAR"


def fields(**value: Json) -> Fields:
    return Fields.of(Document(value, "f.yaml", {"": 1, "b": 4}))


def found(read: Fields) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in read.problems]


def test_right_values_are_read_without_a_problem() -> None:
    read = fields(a="x", b=["y", "z"], c={"k": "v"}, d=3, e=True, f="PEAR", g={"h": "i"}, j=[{"k": "l"}])
    assert read.text("a") == "x"
    assert read.texts("b") == ("y", "z")
    assert read.text_map("c") == {"k": "v"}
    assert read.integer("d", low=1, high=5) == 3
    assert read.boolean("e") is True
    assert read.choice("f", Fruit.APPLE) is Fruit.PEAR
    assert read.child("g").text("h") == "i"
    assert [child.path for child in read.children("j")] == ["j[0]"]
    assert found(read) == []


def test_what_is_not_there_is_the_default() -> None:
    read = fields()
    assert (read.text("a", "x"), read.texts("b"), read.text_map("c")) == ("x", (), {})
    assert (read.integer("d", low=1, high=5, default=2), read.boolean("e", default=True)) == (2, True)
    assert read.choice("f", Fruit.APPLE) is Fruit.APPLE
    assert list(read.children("j")) == []
    assert found(read) == []


@pytest.mark.parametrize("wrong", [None, 3, True, {"a": "b"}, "text", 1.5])
def test_a_list_that_is_none_is_a_problem(wrong: Json) -> None:
    read = fields(b=wrong)
    assert read.texts("b") == ()
    assert found(read) == [(codes.WRONG_TYPE, "b")]
    assert read.problems[0].origin.line == 4


def test_every_wrong_entry_of_a_list_is_told() -> None:
    read = fields(b=["a", 8080, "", None])
    assert read.texts("b") == ("a",)
    assert found(read) == [(codes.WRONG_TYPE, "b[1]"), (codes.EMPTY_TEXT, "b[2]"), (codes.WRONG_TYPE, "b[3]")]
    assert "in quotes" in read.problems[0].hint


def test_wrong_types_of_every_reader() -> None:
    read = fields(a=1, c=[], d="3", e="true", f=2, g=[], j={}, k=[3], m={"x": 1})
    read.text("a")
    read.text_map("c")
    read.integer("d", low=0, high=9)
    read.boolean("e")
    read.choice("f", Fruit.APPLE)
    read.child("g")
    assert list(read.children("j")) == []
    assert list(read.children("k")) == []
    read.text_map("m")
    assert [path for _, path in found(read)] == ["a", "c", "d", "e", "f", "g", "j", "k[0]", "m.x"]
    assert {code for code, _ in found(read)} == {codes.WRONG_TYPE}


def test_a_truth_value_is_no_number() -> None:
    read = fields(d=True)
    assert read.integer("d", low=0, high=9) == 0
    assert found(read) == [(codes.WRONG_TYPE, "d")]


def test_a_number_outside_of_its_range() -> None:
    read = fields(d=10)
    read.integer("d", low=0, high=9)
    assert found(read) == [(codes.OUT_OF_RANGE, "d")]


def test_an_unknown_word_names_the_near_one() -> None:
    read = fields(f="apple")
    assert read.choice("f", Fruit.PEAR) is Fruit.PEAR
    assert read.problems[0].hint == 'did you mean "APPLE"?'


def test_unknown_fields_name_the_near_one_or_all() -> None:
    read = fields(method="x", zzz="y")
    read.only("methods", "paths")
    assert [problem.hint for problem in read.problems] == [
        'did you mean "methods"?',
        "known here: methods, paths",
    ]


def test_required_fields() -> None:
    read = fields(a="")
    read.text("a", required=True)
    read.text("b", required=True)
    read.child("c", required=True)
    read.integer("d", low=0, high=1, required=True)
    assert found(read) == [(codes.MISSING, path) for path in ("a", "b", "c", "d")]


def test_metadata_defaults_and_names() -> None:
    assert read_metadata(fields(metadata={"name": "a.b"})).namespace == "default"
    read = fields(metadata={"name": "A_b", "namespace": "x.y"})
    read_metadata(read)
    assert found(read) == [(codes.BAD_NAME, "metadata.name"), (codes.BAD_NAME, "metadata.namespace")]
    read = fields()
    read_metadata(read)
    assert (codes.MISSING, "metadata") in found(read)


def test_kubernetes_names() -> None:
    assert is_label("a" * 63)
    assert not is_label("a" * 64)
    assert not is_label("a-")
    assert not is_label("a\n")
    assert is_subdomain("a.b-c.d")
    assert not is_subdomain("a..b")


def test_paths() -> None:
    assert step("", "spec") == "spec"
    assert step(step("spec", "rules"), 0) == "spec.rules[0]"
