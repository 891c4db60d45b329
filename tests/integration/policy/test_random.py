"""A short run of `make test-envoy-random`: evaluator, compiled tree and a real Envoy agree on random requests."""

from __future__ import annotations

import os

import pytest

from bench.envoy_random import run

pytestmark = pytest.mark.envoy

# another one each day would find more, but a failure must be repeatable: `make test-envoy-random SEEDS=…`
SEED = int(os.environ.get("PYLIS_SEED", "13"))


async def test_random_requests_get_the_same_answer_from_envoy() -> None:
    differences, seen = await run(SEED, 600)
    assert not differences, differences[:3]
    assert sum(seen.values()) == 600
    # every way a request can end is among them
    assert {"http 200", "http 401", "http 403", "tcp allowed", "tcp closed"} <= seen.keys()
