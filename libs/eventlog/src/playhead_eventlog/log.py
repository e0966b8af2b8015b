"""Append and read.

An append is optimistic: it names the head (version and hash) it follows, and either all of it goes in or none. Appends
that arrive while a commit is in flight go together into the next one, as one statement; there is no timer, so an idle
log commits at once. One stream's conflict never fails another's append.

What can fail. The connection breaks while a commit is in flight: whether it held is not known, so the batch is sent
again, and what is there already is recognised by its event ids and counts as done. The expected head does not hold:
VersionConflict, unless the very same events are already there, which makes a repeated append harmless.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from playhead_contracts.errors import Corrupt, Unavailable, VersionConflict
from playhead_contracts.events import (
    BlockCompleted,
    BlockReference,
    BlockReused,
    Envelope,
    Event,
    NewEvent,
    decode_data,
    decode_envelope,
    encode_data,
    encode_envelope,
    join,
)
from playhead_contracts.ids import ExecutionId, StreamId, execution_stream
from playhead_eventlog import queries
from playhead_eventlog.arrays import Packed, accept_packed, byteas, integers, moments, texts

log = logging.getLogger("playhead.eventlog")

SCHEMA_VERSION = 1
MAX_EVENTS_A_COMMIT = 1000
"""Larger statements gain nothing (see bench) and make everybody in them wait longer."""

AGAIN_SECONDS = 0.1
"""Between two tries while the database is away."""


class LogUnavailable(Unavailable):
    """PostgreSQL does not answer. What was asked may or may not have happened; ask again with the same event ids."""


class EventIdReused(Corrupt):
    """An event id that is already in the log, in another place. Ids are made once and never by hand."""


class BrokenHashChain(Corrupt):
    """A stored event is not what was written, or one is missing."""


class StreamHead(msgspec.Struct, frozen=True):
    """Where a stream ends: the version and the hash of its newest event."""

    version: int
    hash: bytes


GENESIS = StreamHead(0, sha256(b"playhead event log").digest())
"""The head of every stream that has no event yet."""


class Appended(msgspec.Struct, frozen=True):
    """What an append made true: the new head, and each event as one JSON object (`events.join`)."""

    head: StreamHead
    frames: tuple[bytes, ...]


class RawEvent(msgspec.Struct, frozen=True):
    """An event as it is stored, byte for byte."""

    position: int
    stream_id: StreamId
    version: int
    type: str
    data: bytes
    meta: bytes
    prev_hash: bytes
    hash: bytes

    def frame(self) -> bytes:
        """The event as one JSON object, without re-encoding."""
        return join(self.meta, self.data)

    def decode(self) -> Event:
        return Event(envelope=decode_envelope(self.meta), data=decode_data(self.data), position=self.position)


def chain(previous: bytes, meta: bytes, data: bytes) -> bytes:
    """The hash of an event: sha256 over the previous hash and the stored bytes."""
    return sha256(previous + meta + data).digest()


class _Row(msgspec.Struct, gc=False):
    """One event as the append statement takes it."""

    version: int
    event_id: bytes
    type: bytes
    tenant: bytes
    recorded_at: datetime
    data: bytes
    meta: bytes
    prev_hash: bytes
    hash: bytes


class _Pending(msgspec.Struct):
    stream_id: StreamId
    expected: StreamHead
    new: StreamHead
    events: Sequence[NewEvent]
    rows: list[_Row]
    done: asyncio.Future[StreamHead]


class EventLog:
    """One process's door to the log. Use `open_log`."""

    def __init__(self, url: str, pool: AsyncConnectionPool[AsyncConnection[TupleRow]], patience_seconds: float):
        self._url = url
        self._pool = pool
        self._patience_seconds = patience_seconds
        self._queue: list[_Pending] = []
        self._work = asyncio.Event()
        self._connection: AsyncConnection[TupleRow] | None = None

    async def append(self, stream_id: StreamId, expected: StreamHead, events: Sequence[NewEvent]) -> Appended:
        """Append `events` to the stream whose head is `expected`; returns when they are committed and fsynced.

        The same events (by id) again are the same append and give the head they led to. Raises VersionConflict when
        the stream has moved on, LogUnavailable when the database did not answer in time.
        """
        rows: list[_Row] = []
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
                _Row(
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
        self._queue.append(_Pending(stream_id, expected, head, events, rows, done))
        self._work.set()
        return Appended(await done, tuple(frames))

    async def read(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events of a stream after version `after`, in order, with the outputs of reused blocks filled in."""
        return await self.hydrate([raw.decode() for raw in await self.read_raw(stream_id, after, limit)])

    async def read_raw(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[RawEvent]:
        """The stored bytes of a stream after version `after`, in order."""
        return _raws(await self._fetch(queries.READ_STREAM, (stream_id, after, limit)))

    async def load(self, stream_id: StreamId, until: int | None = None) -> tuple[list[Event], StreamHead]:
        """A whole stream (or its events up to version `until`) and the head it ends in, GENESIS if it is empty."""
        raws = await self.read_raw(stream_id, 0, until)
        head = StreamHead(raws[-1].version, raws[-1].hash) if raws else GENESIS
        return await self.hydrate([raw.decode() for raw in raws]), head

    async def load_many(self, until: dict[StreamId, int]) -> dict[StreamId, list[Event]]:
        """Several streams at once, each up to the given version."""
        rows = await self._fetch(queries.READ_STREAMS, (list(until), list(until.values())))
        found: dict[StreamId, list[Event]] = {stream: [] for stream in until}
        for event in await self.hydrate([raw.decode() for raw in _raws(rows)]):
            found[event.envelope.stream_id].append(event)
        return found

    async def read_log(self, after: int, limit: int) -> list[RawEvent]:
        """The events of all streams after position `after`, in commit order. Never skips one (see `tail.py`)."""
        return _raws(await self._fetch(queries.READ_LOG, (after, limit)))

    async def last_position(self) -> int:
        """The position of the newest event, 0 for an empty log."""
        rows = await self._fetch(queries.LAST_POSITION, ())
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
        await self._fetch("select 1", ())

    async def _outputs(self, references: set[BlockReference]) -> dict[BlockReference, Any]:
        ordered = list(references)
        streams = [execution_stream(reference.execution_id) for reference in ordered]
        rows = await self._fetch(queries.READ_EVENTS, (streams, [reference.version for reference in ordered]))
        found: dict[BlockReference, Any] = {}
        for stream_id, version, text in rows:
            data = decode_data(text)
            if isinstance(data, BlockCompleted):
                execution_id = ExecutionId(str(stream_id).removeprefix("execution:"))
                found[BlockReference(execution_id=execution_id, version=int(version))] = data.outputs
        if missing := references - found.keys():
            raise BrokenHashChain(f"reused blocks refer to completions that are not in the log: {missing}")
        return found

    async def _fetch(self, query: str, parameters: Sequence[Any]) -> list[TupleRow]:
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

    async def commit_forever(self) -> None:
        """Commit what is appended. Runs for as long as the log is open."""
        while True:
            await self._work.wait()
            batch = self._take()
            try:
                await self._commit(batch)
            except asyncio.CancelledError:
                _fail(batch, LogUnavailable("the log was closed"))
                raise
            except psycopg.errors.UniqueViolation as exc:
                await self._commit_one_by_one(batch, exc)
            except psycopg.OperationalError as exc:
                _fail(batch, LogUnavailable(f"the event log does not answer: {exc}"))
            except psycopg.Error as exc:
                _fail(batch, Corrupt(f"the event log refuses an append: {exc}"))

    def _take(self) -> list[_Pending]:
        """The next batch: each stream at most once, because one statement moves a head once."""
        batch: list[_Pending] = []
        later: list[_Pending] = []
        streams: set[StreamId] = set()
        count = 0
        for pending in self._queue:
            if pending.stream_id in streams or (batch and count + len(pending.rows) > MAX_EVENTS_A_COMMIT):
                later.append(pending)
                continue
            streams.add(pending.stream_id)
            batch.append(pending)
            count += len(pending.rows)
        self._queue = later
        if not later:
            self._work.clear()
        return batch

    async def _commit(self, batch: list[_Pending]) -> None:
        refused = await self._insert(batch)
        for index, pending in enumerate(batch, 1):
            if index in refused:
                await self._recognise(pending)
            elif not pending.done.done():
                pending.done.set_result(pending.new)

    async def _commit_one_by_one(self, batch: list[_Pending], exc: psycopg.Error) -> None:
        if len(batch) == 1:
            _fail(batch, EventIdReused(str(exc)))
            return
        for pending in batch:
            try:
                await self._commit([pending])
            except psycopg.errors.UniqueViolation as again:
                _fail([pending], EventIdReused(str(again)))
            except psycopg.OperationalError as again:
                _fail([pending], LogUnavailable(f"the event log does not answer: {again}"))

    async def _insert(self, batch: list[_Pending]) -> set[int]:
        parameters = _parameters(batch)
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            try:
                connection = await self._appender()
                cursor = await connection.execute(queries.APPEND, parameters, binary=True, prepare=True)
                row = await cursor.fetchone()
                return set(row[0]) if row else set()
            except psycopg.OperationalError as exc:
                # Whether it held is not known; the repeat recognises its own events.
                await self._forget_connection()
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                log.warning("append is sent again", extra={"reason": str(exc).strip()})
                await asyncio.sleep(AGAIN_SECONDS)

    async def _recognise(self, pending: _Pending) -> None:
        """Settle a refused append: done, if its own events are what stands there; a conflict otherwise."""
        try:
            there = await self.read_raw(pending.stream_id, pending.expected.version, len(pending.rows))
            if [decode_envelope(raw.meta).id for raw in there] == [event.id for event in pending.events]:
                if not pending.done.done():
                    pending.done.set_result(StreamHead(there[-1].version, there[-1].hash))
                return
            rows = await self._fetch(queries.HEAD, (pending.stream_id,))
        except LogUnavailable as exc:
            _fail([pending], exc)
            return
        actual = int(rows[0][0]) if rows else 0
        _fail([pending], VersionConflict(pending.stream_id, pending.expected.version, actual))

    async def _appender(self) -> AsyncConnection[TupleRow]:
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(self._url, autocommit=True)
            accept_packed(self._connection)
        return self._connection

    async def _forget_connection(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def close(self) -> None:
        await self._forget_connection()


def _raws(rows: list[TupleRow]) -> list[RawEvent]:
    return [
        RawEvent(position, StreamId(stream_id), version, kind, data.encode(), meta.encode(), previous, own)
        for position, stream_id, version, kind, data, meta, previous, own in rows
    ]


def _fail(batch: list[_Pending], error: Exception) -> None:
    for pending in batch:
        if not pending.done.done():
            pending.done.set_exception(error)


def _parameters(batch: list[_Pending]) -> list[Packed]:
    owners = [index for index, pending in enumerate(batch, 1) for _ in pending.rows]
    rows = [row for pending in batch for row in pending.rows]
    return [
        texts([pending.stream_id.encode() for pending in batch]),
        integers([pending.expected.version for pending in batch]),
        byteas([pending.expected.hash for pending in batch]),
        integers([pending.new.version for pending in batch]),
        byteas([pending.new.hash for pending in batch]),
        integers(owners),
        integers([row.version for row in rows]),
        texts([row.event_id for row in rows]),
        texts([row.type for row in rows]),
        texts([row.tenant for row in rows]),
        moments([row.recorded_at for row in rows]),
        texts([row.data for row in rows]),
        texts([row.meta for row in rows]),
        byteas([row.prev_hash for row in rows]),
        byteas([row.hash for row in rows]),
    ]


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
        await pool.open(wait=True, timeout=patience_seconds)
    except PoolTimeout as exc:
        await pool.close()
        raise LogUnavailable(f"the event log does not answer: {exc}") from exc
    opened = EventLog(url, pool, patience_seconds)
    committer = asyncio.create_task(opened.commit_forever(), name="group commit")
    try:
        yield opened
    finally:
        committer.cancel()
        await asyncio.gather(committer, return_exceptions=True)
        await opened.close()
        await pool.close()
