"""What every format reads: the events of a selection in pages, and of an event what is told about it."""

from collections.abc import AsyncGenerator
from typing import Literal

import msgspec

from playhead_contracts.events import Actor, ForkSource, Parent, split
from playhead_contracts.ids import ExecutionId, PauseId, TenantId, WorkflowId
from playhead_eventlog import EventLog, RawEvent, Selection
from playhead_projector.building import Progress, Told

EVENTS_A_PAGE = 2000
"""Of them, and of what is made of them, an export holds no more than one page, but for single large values."""


class Part(msgspec.Struct, frozen=True):
    """What is exported: the events of a selection up to a position, the end of the log when the export began."""

    log: EventLog
    selection: Selection
    until: int
    told: Told

    async def pages(self) -> AsyncGenerator[list[RawEvent]]:
        """The events in the order of the log."""
        after = count = 0
        while after < self.until:
            found = await self.log.select(self.selection, after, self.until, EVENTS_A_PAGE)
            count += len(found.events)
            after = found.until
            if found.events:
                yield found.events
            self.told(Progress(count, after, self.until))

    async def whole(self, event: RawEvent) -> RawEvent:
        """An event with its large values in their places. Raises BrokenBlob."""
        if not event.blobs:
            return event
        _, data = split(await self.log.whole(event.frame()))
        return msgspec.structs.replace(event, data=data)


class Meta(msgspec.Struct, frozen=True, gc=False):
    """Of an event's envelope, what formats tell. Moments stay the text that is stored: RFC 3339 in UTC."""

    id: str
    tenant: TenantId
    recorded_at: str
    actor: Actor
    workflow_id: WorkflowId | None = None
    execution_id: ExecutionId | None = None


class About(msgspec.Struct, frozen=True, gc=False):
    """Of an event's data, which things it is about. Events that have no such field leave it empty."""

    path: str | None = None
    attempt: int | None = None
    pause_id: PauseId | None = None
    pauses: tuple[PauseId, ...] = ()
    workflow_version: int | None = None
    mode: str | None = None
    source: ForkSource | None = None
    parent: Parent | None = None
    child: ExecutionId | None = None
    resolution: Literal["answered", "closed"] | None = None
    action: str | None = None
    on_behalf_of: str | None = None
    to: str | None = None
    worker: str | None = None
    continues: bool = False
    duration_ms: float | None = None


_meta_decoder = msgspec.json.Decoder(Meta)
_about_decoder = msgspec.json.Decoder(About)


def meta_of(event: RawEvent) -> Meta:
    """Raises msgspec.DecodeError for what is no envelope."""
    return _meta_decoder.decode(event.meta)


def about(event: RawEvent) -> About:
    """Which things an event is about; nothing, for events whose fields of these names mean something else."""
    return _about_decoder.decode(event.data) if event.stream_id.startswith("execution:") else About()
