from __future__ import annotations

import asyncio
from pathlib import Path

from controlplane.join_socket import JoinSocket


async def test_each_connection_gets_a_token_of_its_own(tmp_path: Path) -> None:
    made: list[str] = []

    async def token() -> str:
        made.append(f"pylis1.{len(made)}")
        return made[-1]

    path = tmp_path / "in" / "join.sock"
    async with JoinSocket(path, token):
        for expected in (b"pylis1.0\n", b"pylis1.1\n"):
            reader, writer = await asyncio.open_unix_connection(str(path))
            assert await reader.read() == expected
            writer.close()
    assert not path.exists()
