"""What somebody can do to a log who rules its database: everything. And a log to do it to, made once for many."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from playhead_contracts.events import Actor, BlockCompleted, BlockSkipped, NewEvent
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, StreamId, TenantId, WorkflowId, execution_stream
from playhead_eventlog import BLOB_BYTES, GENESIS, EventLog, StreamHead, chain, open_log
from playhead_eventlog.checkpoints import Checkpoints
from playhead_eventlog.signing import SigningKey
from playhead_projector.checkpoints.signer import Signer
from playhead_projector.checkpoints.signing import Signing
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from tests.conftest import Database

ACME = TenantId("acme")
VERSIONS = 6
STREAMS = 6
KEY = SigningKey.new()


class Made(msgspec.Struct, frozen=True):
    """What the log holds: streams of `VERSIONS` events each, written in turn, and one event with a large value."""

    streams: tuple[StreamId, ...]
    large: StreamId
    """The stream of the event with the large value."""
    checkpoints: Path

    @property
    def target(self) -> StreamId:
        """The one that is tampered with."""
        return self.streams[1]


class Row(msgspec.Struct):
    """A row of log.events that can be changed."""

    position: int
    stream_id: str
    version: int
    event_id: str
    type: str
    tenant: str
    recorded_at: datetime
    data: str
    meta: str
    prev_hash: bytes
    hash: bytes

    def rehash(self, previous: bytes) -> None:
        """Make it follow another hash, as if it had been written so."""
        self.prev_hash = previous
        self.hash = chain(previous, self.meta.encode(), self.data.encode())


def skipped(reason: str, execution_id: ExecutionId) -> NewEvent:
    return _new(BlockSkipped(path=BlockPath("b"), reason=reason), execution_id)


async def make(url: str, owner_url: str, folder: Path) -> Made:
    """Write a log, and sign it: every ten events, and after all but the last round."""
    names = [ExecutionId(new_id()) for _ in range(STREAMS)]
    async with open_log(url) as log:
        heads = dict.fromkeys(names, GENESIS)
        for version in range(1, VERSIONS):
            if version == 3:
                # A position that was drawn and not used: a place to put something into.
                await _skip_a_position(owner_url)
            for name in names:
                heads[name] = await _append(log, name, heads[name], f"{version} of {name}")
        large = BlockCompleted(path=BlockPath("b"), outputs={"text": "x" * (BLOB_BYTES + 1)})
        apart = execution_stream(ExecutionId(new_id()))
        await log.append(apart, GENESIS, [_new(large, names[0])])
        await signer(log, url, folder).sign_now()
        for name in names:
            heads[name] = await _append(log, name, heads[name], f"last of {name}")
    return Made(tuple(execution_stream(name) for name in names), apart, folder)


def signer(log: EventLog, url: str, folder: Path, key: SigningKey = KEY, events: int = 10) -> Signer:
    return Signer(log, url, Signing(Checkpoints(folder), key, timedelta(minutes=5), events), Clock())


async def save(database: Database) -> None:
    """Keep what there is, for `restore`."""
    async with forger(database) as hand:
        await hand.run("create schema saved")
        for table in _TABLES:
            await hand.run(f"create table saved.{table} as table log.{table}")


async def restore(database: Database) -> None:
    """Put back what was saved."""
    async with forger(database) as hand:
        await hand.run("alter table log.blobs drop constraint if exists blobs_are_under_their_digest")
        for table, columns in _TABLES.items():
            await hand.run(f"delete from log.{table}")
            await hand.run(
                f"insert into log.{table} ({columns}) overriding system value select {columns} from saved.{table}"
            )
        await hand.run(
            "alter table log.blobs add constraint blobs_are_under_their_digest "
            "check (digest = 'sha256:' || encode(sha256(content), 'hex'))"
        )


@asynccontextmanager
async def forger(database: Database) -> AsyncGenerator["Forger"]:
    """The owner of the database, for whom no trigger fires."""
    async with await AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        await connection.execute("set session_replication_role = replica")
        yield Forger(connection)


class Forger:
    def __init__(self, connection: AsyncConnection[TupleRow]):
        self._connection = connection

    async def run(self, statement: str, *parameters: Any) -> list[TupleRow]:
        cursor = await self._connection.execute(statement, parameters)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return await cursor.fetchall() if cursor.description else []

    async def rows(self, stream_id: str) -> list[Row]:
        return [Row(*row) for row in await self.run(f"{_SELECT} where stream_id = %s order by version", stream_id)]

    async def delete(self, rows: list[Row]) -> None:
        await self.run("delete from log.events where position = any(%s)", [row.position for row in rows])

    async def insert(self, rows: list[Row]) -> None:
        for row in rows:
            await self.run(_INSERT, *msgspec.structs.astuple(row))

    async def set_head(self, row: Row) -> None:
        await self.run(
            "update log.heads set version = %s, hash = %s where stream_id = %s", row.version, row.hash, row.stream_id
        )


_COLUMNS = "position, stream_id, version, event_id, type, tenant, recorded_at, data, meta, prev_hash, hash"
_TABLES = {
    "events": _COLUMNS,
    "heads": "stream_id, version, hash",
    "blobs": "tenant, digest, content, created_at",
    "signed": "chain, position, signed_at",
}
_SELECT = f"select {_COLUMNS.replace('event_id', 'event_id::text')} from log.events"
_INSERT = (
    f"insert into log.events ({_COLUMNS}) overriding system value values "
    "(%s, %s, %s, %s::uuid, %s, %s, %s, %s, %s, %s, %s)"
)


async def _append(log: EventLog, name: ExecutionId, head: StreamHead, reason: str) -> StreamHead:
    return (await log.append(execution_stream(name), head, [skipped(reason, name)])).head


def _new(data: BlockSkipped | BlockCompleted, execution_id: ExecutionId) -> NewEvent:
    return NewEvent(
        id=EventId(new_id()),
        data=data,
        tenant=ACME,
        workflow_id=WorkflowId("w"),
        execution_id=execution_id,
        actor=Actor(kind="key", name="ann", channel="http"),
        recorded_at=datetime.now(UTC),
    )


async def _skip_a_position(owner_url: str) -> None:
    async with await AsyncConnection.connect(owner_url, autocommit=True) as connection:
        await connection.execute("select nextval(pg_get_serial_sequence('log.events', 'position'))")
