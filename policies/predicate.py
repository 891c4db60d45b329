"""The closed algebra a rule is lowered to: conjunctions of conditions on attributes.

A `Condition` holds when any of its values matches the attribute; negated, when none does. An absent attribute
matches no value, so a negated condition on it holds (Istio's rule: `notX` is true where X is not there).
Folds `match` over `Value` and end in `assert_never`: a new form cannot be forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from policies.attributes import Key
from policies.problem import Origin

ONE_SEGMENT = "{*}"
ANY_SEGMENTS = "{**}"


@dataclass(frozen=True, slots=True, order=True)
class Exact:
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Prefix:
    text: str  # never empty


@dataclass(frozen=True, slots=True, order=True)
class Suffix:
    text: str  # never empty


@dataclass(frozen=True, slots=True, order=True)
class Present:
    """Is there and not empty. For a header: is there (Istio's present_match)."""


@dataclass(frozen=True, slots=True, order=True)
class Glob:
    """Each `*` stands for any text, and there is one where no other form has it. Only of namespaces."""

    text: str


@dataclass(frozen=True, slots=True, order=True)
class Template:
    """A path template: `{*}` is one segment that is not empty, `{**}` any text."""

    text: str


@dataclass(frozen=True, slots=True)
class Network:
    network: IPv4Network | IPv6Network


Text = Exact | Prefix | Suffix | Present


@dataclass(frozen=True, slots=True, order=True)
class RequestPrincipal:
    """Both the issuer and the subject of the verified token match; Exact("") is a subject that is empty."""

    issuer: Text
    subject: Text


@dataclass(frozen=True, slots=True, order=True)
class Listed:
    """The attribute is a list, and one of its texts matches."""

    text: Text


Value = Exact | Prefix | Suffix | Present | Glob | Template | Network | RequestPrincipal | Listed


@dataclass(frozen=True, slots=True)
class Condition:
    """`values` is never empty. `path` and `origin` say where in the policy it was written."""

    key: Key
    values: tuple[Value, ...]
    negated: bool = False
    path: str = ""
    origin: Origin = Origin()


def pattern(value: Glob | Template) -> str:
    """A regular expression (RE2, and Python's too) for the whole text."""
    match value:
        case Glob(text):
            return "[^/]*".join(re.escape(part) for part in text.split("*"))
        case Template(text):
            parts = re.split(r"(\{\*\*?\})", text)
            return "".join(_OPERATORS.get(part) or re.escape(part) for part in parts)


_OPERATORS = {ONE_SEGMENT: "[^/]+", ANY_SEGMENTS: ".*"}
