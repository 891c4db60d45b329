"""What to do with the sidecars there are, so that there are those that should be. Pure, level-triggered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.docker.container import SIDECAR_OF, SPEC, Container
from agent.docker.sidecar import Wanted


@dataclass(frozen=True, slots=True)
class Actions:
    """`remove`: ids of containers; `make`: app id → its sidecar. A sidecar to replace is in both."""

    remove: tuple[str, ...]
    make: Mapping[str, Wanted]


def plan(wanted: Mapping[str, Wanted], sidecars: Iterable[Container]) -> Actions:
    """`wanted`: by the app's id; `sidecars`: this agent's, in whatever state."""
    remove: list[str] = []
    good: set[str] = set()
    for sidecar in sidecars:
        app = sidecar.labels[SIDECAR_OF]
        want = wanted.get(app)
        if want is not None and sidecar.running and sidecar.labels.get(SPEC) == want.spec and app not in good:
            good.add(app)
        else:
            remove.append(sidecar.id)
    return Actions(tuple(remove), {app: want for app, want in wanted.items() if app not in good})
