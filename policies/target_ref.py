"""`targetRef` and `targetRefs`: which gateway or waypoint a policy is for. Sidecars pass over such policies.

Source: Istio's PolicyTargetReference and its validation (docs/reference/policy.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies import codes
from policies.fields import Fields

MAX_TARGETS = 16
KINDS = {
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
}
ALLOWED = "Service, ServiceEntry (networking.istio.io), Gateway, GatewayClass (gateway.networking.k8s.io)"


@dataclass(frozen=True, slots=True)
class TargetRef:
    group: str
    kind: str
    name: str


def read_target_refs(spec: Fields, selector: Mapping[str, str]) -> tuple[TargetRef, ...]:
    """The targets of a spec; problems are left in it. `selector`: what was read of spec.selector."""
    entries = list(spec.children("targetRefs"))
    if len(entries) > MAX_TARGETS:
        spec.add(codes.TOO_MANY, "targetRefs", f"{len(entries)} targets, at most {MAX_TARGETS}")
    if "targetRef" in spec:
        entries.append(spec.child("targetRef"))
    written = [name for name in ("selector", "targetRef", "targetRefs") if name in spec]
    if len(written) > 1:
        spec.add(codes.EXCLUDE_EACH_OTHER, written[1], f"cannot stand with {written[0]}", "keep one of them")
    found = tuple(_read(entry) for entry in entries)
    if found and not selector:
        spec.warn(
            codes.TARGETS_NO_SIDECAR, written[-1], "is for gateways and waypoints; no sidecar enforces it"
        )
    return found


def _read(entry: Fields) -> TargetRef:
    entry.only("group", "kind", "name", "namespace")
    target = TargetRef(
        entry.text("group"), entry.text("kind", required=True), entry.text("name", required=True)
    )
    if (target.group, target.kind) not in KINDS:
        what = f"{target.group}/{target.kind}" if target.group else target.kind
        entry.add(codes.BAD_TARGET, "kind", f'"{what}" is no target of a policy', f"known here: {ALLOWED}")
    if entry.text("namespace"):
        entry.add(codes.BAD_TARGET, "namespace", "a target is in the policy's own namespace", "remove it")
    return target
