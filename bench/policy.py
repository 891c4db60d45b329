"""What policy costs: R1 to R4 in Envoy, P1 in the compiler. Figures are of this machine, in this run.

python -m bench.policy            all of them, one JSON line each
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time

import structlog

from bench.data_plane import added_round_trips, cost_ratios, principals, rules
from bench.figures import line
from policies.program import Protocol
from xds import schema
from xds.compile import rbac
from xds.compile.surroundings import Surroundings
from xds.snapshot import Resource

AROUND = Surroundings(("example.org",))


def compile_times(count: int, repeats: int = 20) -> list[float]:
    """Milliseconds of CPU from a program to the bytes and the version of its resource."""
    program = principals(count)
    schema.pool()
    Resource.of("rbac:http", rbac.extension("http", principals(10), AROUND))
    taken: list[float] = []
    for _ in range(repeats):
        gc.collect()
        began = time.process_time()
        Resource.of("rbac:http", rbac.extension("http", program, AROUND))
        taken.append((time.process_time() - began) * 1000)
    return taken


def compiler() -> None:
    for count, target in ((1_000, 5.0), (10_000, 50.0)):
        line(
            "P1",
            compile_times(count),
            "ms",
            target,
            "prototype 0.85 per 1,000",
            part=f"{count} principals, CPU",
        )


def data_plane() -> None:
    for count, target in ((1_000, 1.15), (10_000, 1.25)):
        found = asyncio.run(cost_ratios(principals(count)))
        peers = "Istio's linear list 5.6 and 43; prototype 1.03 and 1.13"
        line("R1", found, "x", target, peers, part=f"{count} principals")
    line("R2", asyncio.run(cost_ratios(rules(200))), "x", 1.3, "prototype 1.16; linear 1.7")
    found = asyncio.run(cost_ratios(principals(10_000, Protocol.TCP)))
    line("R3", found, "x", 1.15, "prototype 0.95; linear 3.7", part="a connection")
    line("R4", asyncio.run(added_round_trips()), "ms", 0.25, "prototype 0.14")


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    compiler()
    data_plane()


if __name__ == "__main__":
    main()
