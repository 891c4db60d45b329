"""The closed algebra a rule is lowered to: conjunctions of conditions on attributes.

A `Condition` holds when any of its values matches the attribute; negated, when none does. An absent attribute
matches no value, so a negated condition on it holds (Istio's rule: `notX` is true where X is not there).
Folds `match` over `Value` and end in `assert_never`: a new form cannot be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from policies.attributes import Key
from policies.problem import Origin


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


@dataclass(frozen=True, slots=True)
class Network:
    network: IPv4Network | IPv6Network


Value = Exact | Prefix | Suffix | Present | Network


@dataclass(frozen=True, slots=True)
class Condition:
    """`values` is never empty. `path` and `origin` say where in the policy it was written."""

    key: Key
    values: tuple[Value, ...]
    negated: bool = False
    path: str = ""
    origin: Origin = Origin()
