"""Append and read: the door to the log.

An append is optimistic: it names the head (version and hash) it follows, and either all of it goes in or none. How
appends become commits is in `commit.py`. Reads give events in order, with the outputs of reused blocks filled in.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from playhead_contracts.events import (
    BlockCompleted,
    BlockReference,
    BlockReused,
    Envelope,
    Event,
    NewEvent,
    decode_data,
    encode_data,
    encode_envelope,
    join,
)
from playhead_contracts.ids import ExecutionId, StreamId, execution_stream
from playhead_eventlog import queries
from playhead_eventlog.commit import GroupCommit, Pending, Row
from playhead_eventlog.reader import Reader, raws
from playhead_eventlog.stored import GENESIS, BrokenHashChain, LogUnavailable, RawEvent, StreamHead, chain

SCHEMA_VERSION = 1

OPEN_SECONDS = 10.0
"""How long opening waits for a database that is just starting. Patience is for one that was there before."""


class Appended(msgspec.Struct, frozen=True):
    """What an append made true: the new head, and each event as one JSON object (`events.join`)."""

    head: StreamHead
    frames: tuple[bytes, ...]


class EventLog:
    """One process's door to the log. Use `open_log`."""

    def __init__(self, reader: Reader, commits: GroupCommit):
        self._reader = reader
        self._commits = commits

    async def append(self, stream_id: StreamId, expected: StreamHead, events: Sequence[NewEvent]) -> Appended:
        """Append `events` to the stream whose head is `expected`; returns when they are committed and fsynced.

        The same events (by id) again are the same append and give the head they led to. Raises VersionConflict when
        the stream has moved on, LogUnavailable when the database did not answer in time.
        """
        rows: list[Row] = []
        frames: list[bytes] = []
        version, previous = expected.version, expected.hash
        for event in events:
            version += 1
            data = encode_data(event.data)
            kind = event.data.type_name()
            meta = encode_envelope(
                Envelope(
                    id=event.id,
                    type=kind,
                    schema_version=SCHEMA_VERSION,
                    tenant=event.tenant,
                    stream_id=stream_id,
                    version=version,
                    recorded_at=event.recorded_at,
                    actor=event.actor,
                    workflow_id=event.workflow_id,
                    execution_id=event.execution_id,
                    causation_id=event.causation_id,
                    correlation_id=event.correlation_id,
                    traceparent=event.traceparent,
                )
            )
            own = chain(previous, meta, data)
            rows.append(
                Row(
                    version,
                    event.id.encode(),
                    kind.encode(),
                    event.tenant.encode(),
                    event.recorded_at,
                    data,
                    meta,
                    previous,
                    own,
                )
            )
            frames.append(join(meta, data))
            previous = own
        done: asyncio.Future[StreamHead] = asyncio.get_running_loop().create_future()
        head = StreamHead(version, previous)
        self._commits.submit(Pending(stream_id, expected, head, events, rows, done))
        return Appended(await done, tuple(frames))

    async def read(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events of a stream after version `after`, in order, with the outputs of reused blocks filled in."""
        return await self.hydrate([raw.decode() for raw in await self.read_raw(stream_id, after, limit)])

    async def read_raw(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[RawEvent]:
        """The stored bytes of a stream after version `after`, in order."""
        return await self._reader.stream(stream_id, after, limit)

    async def load(self, stream_id: StreamId, until: int | None = None) -> tuple[list[Event], StreamHead]:
        """A whole stream (or its events up to version `until`) and the head it ends in, GENESIS if it is empty."""
        raws = await self.read_raw(stream_id, 0, until)
        head = StreamHead(raws[-1].version, raws[-1].hash) if raws else GENESIS
        return await self.hydrate([raw.decode() for raw in raws]), head

    async def load_many(self, until: dict[StreamId, int]) -> dict[StreamId, list[Event]]:
        """Several streams at once, each up to the given version."""
        rows = await self._reader.fetch(queries.READ_STREAMS, (list(until), list(until.values())))
        found: dict[StreamId, list[Event]] = {stream: [] for stream in until}
        for event in await self.hydrate([raw.decode() for raw in raws(rows)]):
            found[event.envelope.stream_id].append(event)
        return found

    async def read_log(self, after: int, limit: int) -> list[RawEvent]:
        """The events of all streams after position `after`, in commit order. Never skips one (see `tail.py`)."""
        return raws(await self._reader.fetch(queries.READ_LOG, (after, limit)))

    async def heads(self, stream_id: StreamId | None = None) -> dict[StreamId, StreamHead]:
        """Where one stream, or every stream, ended at the moment of asking: what a verifier must find."""
        rows = await self._reader.fetch(queries.HEADS, (stream_id, stream_id))
        return {StreamId(name): StreamHead(version, own) for name, version, own in rows}

    async def last_position(self) -> int:
        """The position of the newest event, 0 for an empty log."""
        rows = await self._reader.fetch(queries.LAST_POSITION, ())
        return int(rows[0][0])

    async def hydrate(self, events: list[Event]) -> list[Event]:
        """Fill in the outputs of reused blocks, which the log holds by reference. Other events pass unchanged.

        Raises Corrupt when a reference leads nowhere.
        """
        wanted = {event.data.reference for event in events if isinstance(event.data, BlockReused)}
        if not wanted:
            return events
        outputs = await self._outputs(wanted)
        return [
            msgspec.structs.replace(
                event, data=msgspec.structs.replace(event.data, outputs=outputs[event.data.reference])
            )
            if isinstance(event.data, BlockReused)
            else event
            for event in events
        ]

    async def ping(self) -> None:
        """Raises LogUnavailable when the database does not answer."""
        await self._reader.fetch("select 1", ())

    async def _outputs(self, references: set[BlockReference]) -> dict[BlockReference, Any]:
        ordered = list(references)
        streams = [execution_stream(reference.execution_id) for reference in ordered]
        rows = await self._reader.fetch(queries.READ_EVENTS, (streams, [reference.version for reference in ordered]))
        found: dict[BlockReference, Any] = {}
        for stream_id, version, text in rows:
            data = decode_data(text)
            if isinstance(data, BlockCompleted):
                execution_id = ExecutionId(str(stream_id).removeprefix("execution:"))
                found[BlockReference(execution_id=execution_id, version=int(version))] = data.outputs
        if missing := references - found.keys():
            raise BrokenHashChain(f"reused blocks refer to completions that are not in the log: {missing}")
        return found


@asynccontextmanager
async def open_log(url: str, *, readers: int = 4, patience_seconds: float = 5.0) -> AsyncGenerator[EventLog]:
    """The log at `url`. `patience_seconds`: how long an append waits for a database that went away.

    Raises LogUnavailable when the database does not answer now.
    """
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=readers,
        open=False,
        timeout=patience_seconds,
        kwargs={"autocommit": True},
    )
    try:
        await pool.open(wait=True, timeout=min(patience_seconds, OPEN_SECONDS))
    except PoolTimeout as exc:
        await pool.close()
        raise LogUnavailable(f"the event log does not answer: {exc}") from exc
    reader = Reader(pool, patience_seconds)
    commits = GroupCommit(url, reader, patience_seconds)
    committer = asyncio.create_task(commits.run(), name="group commit")
    try:
        yield EventLog(reader, commits)
    finally:
        committer.cancel()
        await asyncio.gather(committer, return_exceptions=True)
        await commits.close()
        await pool.close()
