"""Observing: a workload with the label `pylis.io/mode=observe` refuses nobody yet, and records whom it would refuse.

Its policies are all a dry run, and it takes mutual TLS and plain text. Two things are as ever: who is cut off
(Quarantine) stays cut off, and a token that is no good is refused, for a request without one would not be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from policies.program import DecisionProgram, DryRun
from policies.workload import MtlsMode, Workload

LABEL: Final = "pylis.io/mode"
OBSERVE: Final = "observe"


def is_observed(workload: Workload) -> bool:
    return workload.labels.get(LABEL) == OBSERVE


def observed(program: DecisionProgram) -> DecisionProgram:
    """What it would deny and allow becomes the verdict of a dry run; what was a dry run already goes first."""
    dry = DryRun(
        deny=(*(program.dry_run.deny or ()), *program.deny) or program.dry_run.deny,
        allow=(*(program.dry_run.allow or ()), *program.allow)
        if program.allow_applies
        else program.dry_run.allow,
    )
    return replace(program, deny=(), allow=(), allow_applies=False, delegations=(), dry_run=dry)


def observed_mode(mode: MtlsMode) -> MtlsMode:
    return MtlsMode.PERMISSIVE if mode is MtlsMode.STRICT else mode
