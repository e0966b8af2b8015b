"""The read models in PostgreSQL: one connection that may write them.

A schema holds tables and their checkpoints, written by the same code: the live one is `read`, others stand beside it.

Two rules keep a live projector and a rebuild apart. Everything that writes live rows or swaps a table first locks the
checkpoint rows of what it touches, in one order. And a batch names the position it goes on from, and the version of
the projection that goes on: when the checkpoint is not there any more, somebody swapped, and nothing of the batch is
written.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import LiteralString, cast

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.sql import Composed

from playhead_contracts.errors import Conflict, PlayheadError, Unavailable
from playhead_contracts.ids import ExecutionId
from playhead_projector import queries
from playhead_projector.projections import Projection
from playhead_projector.queries import BUILDING, LIVE
from playhead_projector.table import Row, Table

PROJECTOR_LOCK = 5060
RELAY_LOCK = 5061
REBUILD_LOCK = 5062
COURIER_LOCK = 5064
"""Advisory locks, per database: one writer of read models, one relay, one rebuild, one courier. The log's own is 5059,
5063 guards the making of tables, and 5065 is that of the notifier in hitl."""

LOOK_AGAIN_SECONDS = 0.5

AWAY = (Unavailable, psycopg.OperationalError, psycopg.InternalError)
"""The database cannot do it now; an internal error is what a replica says that is not the primary yet."""


class CheckpointMoved(PlayheadError):
    """A rebuild swapped a read model since the checkpoint was read: read it again."""


class MadeByNewer(Conflict):
    """A read model was made by a newer Playhead, or a newer version of its package, than this one."""

    def __init__(self, names: Iterable[str]):
        super().__init__(
            f"{', '.join(sorted(names))}: made by a newer version than this one, which would build it back; use the "
            "newer one, or say --downgrade"
        )


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a projection has come, when it got there, and which version of it wrote the table, of what shape.

    `shape` is None when it was not noted, as it was before there were versions.
    """

    position: int
    updated_at: datetime
    version: int
    shape: str | None

    def fits(self, projection: Projection) -> bool:
        """Whether `projection` can go on from here."""
        return self.version == projection.version and self.shape == projection.table.shape


Rows = Sequence[tuple[Projection, list[Row]]]


class Store:
    """Use `open_store`. Every method raises psycopg.OperationalError when the database does not answer."""

    def __init__(self, connection: AsyncConnection[TupleRow]):
        self._connection = connection
        self._upserts: dict[tuple[str, str], str] = {}

    async def try_lock(self, lock: int) -> bool:
        """Take a lock for as long as the connection lasts. With it goes the right to write: no fencing is needed."""
        rows = await self.fetch(queries.TRY_LOCK, (lock,))
        return bool(rows[0][0])

    async def win(self, lock: int) -> None:
        """Wait until nobody else has the lock, and take it. Waiting holds no snapshot in the database."""
        while not await self.try_lock(lock):  # noqa: ASYNC110 - the lock is in the database
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def create_checkpoints(self) -> None:
        """Make the table of checkpoints, if it is not there."""
        async with self._connection.transaction():
            await self._create_checkpoints()

    async def create(self, projections: Iterable[Projection]) -> dict[str, str]:
        """Make the live tables and checkpoints that are not there, and note what is known of those that are.

        Gives the projections whose table or indexes cannot be made, and why.
        """
        projections = tuple(projections)
        async with self._connection.transaction():
            await self._create_checkpoints()
            await self._run(queries.ADOPT_CHECKPOINTS, ([projection.name for projection in projections],))
            await self._add_checkpoints(LIVE, projections)
            found = await self.checkpoints(projections)

            async def create(projection: Projection) -> None:
                checkpoint = found[projection.name]
                if checkpoint.position == 0:
                    await self._run(queries.create(projection.table, LIVE))
                if checkpoint.version == projection.version and await self.has_columns(projection):
                    await self._create_indexes(projection.table, LIVE)
                    await self._run(queries.ADOPT_SHAPE, (projection.table.shape, projection.name))

            return await self._each(projections, create)

    async def has_columns(self, projection: Projection) -> bool:
        """Whether the live table is there, with the columns that this version writes."""
        rows = await self.fetch(queries.COLUMNS, (queries.full_name(projection.table, LIVE),))
        return [row[0] for row in rows] == list(projection.table.columns)

    async def checkpoints(
        self, projections: Iterable[Projection] | None = None, schema: str = LIVE
    ) -> dict[str, Checkpoint]:
        """Where the projections are that have a checkpoint in `schema`; None: all of them."""
        rows = await self.fetch(queries.read_checkpoints(schema), ())
        names = None if projections is None else {projection.name for projection in projections}
        return {row[0]: Checkpoint(*row[1:]) for row in rows if names is None or row[0] in names}

    async def move(
        self, start: int, end: int, rows: Rows, schema: str = LIVE, archived: Sequence[ExecutionId] = ()
    ) -> None:
        """Write the rows of a batch and move its projections from `start` to `end`, in one transaction.

        Rows of executions that were `archived` go, of every table that follows executions and says which one a row is
        of: the log does not hold them any more, so a table that is built anew has none of them either.

        Raises CheckpointMoved, and then nothing was written.
        """
        projections = [projection for projection, _ in rows]
        async with self._connection.transaction():
            found = await self._lock(projections, schema)
            if not all(found[each.name].position == start and found[each.name].fits(each) for each in projections):
                names = ", ".join(projection.name for projection in projections)
                raise CheckpointMoved(f"one of {names} is not at {start} any more")
            await self._write(rows, schema)
            await self._forget(projections, schema, archived)
            await self._run(queries.move_checkpoints(schema), (end, [projection.name for projection in projections]))

    async def position(self, name: str) -> int:
        """What was noted last under this name, 0 if nothing was."""
        rows = await self.fetch(queries.READ_POSITION, (name,))
        return rows[0][0] if rows else 0

    async def note(self, name: str, position: int) -> None:
        await self._run(queries.WRITE_POSITION, (name, position))

    # -- what the relay is asked for

    async def create_relay_requests(self) -> None:
        """Make the table of requests, and that of checkpoints, if they are not there."""
        async with self._connection.transaction():
            await self._create_checkpoints()
            await self._run(queries.CREATE_RELAY_REQUESTS)

    async def ask_relay(self, position: int) -> int:
        """Have the bus copy begin again at a position; gives the number of the request."""
        return int((await self.fetch(queries.ASK_RELAY, (position,)))[0][0])

    async def open_relay_request(self) -> tuple[int, int] | None:
        """The newest request that was not begun: its number, and the position."""
        rows = await self.fetch(queries.OPEN_RELAY_REQUEST, ())
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    async def relay_begun(self, request: int, name: str, position: int) -> None:
        """This request, and those before it, are done; and how far the relay is. One transaction."""
        async with self._connection.transaction():
            await self._run(queries.RELAY_BEGUN, (request,))
            await self.note(name, position)

    async def has_relay_begun(self, request: int) -> bool:
        return bool((await self.fetch(queries.HAS_RELAY_BEGUN, (request,)))[0][0])

    async def is_locked(self, lock: int) -> bool:
        """Whether somebody has a lock."""
        return bool(await self.fetch(queries.IS_LOCKED, (lock,)))

    # -- what the courier keeps

    async def create_watches(self) -> None:
        """Make the courier's table, and that of checkpoints, if they are not there."""
        async with self._connection.transaction():
            await self._create_checkpoints()
            await self._run(queries.CREATE_WATCHES)

    async def watches(self) -> list[str]:
        """The open waits for events, as they were stored."""
        return [row[0] for row in await self.fetch(queries.READ_WATCHES, ())]

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

    async def begin_building(self, projections: Sequence[Projection]) -> dict[str, str]:
        """Empty tables beside the live ones; what a rebuild that did not end left there is dropped.

        Gives the projections whose table cannot be made, and why.
        """
        async with self._connection.transaction():
            await self._run(queries.BEGIN_BUILDING)
            await self._run(queries.create_checkpoints(BUILDING))
            await self._add_checkpoints(BUILDING, projections)
            return await self._each(projections, lambda each: self._run(queries.create(each.table, BUILDING)))

    async def finish_tables(self, projections: Iterable[Projection], schema: str) -> dict[str, str]:
        """What a table gets when its rows are in it: indexes, and what the planner wants to know.

        Gives the projections whose indexes cannot be made, and why.
        """

        async def finish(projection: Projection) -> None:
            await self._create_indexes(projection.table, schema)
            await self._run(queries.analyze(projection.table, schema))

        return await self._each(projections, finish)

    async def leave_out(self, projection: Projection) -> None:
        """Of what is being built: this one cannot be."""
        async with self._connection.transaction():
            await self._run(queries.drop(projection.table, BUILDING))
            await self._run(queries.FORGET_BUILDING, (projection.name,))

    async def name_building(self, name: str) -> None:
        """What was built is whole: from now on it is the set of this name."""
        await self.fetch(queries.NAME_BUILDING, (name,))

    async def drop_building(self) -> None:
        await self._run(queries.DROP_BUILDING)

    async def drop_set(self, name: str) -> None:
        await self.fetch(queries.DROP_SET, (name,))

    async def has_schema(self, schema: str) -> bool:
        return bool(await self.fetch(queries.HAS_SCHEMA, (schema,)))

    async def sets(self) -> list[str]:
        """The schemas beside the live one, by name; BUILDING among them when something is being built, or was."""
        return [row[0] for row in await self.fetch(queries.SETS, ())]

    @asynccontextmanager
    async def swapping(self, projections: Sequence[Projection]) -> AsyncGenerator[dict[str, Checkpoint]]:
        """A transaction in which the live projector stands still; gives the checkpoints that readers have seen.

        Waits half a second at most for readers and for the projector; then psycopg.errors.LockNotAvailable.
        """
        async with self._connection.transaction():
            await self._run(queries.WAIT_FOR_LOCKS_AT_MOST)
            yield await self._lock(projections, LIVE)

    async def swap_in(self, projections: Sequence[Projection], schema: str, position: int) -> None:
        """Inside `swapping`: the tables of `schema`, which are at `position`, take the place of the live ones."""
        for projection in projections:
            for statement in queries.swap_in(projection.table, schema):
                await self._run(statement)
        await self._mark(projections, {projection.name: position for projection in projections})

    @asynccontextmanager
    async def one_moment(self, held: Sequence[tuple[str, str]] = ()) -> AsyncGenerator[None]:
        """A transaction that sees everything as it is at its first statement, and what it writes itself.

        The tables `held`, by schema and name, cannot be swapped meanwhile.
        """
        async with self._connection.transaction():
            await self._run(queries.READ_ONE_MOMENT)
            if held:
                # Before anything is read: what is seen are the tables that are held.
                await self._run(queries.hold(held))
            yield

    async def fetch(self, query: str | Composed, parameters: Sequence[object]) -> list[TupleRow]:
        """The rows of one of `queries`."""
        statement = query if isinstance(query, Composed) else cast(LiteralString, query)
        cursor = await self._connection.execute(statement, parameters)
        return await cursor.fetchall()

    # -- inside

    async def _create_checkpoints(self) -> None:
        await self._run(queries.LOCK_SCHEMA)
        await self._run(queries.create_checkpoints(LIVE))
        # Asked first: the statement waits for everybody, also when there is nothing to add.
        if (await self.fetch(queries.CHECKPOINTS_WITHOUT_VERSION, ()))[0][0]:
            await self._run(queries.ADD_WHAT_CHECKPOINTS_HAD_NOT)

    async def _add_checkpoints(self, schema: str, projections: Sequence[Projection]) -> None:
        given = [(projection.name, projection.version, projection.table.shape) for projection in projections]
        if given:
            await self._run(queries.add_checkpoints(schema), [list(column) for column in zip(*given, strict=True)])

    async def _create_indexes(self, table: Table, schema: str) -> None:
        for index in table.indexes:
            await self._run(queries.create_index(table, schema, index))

    async def _each(
        self, projections: Iterable[Projection], work: Callable[[Projection], Awaitable[None]]
    ) -> dict[str, str]:
        """Do it for each; those that the database refuses, and why."""
        refused: dict[str, str] = {}
        for projection in projections:
            try:
                async with self._connection.transaction():
                    await work(projection)
            except AWAY:
                raise
            except psycopg.Error as exc:
                refused[projection.name] = f"its table cannot be made: {str(exc).strip()}"
        return refused

    async def _mark(self, projections: Sequence[Projection], positions: Mapping[str, int]) -> None:
        given = [(each.name, positions[each.name], each.version, each.table.shape) for each in projections]
        await self._run(queries.MARK_CHECKPOINTS, [list(column) for column in zip(*given, strict=True)])

    async def _lock(self, projections: Iterable[Projection], schema: str) -> dict[str, Checkpoint]:
        rows = await self.fetch(queries.lock_checkpoints(schema), ([projection.name for projection in projections],))
        return {row[0]: Checkpoint(*row[1:]) for row in rows}

    async def _write(self, rows: Rows, schema: str) -> None:
        for projection, table_rows in rows:
            if table_rows:
                columns = [list(column) for column in zip(*table_rows, strict=True)]
                await self._run(self._upsert(projection.table, schema), columns)

    async def _forget(self, projections: Iterable[Projection], schema: str, archived: Sequence[ExecutionId]) -> None:
        for projection in projections if archived else ():
            kind = projection.table.columns.get("execution_id")
            if projection.follows == "execution" and kind is not None:
                await self._run(queries.forget(projection.table, schema, kind), (list(archived),))

    def _upsert(self, table: Table, schema: str) -> str:
        statement = self._upserts.get((table.name, schema))
        if statement is None:
            statement = self._upserts[table.name, schema] = queries.upsert(table, schema).as_string()
        return statement

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
