"""The authority's keys in the shared store, for several servers on one PostgreSQL; sealed by the envelope key.

The keystore's port is synchronous: a key is durable when a call returns. So this one has a thread with a loop and
connections of its own; the control plane's loop waits the milliseconds that a rotation takes.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self, TypeVar

from ca.errors import KeystoreError
from ca.keys import KeyType, PrivateKey, key_pem, load_key, new_key_of
from controlplane.store.envelope_key import EnvelopeKey
from controlplane.store.port import Key, NotFoundError, StoreError
from controlplane.store.postgres import PostgresStore

RESOURCE: Final = "authorities.internal"
CALL_SECONDS: Final = 20.0
_KEY: Final = "key/"
_Result = TypeVar("_Result")


class SharedKeystore:
    """Make it with `open`, end it with `close`."""

    def __init__(self, dsn: str, outer: EnvelopeKey) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="keystore", daemon=True)
        self._thread.start()
        self._store = self._wait(PostgresStore.open(dsn, outer, follow=False))

    @classmethod
    async def open(cls, dsn: str, outer: EnvelopeKey) -> Self:
        """Raises: UnusableError."""
        return await asyncio.to_thread(cls, dsn, outer)

    @contextmanager
    def held(self) -> Generator[None]:
        """No other server is in such a block: of several that start at once, one makes the authority."""
        lock = self._store.exclusive()
        self._wait(lock.__aenter__())
        try:
            yield
        finally:
            self._wait(lock.__aexit__(None, None, None))

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """As `held`, for a server that runs: it goes on while it waits for the others. Raises: KeystoreError."""
        lock = self._store.exclusive()
        await self._awaited(lock.__aenter__())
        try:
            yield
        finally:
            await self._awaited(lock.__aexit__(None, None, None))

    def load(self, name: str) -> bytes | None:
        record = self._wait(self._store.get(Key(RESOURCE, "", name)))
        return None if record is None else base64.b64decode(record.value["data"])

    def store(self, name: str, data: bytes) -> None:
        self._wait(self._put(Key(RESOURCE, "", name), {"data": base64.b64encode(data).decode()}))

    def create_key(self, name: str, kind: KeyType) -> PrivateKey:
        key = new_key_of(kind)
        self.store(_KEY + name, key_pem(key))
        return key

    def key(self, name: str) -> PrivateKey | None:
        data = self.load(_KEY + name)
        if data is None:
            return None
        try:
            return load_key(data)
        except ValueError as error:
            raise KeystoreError(f"the key {name} in the store cannot be read: restore a backup") from error

    def forget_key(self, name: str) -> None:
        self._wait(self._store.take(Key(RESOURCE, "", _KEY + name)))

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._wait(self._store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    async def _put(self, key: Key, value: dict[str, Any]) -> None:
        try:
            await self._store.replace(key, value)
        except NotFoundError:
            await self._store.create(key, value)

    async def _awaited(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        except (StoreError, TimeoutError) as error:
            raise KeystoreError(f"the authority's keys cannot be reached: {error or 'no answer'}") from error

    def _wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)
        except (StoreError, TimeoutError) as error:
            raise KeystoreError(f"the authority's keys cannot be reached: {error or 'no answer'}") from error
