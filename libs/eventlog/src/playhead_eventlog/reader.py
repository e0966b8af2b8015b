"""Reading from PostgreSQL: a few connections, and patience with a database that is away for a moment."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from playhead_contracts.ids import StreamId, TenantId, execution_of
from playhead_eventlog import queries
from playhead_eventlog.archive import Archive
from playhead_eventlog.stored import BlobKey, LogUnavailable, RawEvent

AGAIN_SECONDS = 0.1
"""Between two tries while the database is away."""


class Reader:
    """Queries on a pool."""

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]],
        patience_seconds: float,
        archive_url: str | None = None,
    ):
        self._pool = pool
        self._patience_seconds = patience_seconds
        self.archive = Archive(self.fetch, archive_url)

    async def stream(self, stream_id: StreamId, after: int, limit: int | None) -> list[RawEvent]:
        """The stored events of a stream after version `after`, in order, wherever they are kept now."""
        found = raws(await self.fetch(queries.READ_STREAM, (stream_id, after, limit)))
        # Only where the log has nothing, and only executions are archived: what is in it pays nothing for what is not.
        return found if found or execution_of(stream_id) is None else await self.archived(stream_id, after, limit)

    async def archived(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[RawEvent]:
        """The same, of a stream that was moved out of the log; nothing, if it was not."""
        events = await self.archive.stream(stream_id)
        return events[after : None if limit is None else after + limit]

    async def blobs(self, keys: Collection[BlobKey]) -> dict[BlobKey, bytes]:
        """Large values as they are stored, unchecked. One that is not there is left out."""
        if not keys:
            return {}
        wanted = [key.tenant for key in keys], [key.digest for key in keys]
        rows = await self.fetch(queries.READ_BLOBS, wanted)
        return {BlobKey(TenantId(tenant), digest): content for tenant, digest, content in rows}

    async def fetch(self, query: str, parameters: Sequence[Any]) -> list[TupleRow]:
        """The rows of a query. Raises LogUnavailable."""
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            try:
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(query, parameters, binary=True, prepare=True)  # pyright: ignore[reportCallIssue, reportArgumentType]
                    return await cursor.fetchall()
            except (psycopg.OperationalError, PoolTimeout) as exc:
                # Reading again is always right; a pooled connection may have died with an earlier server.
                if asyncio.get_running_loop().time() >= deadline:
                    raise LogUnavailable(f"the event log does not answer: {str(exc).strip()}") from exc
                await asyncio.sleep(AGAIN_SECONDS)


def raws(rows: list[TupleRow]) -> list[RawEvent]:
    """Rows with the columns of `queries`, as stored events."""
    return [
        RawEvent(position, StreamId(stream_id), version, kind, data.encode(), meta.encode(), previous, own)
        for position, stream_id, version, kind, data, meta, previous, own in rows
    ]
