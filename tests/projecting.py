"""A projector on a test's log, and what its read models should hold."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec
import psycopg
from psycopg.sql import SQL, Identifier

from playhead_engine.folding import fold
from playhead_engine.state import ExecutionState
from playhead_eventlog import EventLog, open_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.extensions import every_projection
from playhead_projector.projections import Projection
from playhead_projector.projector import Projector
from playhead_projector.settings import Settings
from tests.conftest import Database


@asynccontextmanager
async def projecting(
    log: EventLog, database: Database, projections: Sequence[Projection] = ()
) -> AsyncGenerator[Projector]:
    async with open_tail(log, database.service_url) as tail:
        projector = Projector(log, tail, database.service_url, projections or every_projection())
        task = asyncio.create_task(projector.run())
        try:
            yield projector
        finally:
            await stop_tasks(task)


async def states(database: Database, schema: str = "read") -> dict[str, ExecutionState]:
    """The read model of whole states, decoded."""
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        query = SQL("select execution_id::text, state::text from {}").format(Identifier(schema, "execution_states"))
        found = await (await connection.execute(query)).fetchall()
    return {execution_id: msgspec.json.decode(state, type=ExecutionState) for execution_id, state in found}


async def folded(log: EventLog, until: int) -> dict[str, ExecutionState]:
    """The states that the log's streams fold to, up to a position."""
    events = [raw for raw in await log.read_log(0, 1_000_000) if raw.position <= until]
    ends = {raw.stream_id: raw.version for raw in events if raw.stream_id.startswith("execution:")}
    found: dict[str, ExecutionState] = {}
    for stream_id, version in ends.items():
        state = fold((await log.load(stream_id, version))[0])
        assert state is not None
        found[state.execution_id] = state
    return found


def settings(database: Database) -> Settings:
    return Settings(nats_url="nats://unused", database_url=database.service_url)


async def is_true(value: bool) -> bool:
    return value
