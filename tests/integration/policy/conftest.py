from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bench.guarded import Guarded, guarded


@pytest.fixture
async def envoy() -> AsyncIterator[Guarded]:
    async with guarded() as one:
        yield one
