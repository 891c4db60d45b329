from policies.document import Document

DOCUMENT = Document(
    {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "namespace": "n"}},
    "a.yaml",
    {"": 1, "spec": 5, "spec.rules[0]": 7},
)


def test_the_line_of_a_field_or_of_its_nearest_parent() -> None:
    assert DOCUMENT.origin("spec.rules[0].to[1].operation").line == 7
    assert DOCUMENT.origin("spec.selector").line == 5
    assert DOCUMENT.origin("metadata.name").line == 1
    assert str(DOCUMENT.origin("spec")) == "a.yaml:5"


def test_names_of_something_that_is_no_text_are_empty() -> None:
    assert (DOCUMENT.kind, DOCUMENT.name, DOCUMENT.namespace) == ("Thing", "a", "n")
    odd = Document({"kind": 3, "metadata": ["x"]})
    assert (odd.kind, odd.name, odd.namespace, odd.api_version) == ("", "", "", "")


def test_without_lines_there_is_no_place() -> None:
    assert str(Document({}).origin("spec")) == ""
