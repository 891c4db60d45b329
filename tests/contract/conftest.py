"""One PostgreSQL for a run of the contract suite, a fresh database a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.database import fresh_database, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as dsn:
        yield dsn


@pytest.fixture
async def database(postgres: str) -> str:
    return await fresh_database(postgres)
