"""Results of PolicyTests as JUnit XML, which CI systems show. Pure.

A suite a PolicyTest, a case a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from policies.judge import Result


def to_junit(results: Sequence[Result]) -> str:
    """The document, without a final line break."""
    root = Element("testsuites", _counts(results))
    for test, group in groupby(results, key=lambda result: result.test):
        own = list(group)
        suite = SubElement(root, "testsuite", {"name": test, **_counts(own)})
        for result in own:
            case = SubElement(suite, "testcase", {"classname": test, "name": result.id})
            if not result.ok:
                SubElement(case, "failure", {"message": _message(result)})
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode")


def _counts(results: Sequence[Result]) -> dict[str, str]:
    return {"tests": str(len(results)), "failures": str(sum(not result.ok for result in results))}


def _message(result: Result) -> str:
    status = f" ({result.status})" if result.status else ""
    return _printable(f"expected {result.expect}, was {result.actual}{status} because of {result.rule}")


def _printable(text: str) -> str:
    """XML 1.0 has no control characters."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
