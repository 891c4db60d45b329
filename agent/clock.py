"""How far this machine's clock is behind the control plane's: a certificate that arrives was signed just now.

Nothing here is set right by it: it is told, because what a wrong clock does (certificates that are not valid yet,
or not any more) never names the clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ca.profile import LEAF_BACKDATE, issued_at
from ca.rotation import Lifetime

NOTICEABLE_SECONDS: Final = 5.0  # more than signing and sending takes


def seconds_behind(life: Lifetime, now: datetime) -> float:
    """Of the clock that says `now` when a leaf with this life arrives; negative when it is ahead; 0 for hardly."""
    seconds = (issued_at(life.not_before, life.not_after) - now).total_seconds()
    return seconds if abs(seconds) > NOTICEABLE_SECONDS else 0.0


def advice(behind: float) -> str:
    """What it means for the workloads of this machine; "" for a clock that is right."""
    if not behind:
        return ""
    how = "slow" if behind > 0 else "fast"
    limit = f"{LEAF_BACKDATE.total_seconds():.0f} s"
    return f"this machine's clock is {abs(behind):.0f} s {how}: beyond {limit} certificates are refused here; set it by NTP"
