"""Waits for events at work: they begin, look back at what came early, go along, and end.

When a wait begins, it is *behind*: it reads what is of its tenant and types from its start on, a page in each round, so
that a long look back holds up nobody else. When it has come to where the courier is, it *goes along*, and each event of
the log is held against it once. So it sees every event, in order, and none twice.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from playhead_contracts.events import BlockStarted, Event, EventMatched, Json, MatchedEvent, Watch
from playhead_contracts.ids import EventId, ExecutionId
from playhead_engine.watching import (
    FilterFailed,
    as_matched,
    as_seen,
    awaited_type,
    goes_by,
    log_types,
    matches,
    may_match,
    start_of,
    type_seen,
)
from playhead_eventlog import EventLog, read_sealed
from playhead_projector.courier.delivering import Fact
from playhead_projector.courier.open_watches import OpenWatch, OpenWatches, WatchKey
from playhead_runtime.ids import derived_id

log = logging.getLogger("playhead.projector.courier")

PAGE_EVENTS = 500
"""How many early events a wait that is behind looks at in one round."""
BEHIND_AT_ONCE = 50
"""How many waits that are behind have their turn in one round."""


class Round(msgspec.Struct):
    """What a round comes to, before any of it is done."""

    facts: list[Fact] = msgspec.field(default_factory=list[Fact])
    watches: dict[WatchKey, OpenWatch | None] = msgspec.field(default_factory=dict[WatchKey, OpenWatch | None])
    """Waits as they are after it; None for those that are over."""

    def store(self, watch: OpenWatch) -> None:
        self.watches[watch.key] = watch

    def drop(self, key: WatchKey) -> None:
        self.watches[key] = None

    def stored(self) -> dict[tuple[str, str], str | None]:
        """The waits as they are stored."""
        return {
            (execution_id, path): None if watch is None else msgspec.json.encode(watch).decode()
            for (execution_id, path), watch in self.watches.items()
        }


class Waits:
    """The waits of all executions. What becomes of them, and what they come to, goes into a `Round`."""

    def __init__(self, event_log: EventLog, watches: Iterable[OpenWatch] = ()):
        self._log = event_log
        self._open = OpenWatches(watches)
        self.failed_filters = 0
        """How often a filter had no answer about an event."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def behind(self) -> int:
        """How many still look at what came early."""
        return len(self._open.catching_up)

    def has(self, execution_id: ExecutionId) -> bool:
        """Whether a block of this execution waits."""
        return self._open.has(execution_id)

    def wants_type(self, log_type: str) -> bool:
        """Whether anybody who goes along waits for events of this type of the log: a first look."""
        return self._open.wants_type(log_type)

    def wants(self, event: Event) -> bool:
        """Whether anybody who goes along waits for events of this type in this tenant."""
        return self._open.wants(event.envelope.tenant, type_seen(event))

    async def open(
        self, event: Event, execution_id: ExecutionId, started: BlockStarted, watch: Watch, this: Round
    ) -> None:
        """A block begins to wait; it looks back first."""
        after = start_of(watch, event.position)
        if after is None:
            after = (await self._log.read_raw(event.envelope.stream_id, 0, 1))[0].position
        opened = OpenWatch(
            tenant=event.envelope.tenant,
            execution_id=execution_id,
            path=started.path,
            version=event.version,
            opened_at=event.position,
            after=after,
            watch=watch,
            # It goes along at the earliest from the next batch on: the rest of this one is early for it, too.
            behind=after,
        )
        self._open.open(opened)
        this.store(opened)

    def close(self, key: WatchKey, this: Round) -> None:
        """A block waits no longer, if it did."""
        if self._open.get(key) is not None:
            self._open.close(key)
            this.drop(key)

    def close_all(self, execution_id: ExecutionId, this: Round) -> None:
        """The execution has ended."""
        for watch in self._open.of(execution_id):
            self.close(watch.key, this)

    async def hold_against(self, event: Event, this: Round) -> None:
        """Ask the filters of those who go along about an event."""
        if not self.wants(event):
            return
        matched = as_matched(event)
        seen = as_seen(event, matched)
        for awaiting in self._open.awaiting(event.envelope.tenant, seen):
            watch = awaiting.watch
            if event.position > watch.after and await self._fits(watch, awaiting.number, event, seen):
                self._match(watch, awaiting.number, event, matched, this)
        await asyncio.sleep(0)  # filters take processor time, and others are in this process

    async def look_back(self, until: int, this: Round) -> None:
        """Let those who are behind look at a page of what came early, up to where the courier is going to be."""
        behind = list(self._open.catching_up.values())[:BEHIND_AT_ONCE]
        pages = await asyncio.gather(*(self._page(watch, until) for watch in behind))
        for watch, (events, seen_until) in zip(behind, pages, strict=True):
            await self._look_at_page(watch, events, this)
            if self._open.get(watch.key) is watch:
                on = seen_until if seen_until < until else None
                moved = msgspec.structs.replace(self._open.as_it_is(watch.key), behind=on)
                self._open.open(moved)
                this.store(moved)
            await asyncio.sleep(0)

    async def _page(self, watch: OpenWatch, until: int) -> tuple[list[Event], int]:
        """The next early events that are of the types a watch waits for, and up to where that is all of them."""
        assert watch.behind is not None
        if watch.behind >= until:
            return [], until
        awaited = [awaited_type(watched) for watched in watch.watch.events]
        types = frozenset[str]().union(*map(log_types, awaited))
        found = await self._log.find(watch.tenant, types, watch.behind, until, PAGE_EVENTS)
        events = [raw.decode() for raw in found.events]
        wanted = [event for event in events if any(goes_by(event, kind) for kind in awaited)]
        return await self._log.hydrate(wanted, opened=False), found.until

    async def _look_at_page(self, watch: OpenWatch, events: Sequence[Event], this: Round) -> None:
        for event in events:
            matched = as_matched(event)
            seen = as_seen(event, matched)
            for number in range(len(watch.watch.events)):
                if self._open.get(watch.key) is not watch:
                    return
                if await self._fits(watch, number, event, seen):
                    self._match(watch, number, event, matched, this)

    async def _fits(self, watch: OpenWatch, number: int, event: Event, seen: Mapping[str, Json]) -> bool:
        if not self._open.is_open(watch, number) or not may_match(watch.execution_id, event):
            return False
        captured = watch.watch.captured
        if (sealed := read_sealed(captured)) is not None:
            captured = await self._log.opened(captured, watch.tenant, [sealed.key_id])
        try:
            return matches(watch.watch.events[number], captured, seen)
        except FilterFailed as failed:
            self.failed_filters += 1
            about = {"execution_id": watch.execution_id, "path": watch.path, "position": event.position}
            log.debug("filter has no answer", extra={**about, "number": number, "reason": str(failed)})
            return False

    def _match(self, watch: OpenWatch, number: int, event: Event, matched: MatchedEvent, this: Round) -> None:
        # The place where the wait began is part of the id: when its block begins anew, the same event counts anew.
        parts = (watch.execution_id, watch.path, str(watch.opened_at), str(number), str(event.position))
        fact = EventMatched(path=watch.path, event=msgspec.structs.replace(matched, number=number))
        this.facts.append(
            Fact(
                id=EventId(derived_id(fact.type_name(), *parts)),
                target=watch.execution_id,
                data=fact,
                cause=event.envelope.id,
                block_version=watch.version,
                traceparent=event.envelope.traceparent,
            )
        )
        self._open.take(watch, number)
        if watch.watch.need == "any" or self._open.is_done(watch):
            self.close(watch.key, this)
        else:
            this.store(self._open.as_it_is(watch.key))
