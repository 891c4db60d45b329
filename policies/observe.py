"""Observing: a workload with the label `pylis.io/mode=observe` refuses nobody yet, and records whom it would refuse.

It takes mutual TLS and plain text; the program it would decide by is kept as the one that only says what it would
do. Two things are as ever: who is cut off (Quarantine) stays cut off, and a token that is no good is refused, for a
request without one would not be. External authorizers are not asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from policies.attributes import Attribute, Key
from policies.evaluate import MTLS_STRICT
from policies.predicate import Condition, Present
from policies.program import Clause, DecisionProgram, DryRun, Revoked
from policies.workload import MtlsMode, Workload

LABEL: Final = "pylis.io/mode"
OBSERVE: Final = "observe"
_PLAINTEXT: Final = Clause(MTLS_STRICT, (Condition(Key(Attribute.PRINCIPAL), (Present(),), negated=True),))


def is_observed(workload: Workload) -> bool:
    return workload.labels.get(LABEL) == OBSERVE


def observed(program: DecisionProgram, mode: MtlsMode) -> DecisionProgram:
    """`mode`: what the port would take; plain text is what STRICT would refuse first."""
    first = (_PLAINTEXT,) if mode is MtlsMode.STRICT else ()
    would = replace(
        program, deny=(*first, *program.deny), delegations=(), audit=(), revoked=Revoked(), dry_run=DryRun()
    )
    return replace(program, deny=(), allow=(), allow_applies=False, delegations=(), observed=would)


def observed_mode(mode: MtlsMode) -> MtlsMode:
    return MtlsMode.PERMISSIVE if mode is MtlsMode.STRICT else mode
