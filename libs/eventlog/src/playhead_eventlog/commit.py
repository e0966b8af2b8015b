"""Group commit: appends that arrive while a commit is in flight go together into the next one, as one statement.

There is no timer, so an idle log commits at once. One stream's conflict never fails another's append.

What can fail. The connection breaks while a commit is in flight: whether it held is not known, so the batch is sent
again, and what is there already is recognised by its event ids and counts as done. The expected head does not hold:
VersionConflict, unless the very same events are already there, which makes a repeated append harmless. An event id that
is used elsewhere fails the whole statement: then the batch is appended one by one, and only the offender fails.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from playhead_contracts.errors import Corrupt, VersionConflict
from playhead_contracts.events import NewEvent, decode_envelope
from playhead_contracts.ids import StreamId
from playhead_eventlog import queries
from playhead_eventlog.arrays import Packed, accept_packed, byteas, integers, moments, texts
from playhead_eventlog.reader import AGAIN_SECONDS, Reader
from playhead_eventlog.stored import Blob, EventIdReused, LogUnavailable, StreamArchived, StreamHead

log = logging.getLogger("playhead.eventlog")

MAX_EVENTS_A_COMMIT = 1000
"""Larger statements gain nothing (see bench) and make everybody in them wait longer."""
MAX_BYTES_A_COMMIT = 8 * 1024 * 1024
"""The same for large events. An append that is larger by itself goes alone."""


class Row(msgspec.Struct, gc=False):
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


class Pending(msgspec.Struct):
    """One append that waits for its commit; `done` gets the head it led to, or why not."""

    stream_id: StreamId
    expected: StreamHead
    new: StreamHead
    events: Sequence[NewEvent]
    rows: list[Row]
    blobs: list[Blob]
    """The large values of the events (see `blobs.py`)."""
    size_bytes: int
    """Of the events' data and the blobs."""
    done: asyncio.Future[StreamHead]


class GroupCommit:
    """The one writer of this process."""

    def __init__(self, url: str, reader: Reader, patience_seconds: float):
        self._url = url
        self._reader = reader
        self._patience_seconds = patience_seconds
        self._queue: list[Pending] = []
        self._work = asyncio.Event()
        self._connection: AsyncConnection[TupleRow] | None = None

    def submit(self, pending: Pending) -> None:
        """Have it committed with whatever else is waiting."""
        self._queue.append(pending)
        self._work.set()

    async def run(self) -> None:
        """Commit what is appended. Runs for as long as the log is open."""
        while True:
            await self._work.wait()
            batch = self._take()
            try:
                await self._settle(batch)
            except asyncio.CancelledError:
                _fail(batch, LogUnavailable("the log was closed"))
                raise
            except Exception as bug:  # noqa: BLE001 - goes to those who appended; the next batch is not theirs
                _fail(batch, bug)

    async def _settle(self, batch: list[Pending]) -> None:
        """Commit a batch, or tell each of its appends why not."""
        try:
            await self._commit(batch)
        except psycopg.OperationalError as exc:
            _fail(batch, LogUnavailable(f"the event log does not answer: {str(exc).strip()}"))
        except psycopg.Error as exc:
            if len(batch) == 1:
                reused = isinstance(exc, psycopg.errors.UniqueViolation)
                _fail(batch, EventIdReused(str(exc)) if reused else Corrupt(f"the event log refuses an append: {exc}"))
                return
            for pending in batch:
                await self._settle([pending])

    def _take(self) -> list[Pending]:
        """The next batch: each stream at most once, because one statement moves a head once."""
        batch: list[Pending] = []
        later: list[Pending] = []
        streams: set[StreamId] = set()
        count = size_bytes = 0
        for pending in self._queue:
            is_too_much = (
                count + len(pending.rows) > MAX_EVENTS_A_COMMIT or size_bytes + pending.size_bytes > MAX_BYTES_A_COMMIT
            )
            if pending.stream_id in streams or (batch and is_too_much):
                later.append(pending)
                continue
            streams.add(pending.stream_id)
            batch.append(pending)
            count += len(pending.rows)
            size_bytes += pending.size_bytes
        self._queue = later
        if not later:
            self._work.clear()
        return batch

    async def _commit(self, batch: list[Pending]) -> None:
        refused = await self._insert(batch)
        for index, pending in enumerate(batch, 1):
            if index in refused:
                await self._recognise(pending)
            elif not pending.done.done():
                pending.done.set_result(pending.new)

    async def _insert(self, batch: list[Pending]) -> set[int]:
        statement, parameters = _statement(batch)
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            try:
                connection = await self._appender()
                cursor = await connection.execute(statement, parameters, binary=True, prepare=True)
                row = await cursor.fetchone()
                return set(row[0]) if row else set()
            except psycopg.OperationalError as exc:
                # Whether it held is not known; the repeat recognises its own events.
                await self._forget_connection()
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                log.warning("append is sent again", extra={"reason": str(exc).strip()})
                await asyncio.sleep(AGAIN_SECONDS)

    async def _recognise(self, pending: Pending) -> None:
        """Settle a refused append: done, if its own events are what stands there; a conflict otherwise."""
        try:
            there = await self._reader.stream(pending.stream_id, pending.expected.version, len(pending.rows))
            if [decode_envelope(raw.meta).id for raw in there] == [event.id for event in pending.events]:
                if not pending.done.done():
                    pending.done.set_result(StreamHead(there[-1].version, there[-1].hash))
                return
            rows = await self._reader.fetch(queries.HEAD, (pending.stream_id,))
            if rows and rows[0][1]:
                _fail([pending], StreamArchived(pending.stream_id))
                return
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


def _fail(batch: list[Pending], error: Exception) -> None:
    for pending in batch:
        if not pending.done.done():
            pending.done.set_exception(error)


def _statement(batch: list[Pending]) -> tuple[LiteralString, list[Packed]]:
    blobs = {blob.key: blob.content for pending in batch for blob in pending.blobs}
    if not blobs:
        return queries.APPEND, _parameters(batch)
    stored_apart = [
        texts([key.tenant.encode() for key in blobs]),
        texts([key.digest.encode() for key in blobs]),
        byteas(list(blobs.values())),
    ]
    return queries.APPEND_WITH_BLOBS, stored_apart + _parameters(batch)


def _parameters(batch: list[Pending]) -> list[Packed]:
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
