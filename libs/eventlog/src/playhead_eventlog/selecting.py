"""Reading a part of the log: of a tenant, a workflow, some streams, a stretch of time; or execution by execution.

There is no index by tenant, workflow or time, for one would cost every append. A selection is read through the index of
positions, a stretch at a time, and what does not belong to it is passed over by the database.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from playhead_contracts.events import decode_envelope
from playhead_contracts.ids import StreamId, TenantId, WorkflowId
from playhead_eventlog import queries
from playhead_eventlog.reader import Reader, raws
from playhead_eventlog.stored import RawEvent

STRETCH = 20_000
"""How many positions one query looks through."""


class Selection(msgspec.Struct, frozen=True):
    """Which events: those that meet all that is said."""

    tenant: TenantId | None = None
    workflow_id: WorkflowId | None = None
    streams: tuple[StreamId, ...] = ()
    """Any, if there are none."""
    since: datetime | None = None
    """Recorded at this moment or later."""
    until: datetime | None = None
    """Recorded before this moment: stretches of time that meet have no event in common."""

    @property
    def is_everything(self) -> bool:
        return self == Selection()


class Trace(NamedTuple):
    """An execution as a whole: its first event, and where it ended when it was asked for."""

    position: int
    stream_id: StreamId
    version: int
    last_type: str
    """The type of its newest event."""


async def select(
    reader: Reader, selection: Selection, after: int, until: int, limit: int
) -> tuple[list[RawEvent], int]:
    """See `EventLog.select`."""
    if selection.streams:
        streams = list(selection.streams)
        rows = await reader.fetch(queries.SELECT_OF_STREAMS, (streams, after, until, *_where(selection), limit, limit))
        found = raws(rows)
        # What is named is found wherever it is; what is looked for is looked for in the log.
        for stream in await reader.archive.tombstones(streams):
            found += [
                raw for raw in await reader.archived(stream) if after < raw.position <= until and _fits(raw, selection)
            ]
        events = sorted(found, key=lambda event: event.position)[:limit]
        return events, events[-1].position if len(events) == limit else until
    until = min(until, after + STRETCH)
    events = raws(await reader.fetch(queries.SELECT, (after, until, *_where(selection), limit)))
    return events, events[-1].position if len(events) == limit else until


async def traces(reader: Reader, selection: Selection, after: int, until: int, limit: int) -> tuple[list[Trace], int]:
    """See `EventLog.traces`."""
    streams = list(selection.streams) or None
    if streams is None:
        until = min(until, after + STRETCH)
    rows = await reader.fetch(queries.SELECT_TRACES, (after, until, *_where(selection), streams, streams, limit))
    found = [Trace(position, StreamId(name), version, kind) for position, name, version, kind in rows]
    return found, found[-1].position if len(found) == limit else until


async def tenants(reader: Reader, selection: Selection, until: int) -> list[TenantId]:
    """See `EventLog.tenants`."""
    streams = list(selection.streams) or None
    rows = await reader.fetch(queries.SELECT_TENANTS, (0, until, *_where(selection), streams, streams, streams or []))
    return sorted(TenantId(row[0]) for row in rows)


async def whole_streams(reader: Reader, until: Sequence[tuple[StreamId, int]]) -> list[RawEvent]:
    """See `EventLog.read_streams`."""
    rows = await reader.fetch(queries.READ_STREAMS, ([name for name, _ in until], [version for _, version in until]))
    return raws(rows)


def _fits(event: RawEvent, selection: Selection) -> bool:
    envelope = decode_envelope(event.meta)
    return (
        selection.tenant in (None, envelope.tenant)
        and selection.workflow_id in (None, envelope.workflow_id)
        and (selection.since is None or envelope.recorded_at >= selection.since)
        and (selection.until is None or envelope.recorded_at < selection.until)
    )


def _where(selection: Selection) -> tuple[Any, ...]:
    # The envelope is compact JSON in which quotes inside of strings are escaped: this text is that member.
    member = None if selection.workflow_id is None else f'"workflow_id":"{selection.workflow_id}"'
    return (
        selection.tenant,
        selection.tenant,
        member,
        member,
        selection.since,
        selection.since,
        selection.until,
        selection.until,
    )
