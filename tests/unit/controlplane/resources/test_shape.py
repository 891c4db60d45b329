"""The shape of a kind is what its parser asks for, in every branch."""

from __future__ import annotations

from controlplane.resources.shape import shape_of
from policies.asked import Form
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields
from policies.problem import Problem
from policies.program import Action


def parse(document: Document) -> tuple[object | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    spec = root.child("spec", required=True)
    spec.only("action", "provider", "raw", "refused", "ports", "items", "who")
    if spec.choice("action", Action.ALLOW) is Action.DENY:
        spec.text("provider", required=True)
    if "refused" in spec:
        spec.add("PYL1201", "refused", "is not supported")
    if spec.value.get("who") is not None:
        spec.text("who")
    spec.text("unknown")  # asked for, and refused as unknown wherever it stands
    ports = spec.child("ports")
    for name in ports.value:
        ports.integer(name, low=1, high=9)
    if not list(spec.children("items")):
        spec.add("PYL1010", "items", "is empty")
    return None, root.problems


def test_every_branch_is_found() -> None:
    shape = shape_of(parse, {})
    spec = shape.fields["spec"]
    assert shape.required == ("spec",)
    assert shape.fields["status"].form is Form.ANY
    assert spec.closed
    assert spec.fields["action"].words == ("ALLOW", "DENY", "AUDIT", "CUSTOM")
    assert spec.fields["provider"].form is Form.TEXT
    assert spec.fields["raw"].form is Form.ANY
    assert "refused" not in spec.fields
    assert "unknown" not in spec.fields
    assert (spec.fields["who"].form, spec.fields["who"].nullable) == (Form.TEXT, True)
    assert spec.fields["items"].not_empty
    values = spec.fields["ports"].values
    assert values is not None
    assert (values.form, values.low, values.high) == (Form.WHOLE, 1, 9)
