"""The read models in PostgreSQL: one connection that may write them.

Two rules keep a live projector and a rebuild apart. Everything that writes live rows or swaps a table first locks the
checkpoint rows of what it touches, in one order. And a batch names the position it goes on from: when the checkpoint
is not there any more, somebody swapped, and nothing of the batch is written.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import LiteralString, cast

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.sql import Composed

from playhead_contracts.errors import Corrupt, PlayheadError
from playhead_projector import queries
from playhead_projector.projections import Projection
from playhead_projector.table import Row, Table

PROJECTOR_LOCK = 5060
RELAY_LOCK = 5061
REBUILD_LOCK = 5062
COURIER_LOCK = 5064
"""Advisory locks, per database: one writer of read models, one relay, one rebuild, one courier. The log's own is 5059,
and 5063 guards the making of tables."""

LOOK_AGAIN_SECONDS = 0.5


class CheckpointMoved(PlayheadError):
    """A rebuild swapped a read model since the checkpoint was read: read it again."""


class TableHasAnotherShape(Corrupt):
    """A read model was made by another version of Playhead."""

    def __init__(self, name: str):
        super().__init__(
            f"{queries.SCHEMA}.{name} was made by another version of Playhead; run `playhead rebuild {name}`"
        )


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a projection has come, and when it got there."""

    position: int
    updated_at: datetime


Rows = Sequence[tuple[Projection, list[Row]]]


class Store:
    """Use `open_store`. Every method raises psycopg.OperationalError when the database does not answer."""

    def __init__(self, connection: AsyncConnection[TupleRow]):
        self._connection = connection
        self._upserts: dict[tuple[str, str], str] = {}

    async def try_lock(self, lock: int) -> bool:
        """Take a lock for as long as the connection lasts. With it goes the right to write: no fencing is needed."""
        rows = await self._fetch(queries.TRY_LOCK, (lock,))
        return bool(rows[0][0])

    async def win(self, lock: int) -> None:
        """Wait until nobody else has the lock, and take it. Waiting holds no snapshot in the database."""
        while not await self.try_lock(lock):  # noqa: ASYNC110 - the lock is in the database
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def create_checkpoints(self) -> None:
        """Make the table of checkpoints, if it is not there."""
        async with self._connection.transaction():
            await self._run(queries.LOCK_SCHEMA)
            await self._run(queries.CREATE_CHECKPOINTS)

    async def create(self, projections: Iterable[Projection]) -> None:
        """Make the live tables and checkpoints that are not there."""
        projections = tuple(projections)
        async with self._connection.transaction():
            await self._run(queries.LOCK_SCHEMA)
            await self._run(queries.CREATE_CHECKPOINTS)
            await self._run(queries.ADD_CHECKPOINTS, ([projection.name for projection in projections],))
            for projection in projections:
                await self._run(queries.create(projection.table, ""))
                if await self._columns(projection.table) == list(projection.table.columns):
                    await self.create_indexes(projection.table, "")

    async def check_shape(self, projection: Projection) -> None:
        """Raises TableHasAnotherShape when the live table is not what this version writes."""
        if await self._columns(projection.table) != list(projection.table.columns):
            raise TableHasAnotherShape(projection.name)

    async def checkpoints(self, projections: Iterable[Projection]) -> dict[str, Checkpoint]:
        names = [projection.name for projection in projections]
        rows = await self._fetch(queries.READ_CHECKPOINTS, (names,))
        return {name: Checkpoint(position, updated_at) for name, position, updated_at in rows}

    async def move(self, start: int, end: int, rows: Rows) -> None:
        """Write the rows of a batch and move its projections from `start` to `end`, in one transaction.

        Raises CheckpointMoved, and then nothing was written.
        """
        names = [projection.name for projection, _ in rows]
        async with self._connection.transaction():
            if set((await self._lock(names)).values()) != {start}:
                raise CheckpointMoved(f"one of {names} is not at {start} any more")
            await self._write(rows, "")
            await self._run(queries.MOVE_CHECKPOINTS, (end, names))

    async def position(self, name: str) -> int:
        """What was noted last under this name, 0 if nothing was."""
        rows = await self._fetch(queries.READ_POSITION, (name,))
        return rows[0][0] if rows else 0

    async def note(self, name: str, position: int) -> None:
        await self._run(queries.WRITE_POSITION, (name, position))

    # -- what the courier keeps

    async def create_watches(self) -> None:
        """Make the courier's table, and that of checkpoints, if they are not there."""
        async with self._connection.transaction():
            await self._run(queries.LOCK_SCHEMA)
            await self._run(queries.CREATE_CHECKPOINTS)
            await self._run(queries.CREATE_WATCHES)

    async def watches(self) -> list[str]:
        """The open waits for events, as they were stored."""
        return [row[0] for row in await self._fetch(queries.READ_WATCHES, ())]

    async def move_courier(self, name: str, position: int, watches: Mapping[tuple[str, str], str | None]) -> None:
        """Note how far the courier is, with the waits that changed, by execution and path; None for one that is over.

        One transaction.
        """
        kept = [(*key, watch) for key, watch in watches.items() if watch is not None]
        gone = [key for key, watch in watches.items() if watch is None]
        async with self._connection.transaction():
            if kept:
                await self._run(queries.WRITE_WATCHES, [list(column) for column in zip(*kept, strict=True)])
            if gone:
                await self._run(queries.DELETE_WATCHES, [list(column) for column in zip(*gone, strict=True)])
            await self.note(name, position)

    # -- tables beside the live ones

    async def create_anew(self, table: Table, suffix: str) -> None:
        """An empty table beside the live one; what a crashed rebuild left there is dropped."""
        async with self._connection.transaction():
            await self._run(queries.drop(table, suffix))
            await self._run(queries.create(table, suffix))

    async def create_indexes(self, table: Table, suffix: str) -> None:
        for index in table.indexes:
            await self._run(queries.create_index(table, suffix, index))

    async def analyze(self, table: Table, suffix: str) -> None:
        await self._run(queries.analyze(table, suffix))

    async def drop(self, table: Table, suffix: str) -> None:
        await self._run(queries.drop(table, suffix))

    async def write_beside(self, rows: Rows, suffix: str) -> None:
        async with self._connection.transaction():
            await self._write(rows, suffix)

    @asynccontextmanager
    async def swapping(self, projections: Sequence[Projection]) -> AsyncGenerator[int]:
        """A transaction in which the live projector stands still; gives the position that readers have seen.

        Waits half a second at most for readers and for the projector; then psycopg.errors.LockNotAvailable.
        """
        async with self._connection.transaction():
            await self._run(queries.WAIT_FOR_LOCKS_AT_MOST)
            positions = await self._lock([projection.name for projection in projections])
            yield max(positions.values())

    async def swap_in(self, projections: Sequence[Projection], suffix: str, position: int) -> None:
        """Inside `swapping`: the tables with this suffix, which are at `position`, take the place of the live ones."""
        for projection in projections:
            for statement in queries.swap_in(projection.table, suffix):
                await self._run(statement)
        await self._run(queries.MOVE_CHECKPOINTS, (position, [projection.name for projection in projections]))

    # -- inside

    async def _lock(self, names: list[str]) -> dict[str, int]:
        rows = await self._fetch(queries.LOCK_CHECKPOINTS, (names,))
        return dict(rows)

    async def _write(self, rows: Rows, suffix: str) -> None:
        for projection, table_rows in rows:
            if table_rows:
                columns = [list(column) for column in zip(*table_rows, strict=True)]
                await self._run(self._upsert(projection.table, suffix), columns)

    def _upsert(self, table: Table, suffix: str) -> str:
        statement = self._upserts.get((table.name, suffix))
        if statement is None:
            statement = self._upserts[table.name, suffix] = queries.upsert(table, suffix).as_string()
        return statement

    async def _columns(self, table: Table) -> list[str]:
        return [row[0] for row in await self._fetch(queries.COLUMNS, (queries.full_name(table),))]

    async def _fetch(self, query: str, parameters: Sequence[object]) -> list[TupleRow]:
        cursor = await self._connection.execute(cast(LiteralString, query), parameters)
        return await cursor.fetchall()

    async def _run(self, statement: str | Composed, parameters: Sequence[object] | None = None) -> None:
        query = statement if isinstance(statement, Composed) else cast(LiteralString, statement)
        await self._connection.execute(query, parameters)


@asynccontextmanager
async def open_store(url: str) -> AsyncGenerator[Store]:
    """A connection of its own to the database at `url`, as a member of the services' role.

    Raises psycopg.OperationalError.
    """
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(queries.BECOME_SERVICE)
        await connection.execute(queries.DO_NOT_WAIT_FOR_FSYNC)
        yield Store(connection)
