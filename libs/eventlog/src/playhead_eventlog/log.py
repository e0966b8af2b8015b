"""Append and read: the door to the log.

An append is optimistic: it names the head (version and hash) it follows, and either all of it goes in or none. How
appends become commits is in `commit.py`. Reads give events in order and whole: with the outputs of reused blocks, and
the values that are stored apart (`blobs.py`), filled in.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar, cast

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from playhead_contracts.events import (
    Envelope,
    Event,
    ExecutionCreated,
    NewEvent,
    WithBlobs,
    decode_envelope,
    encode_data,
    encode_envelope,
    join,
)
from playhead_contracts.ids import EventId, StreamId, TenantId
from playhead_eventlog import queries, selecting
from playhead_eventlog.auditing import Auditing
from playhead_eventlog.blobs import BLOB_BYTES, set_apart
from playhead_eventlog.commit import GroupCommit, Pending, Row
from playhead_eventlog.hydration import hydrate, whole
from playhead_eventlog.reader import Reader, raws
from playhead_eventlog.sealing import open_value, seal_fields
from playhead_eventlog.selecting import Selection, Trace
from playhead_eventlog.snapshots import LAST_VERSION, Folds, Snapshots
from playhead_eventlog.stopping import stop_tasks
from playhead_eventlog.stored import GENESIS, Blob, BlobKey, LogUnavailable, RawEvent, StreamHead, chain
from playhead_eventlog.vault import Vault

T = TypeVar("T")

FIND_STRETCH = 5000
"""How many positions a search reads through at once, for types of which there is no index."""

OPEN_SECONDS = 10.0
"""How long opening waits for a database that is just starting. Patience is for one that was there before."""


class Appended(msgspec.Struct, frozen=True):
    """What an append made true: the new head, and each event as it is stored, as one JSON object (`events.join`)."""

    head: StreamHead
    frames: tuple[bytes, ...]


class Found(msgspec.Struct, frozen=True):
    """What a search of the log found, in order, and the position up to which it looked."""

    events: list[RawEvent]
    until: int


class EventLog:
    """One process's door to the log. Use `open_log`."""

    def __init__(self, reader: Reader, commits: GroupCommit, vault: Vault):
        self._reader = reader
        self._commits = commits
        self.vault = vault
        self.snapshots = Snapshots(reader, vault)
        self.auditing = Auditing(reader)
        self.archive = reader.archive

    async def append(self, stream_id: StreamId, expected: StreamHead, events: Sequence[NewEvent]) -> Appended:
        """Append `events` to the stream whose head is `expected`; returns when they are committed and fsynced.

        The same events (by id) again are the same append and give the head they led to. Raises VersionConflict when
        the stream has moved on, LogUnavailable when the database did not answer in time. What an event says to seal
        is sealed in all that is given and stored.
        """
        rows: list[Row] = []
        frames: list[bytes] = []
        blobs: list[Blob] = []
        size_bytes = 0
        version, previous = expected.version, expected.hash
        keys = await self.vault.keys({event.seal.key_id for event in events if event.seal is not None})
        for event in events:
            version += 1
            data, seal = encode_data(event.data), event.seal
            if seal is not None:
                data, seal = seal_fields(data, seal, keys[seal.key_id], event.tenant)
            if len(data) > BLOB_BYTES and isinstance(event.data, WithBlobs):
                data, apart = set_apart(type(event.data), data, event.tenant)
                blobs += apart
                size_bytes += sum(len(blob.content) for blob in apart)
            size_bytes += len(data)
            kind = event.data.type_name()
            meta = encode_envelope(
                Envelope(
                    id=event.id,
                    type=kind,
                    schema_version=event.data.SCHEMA_VERSION,
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
                    seal=seal,
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
        self._commits.submit(Pending(stream_id, expected, head, events, rows, blobs, size_bytes, done))
        return Appended(await done, tuple(frames))

    async def read(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events of a stream after version `after`, in order and whole (see `hydrate`)."""
        return await self.hydrate([raw.decode() for raw in await self.read_raw(stream_id, after, limit)])

    async def read_raw(self, stream_id: StreamId, after: int = 0, limit: int | None = None) -> list[RawEvent]:
        """The stored bytes of a stream after version `after`, in order."""
        return await self._reader.stream(stream_id, after, limit)

    async def newest(self, stream_id: StreamId) -> RawEvent | None:
        """The stored bytes of the newest event of a stream, None if there is none."""
        found = raws(await self._reader.fetch(queries.READ_NEWEST, (stream_id,)))
        found = found or (await self._reader.archived(stream_id))[-1:]
        return found[0] if found else None

    async def load(self, stream_id: StreamId, until: int | None = None) -> tuple[list[Event], StreamHead]:
        """A whole stream (or its events up to version `until`) and the head it ends in, GENESIS if it is empty."""
        raws = await self.read_raw(stream_id, 0, until)
        head = StreamHead(raws[-1].version, raws[-1].hash) if raws else GENESIS
        return await self.hydrate([raw.decode() for raw in raws]), head

    async def fold(
        self, stream_id: StreamId, how: Folds[T], until: int = LAST_VERSION, *, opened: bool = True
    ) -> tuple[T | None, StreamHead]:
        """What a stream, or its events up to version `until`, folds to, and the head; None and GENESIS if it is empty.

        From the newest snapshot that is sound, if there is one: see `snapshots.py`. However long the stream is, others
        get their turn. The state is the caller's; for `opened`, see `hydrate`. Raises what `how.evolve` raises,
        Corrupt and LogUnavailable.
        """
        return await self.snapshots.fold(stream_id, how, until, opened=opened)

    async def version_at(self, stream_id: StreamId, at: datetime) -> int:
        """The version before the first event that was recorded after a moment, 0 if there is none.

        Moments are told by clocks of several machines; the order is told by versions. The first later event ends it.
        """
        rows = await self._reader.fetch(queries.VERSION_AT, (stream_id, at, stream_id))
        if not rows[0][1]:
            return int(rows[0][0])
        events = await self._reader.archived(stream_id)
        later = (raw.version for raw in events if decode_envelope(raw.meta).recorded_at > at)
        return next(later, len(events) + 1) - 1

    async def is_archived(self, stream_id: StreamId) -> bool:
        """Whether its events were moved out of the log; they are read all the same."""
        return bool(await self.archive.tombstones([stream_id]))

    async def load_many(self, until: dict[StreamId, int], *, opened: bool = True) -> dict[StreamId, list[Event]]:
        """Several streams at once, each up to the given version."""
        rows = await self._reader.fetch(queries.READ_STREAMS, (list(until), list(until.values())))
        found: dict[StreamId, list[Event]] = {stream: [] for stream in until}
        stored = raws(rows)
        missing = until.keys() - {raw.stream_id for raw in stored}
        for stream in await self._reader.archive.tombstones(missing):
            stored += await self._reader.archived(stream, 0, until[stream])
        for event in await self.hydrate([raw.decode() for raw in stored], opened=opened):
            found[event.envelope.stream_id].append(event)
        return found

    async def read_log(self, after: int, limit: int) -> list[RawEvent]:
        """The events of all streams after position `after`, in commit order, as they are stored.

        Never skips one (see `tail.py`).
        """
        return raws(await self._reader.fetch(queries.READ_LOG, (after, limit)))

    async def find(self, tenant: TenantId, types: Collection[str], after: int, until: int, limit: int) -> Found:
        """The events of a tenant that have one of these types, after one position and up to another, as stored.

        It may stop before `until`, at `limit` events or after a stretch of the log that it has to read through: go on
        from where it says.
        """
        wanted = sorted(types)
        if queries.INDEXED_TYPES.issuperset(wanted):
            rows = await self._reader.fetch(queries.FIND_INDEXED, (wanted, tenant, after, until, limit, limit))
        else:
            until = min(until, after + FIND_STRETCH)
            rows = await self._reader.fetch(queries.FIND, (wanted, tenant, after, until, limit))
        events = raws(rows)
        return Found(events, events[-1].position if len(events) == limit else until)

    async def read_tenant(
        self, tenant: TenantId, after: int, limit: int, types: Collection[str] | None = None
    ) -> Found:
        """The events of a tenant after a position, in commit order, as they are stored; of some types only, if given.

        A type that ends in a dot stands for all that begin so. It stops at `limit` events, after a stretch of the log,
        or at its end: go on from where it says. Nothing was added after `after` if that is where it says.
        """
        # The end is read first: what is appended meanwhile is not passed over.
        until = min(await self.last_position(), after + FIND_STRETCH)
        if until <= after:
            return Found([], after)
        patterns = None if types is None else [_pattern(name) for name in sorted(types)]
        rows = await self._reader.fetch(queries.READ_TENANT, (tenant, after, until, patterns, patterns, limit))
        events = raws(rows)
        return Found(events, events[-1].position if len(events) == limit else until)

    async def select(self, selection: Selection, after: int, until: int, limit: int) -> Found:
        """The events of a selection after one position and up to another, in commit order, as they are stored.

        It may stop before `until`, at `limit` events or after a stretch of the log: go on from where it says.
        """
        return Found(*await selecting.select(self._reader, selection, after, until, limit))

    async def traces(self, selection: Selection, after: int, until: int, limit: int) -> tuple[list[Trace], int]:
        """The executions whose first event is in a selection, in the order of these, and the position up to which it
        looked, as `select` does."""
        return await selecting.traces(self._reader, selection, after, until, limit)

    async def tenants(self, selection: Selection, until: int) -> list[TenantId]:
        """Whose events are in a selection, up to a position. It looks through all of it."""
        return await selecting.tenants(self._reader, selection, until)

    async def read_streams(self, until: Sequence[tuple[StreamId, int]]) -> list[RawEvent]:
        """Several streams at once, each up to a version, as they are stored: by name of the stream, then in order."""
        return await selecting.whole_streams(self._reader, until)

    async def previous(self, tenant: TenantId, before: int) -> int:
        """The position of a tenant's last event before a position, 0 if there is none.

        It reads backwards until it finds one: slow for a tenant of whom there is nothing in a long log.
        """
        rows = await self._reader.fetch(queries.PREVIOUS_OF_TENANT, (tenant, before))
        return int(rows[0][0])

    async def recorded(self, ids: Collection[EventId]) -> set[EventId]:
        """Those of these events that are in the log."""
        rows = await self._reader.fetch(queries.RECORDED, (list(ids),))
        return {EventId(row[0]) for row in rows}

    async def heads(self, stream_id: StreamId | None = None) -> dict[StreamId, StreamHead]:
        """Where one stream, or every stream, ended at the moment of asking: what a verifier must find."""
        rows = await self._reader.fetch(queries.HEADS, (stream_id, stream_id))
        return {StreamId(name): StreamHead(version, own) for name, version, own in rows}

    async def last_position(self) -> int:
        """The position of the newest event, 0 for an empty log."""
        rows = await self._reader.fetch(queries.LAST_POSITION, ())
        return int(rows[0][0])

    async def position_at(self, at: datetime) -> int:
        """The position of the last event that was recorded at this time or before, 0 if there is none.

        Clocks differ a little: events of other writers before it may say a later time.
        """
        rows = await self._reader.fetch(queries.POSITION_AT, (at,))
        return int(rows[0][0]) if rows else 0

    async def hydrate(self, events: list[Event], *, opened: bool = True) -> list[Event]:
        """Fill in what the log holds apart: large values, and the outputs of reused blocks. Others pass unchanged.

        Sealed values are `opened`, or stay as they are for those who keep what they read (read models).

        Raises Corrupt when a reference leads nowhere, or a value is not what was written.
        """
        return await hydrate(self._reader, events, self.vault if opened else None)

    async def whole(self, frame: bytes, *, opened: bool = False) -> bytes:
        """A stored event as one JSON object (`events.join`), with its large values filled in; `opened`: for somebody
        who may read them now, sealed ones are open.

        Others pass unchanged. Raises BrokenBlob, BrokenSeal and LogUnavailable.
        """
        return await whole(self._reader, frame, self.vault if opened else None)

    async def key_of(self, stream_id: StreamId) -> str | None:
        """The key with which the values of an execution are sealed, None if none of it is."""
        raws = await self.read_raw(stream_id, 0, 1)
        began = raws[0].decode().data if raws and b'"personal":' in raws[0].data else None
        return began.personal.key_id if isinstance(began, ExecutionCreated) and began.personal is not None else None

    async def opened(self, value: T, tenant: TenantId, key_ids: Collection[str]) -> T:
        """A JSON value with everything in it open that is sealed with one of these keys. Raises BrokenSeal."""
        return cast(T, open_value(value, await self.vault.keys(key_ids), tenant)) if key_ids else value

    async def blobs(self, keys: Collection[BlobKey]) -> dict[BlobKey, bytes]:
        """Large values as they are stored, unchecked. One that is not there is left out."""
        return await self._reader.blobs(keys)

    async def ping(self) -> None:
        """Raises LogUnavailable when the database does not answer."""
        await self._reader.fetch("select 1", ())


def _pattern(name: str) -> str:
    """A type, or the beginning of types, for LIKE."""
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped + "%" if name.endswith(".") else escaped


@asynccontextmanager
async def open_log(
    url: str,
    *,
    readers: int = 4,
    patience_seconds: float = 5.0,
    master_key: bytes | None = None,
    archive_url: str | None = None,
) -> AsyncGenerator[EventLog]:
    """The log at `url`. `patience_seconds`: how long an append waits for a database that went away. `master_key`: what
    the keys of people are wrapped with. `archive_url`: where executions are that were moved out (see `archive.py`).

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
    reader = Reader(pool, patience_seconds, archive_url)
    commits = GroupCommit(url, reader, patience_seconds)
    committer = asyncio.create_task(commits.run(), name="group commit")
    try:
        yield EventLog(reader, commits, Vault(reader, master_key))
    finally:
        await stop_tasks(committer)
        await commits.close()
        await pool.close()
