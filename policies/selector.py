"""`spec.selector`: which workloads a policy is for. Shared by every kind of security.istio.io.

Source: Istio's WorkloadSelector (docs/reference/policy.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from policies import codes
from policies.fields import Fields

MAX_LABEL_VALUE = 63


def read_selector(spec: Fields) -> dict[str, str]:
    """The labels a workload must carry; none: every workload of the policy's scope."""
    if "selector" not in spec:
        return {}
    selector = spec.child("selector")
    selector.only("matchLabels")
    labels = selector.text_map("matchLabels")
    if selector.value.get("matchLabels", {}) == {}:
        selector.warn(
            codes.SELECTS_EVERYTHING, "", "selects every workload", "remove it or give it matchLabels"
        )
    written = selector.child("matchLabels")
    for key, value in labels.items():
        if not key:
            written.add(codes.BAD_LABEL, key, "a label has an empty name")
        if "*" in key or "*" in value:
            written.add(
                codes.BAD_LABEL, key, f"{key}={value} has a wildcard", "labels are compared as they are"
            )
        if len(value) > MAX_LABEL_VALUE:
            written.add(codes.BAD_LABEL, key, f"is longer than {MAX_LABEL_VALUE} characters")
    return labels


def selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """True when `labels` carries everything wanted."""
    return all(labels.get(key) == value for key, value in wanted.items())
