"""Reading the log as an auditor does: every column of it, and what is around it, so that nothing has to be believed."""

from collections.abc import AsyncGenerator, Collection
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from psycopg.rows import TupleRow

from playhead_contracts.ids import StreamId, TenantId
from playhead_eventlog import queries
from playhead_eventlog.archive import Tombstone
from playhead_eventlog.checkpoints import Place
from playhead_eventlog.reader import Reader, raws
from playhead_eventlog.stored import RawEvent, StreamHead

PLACES_A_READ = 20_000
HEADS_A_READ = 10_000
TOMBSTONES_A_READ = 500

GUARDS = (
    "trigger events_are_immutable",
    "trigger events_are_not_truncated",
    "trigger blobs_are_immutable",
    "trigger blobs_are_not_truncated",
    "unique index events_pkey",
    "unique index events_position",
    "unique index events_event_id",
    "trigger tombstones_are_immutable",
    "trigger tombstones_are_not_truncated",
)
"""What the database itself holds against changes, as `missing_guards` calls them."""


class StoredRow(RawEvent, frozen=True):
    """An event with the columns beside its bytes, which no hash covers: they must say what the bytes say."""

    event_id: str
    tenant: str
    recorded_at: datetime


class Grave(NamedTuple):
    """A stream that was moved out of the log, as the database knows it."""

    stream_id: StreamId
    head: StreamHead | None
    is_marked: bool
    """Whether the head says that it was."""
    tombstone: Tombstone | None
    has_events: bool
    """Whether the log holds events of it all the same."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which operations are asked for. `types` are some of `queries.OPERATIONS`."""

    tenant: TenantId
    types: Collection[str]
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    """The name of who did it. Whoever has it anywhere in the envelope is found, too: look again."""


class Auditing:
    """The log as it is stored, for those who check it; `EventLog.auditing`. All of it raises LogUnavailable."""

    def __init__(self, reader: Reader):
        self._reader = reader

    async def rows(self, after: int, limit: int) -> list[StoredRow]:
        """The rows after position `after`, in the order of positions."""
        return _rows(await self._reader.fetch(queries.AUDIT_LOG, (after, limit)))

    async def rows_of(self, stream_id: StreamId, after: int, limit: int) -> list[StoredRow]:
        """The rows of a stream after version `after`, in the order of versions."""
        return _rows(await self._reader.fetch(queries.AUDIT_STREAM, (stream_id, after, limit)))

    async def places(self, after: int = 0) -> AsyncGenerator[Place]:
        """Position and hash of every event after a position, in order, to the end of the log: see `checkpoints.py`."""
        while found := await self.some_places(after, PLACES_A_READ):
            for place in found:
                yield place
            after = found[-1].position

    async def some_places(self, after: int, limit: int) -> list[Place]:
        """The next of them."""
        while True:
            until = after + limit
            rows = await self._reader.fetch(queries.PLACES, (after, until, after, until, after, until))
            if rows:
                return [Place(position, own) for position, own in rows]
            # A hole that is as large as a stretch: nobody appends like this, and a forger might.
            [(following,)] = await self._reader.fetch(queries.NEXT_PLACE, (until, until, until))
            if following is None:
                return []
            after = following - 1

    async def archived_places(self, until: int) -> AsyncGenerator[Place]:
        """The same of events that were moved to the archive alone, up to a position."""
        after = 0
        while after < until:
            end = min(until, after + PLACES_A_READ)
            for position, own in await self._reader.fetch(queries.ARCHIVED_PLACES, (after, end, after, end)):
                yield Place(position, own)
            after = end

    async def heads(self) -> AsyncGenerator[tuple[StreamId, StreamHead]]:
        """The head of every stream, in the order of their names, read a page at a time."""
        after = ""
        while rows := await self._reader.fetch(queries.HEADS_AFTER, (after, HEADS_A_READ)):
            for name, version, own in rows:
                yield StreamId(name), StreamHead(version, own)
            after = rows[-1][0]

    async def signed(self) -> dict[str, int]:
        """The positions up to which folders of checkpoints had come, by the id of their first line."""
        return {row[0]: int(row[1]) for row in await self._reader.fetch(queries.SIGNED, ())}

    async def note_signed(self, chain: str, position: int, at: datetime) -> None:
        """Note how far a folder of checkpoints has come."""
        await self._reader.fetch(queries.NOTE_SIGNED, (chain, position, at))

    async def tombstones(self) -> AsyncGenerator["Grave"]:
        """What was moved to the archive, by name: each tombstone with its head, also where one of them is missing."""
        after = ""
        while rows := await self._reader.fetch(queries.TOMBSTONES_AFTER, (after, TOMBSTONES_A_READ)):
            for name, head, own, is_marked, version, *stone, has_events in rows:
                known = None if head is None else StreamHead(head, own)
                stood = None if version is None else Tombstone(StreamId(name), version, *stone)
                yield Grave(StreamId(name), known, is_marked, stood, has_events)
            after = rows[-1][0]

    async def was_archived(self, position: int) -> bool:
        """Whether the event at a position was moved to the archive."""
        return bool(await self._reader.fetch(queries.ARCHIVED_AT, (position, position)))

    async def missing_guards(self) -> list[str]:
        """Those of `GUARDS` that are not there, or are switched off."""
        found = {row[0] for row in await self._reader.fetch(queries.GUARDS, ())}
        return [guard for guard in GUARDS if guard not in found]

    async def operations(self, wanted: Wanted, before: int | None, limit: int) -> list[RawEvent]:
        """What people have done, newest first, before a position: see `queries.OPERATIONS`.

        Facts of these types that the system itself made are among them.
        """
        types = sorted(wanted.types)
        name = None if wanted.actor is None else msgspec.json.encode(wanted.actor).decode()
        given: list[Any] = [before, before, wanted.since, wanted.since, wanted.until, wanted.until, name, name]
        return raws(await self._reader.fetch(queries.READ_OPERATIONS, (wanted.tenant, types, *given, limit)))


def _rows(rows: list[TupleRow]) -> list[StoredRow]:
    return [
        StoredRow(
            position,
            StreamId(stream_id),
            version,
            kind,
            data.encode(),
            meta.encode(),
            previous,
            own,
            event_id,
            tenant,
            recorded_at,
        )
        for position, stream_id, version, kind, data, meta, previous, own, event_id, tenant, recorded_at in rows
    ]
