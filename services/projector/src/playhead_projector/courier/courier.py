"""The courier: carries facts between executions, so that each arrives exactly once, whatever is killed.

An execution knows nothing but its own stream. What it must learn of others comes to it as facts of its own, which the
courier derives from the log, event by event:

- A child tells its parent that it asks people something, goes on, or has ended (`child.*`).
- A parent that no longer waits for a child has it cancelled (`execution.cancel_requested`).
- An event that a `wait` block waits for is told to its execution (`event.matched`).

How waits come to their events is told in `waits`.

Exactly once. The courier follows the log by position, and notes how far it is only after the facts of a batch are in
the log. A crash in between repeats the batch; the id of a fact follows from its cause, so the repeat finds it there.
Nothing is lost if the checkpoint or the table of open waits is: the courier begins again at the start of the log, and
finds everything it did.

One courier works, the holder of an advisory lock of the database. A courier that lost its lock and does not know yet
can do no harm: it appends under the same ids, and an append names the head that it follows.

What stops it is what it cannot read, or a bug: it says so in its health check, and tries again. An execution whose own
stream is broken is passed over, since it takes no facts at all.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import psycopg

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_contracts.events import (
    BlockCompleted,
    BlockFailed,
    BlockRetryScheduled,
    BlockSkipped,
    BlockStarted,
    Data,
    Event,
    ExecutionCancelled,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionTimedOut,
)
from playhead_contracts.ids import EventId, ExecutionId, execution_of
from playhead_engine.kinship import NO_LONGER_WAITED_FOR, ChildNews, given_up, is_given_up, news_of
from playhead_eventlog import EventLog, RawEvent, Tail
from playhead_projector.batches import Appetite, pause_after
from playhead_projector.courier.delivering import Deliveries, Fact
from playhead_projector.courier.open_watches import OpenWatch
from playhead_projector.courier.waits import Round, Waits
from playhead_projector.store import COURIER_LOCK, Store, open_store
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import derived_id

log = logging.getLogger("playhead.projector.courier")

NAME = "courier"
MAX_EVENTS = 1000
TRY_AGAIN_SECONDS = 1.0
BEHIND_EVENTS = 50_000

_ENDS: tuple[type[Data], ...] = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled, ExecutionTimedOut)
_GIVES_UP: tuple[type[Data], ...] = (BlockFailed, BlockSkipped, BlockRetryScheduled)
_STARTED = BlockStarted.type_name()
_CLOSES = frozenset(kind.type_name() for kind in (*_ENDS, *_GIVES_UP, BlockCompleted))
_MARKS: dict[str, bytes] = {
    **{kind.type_name(): b'"parent":' for kind in (*_ENDS, ExecutionCreated, ExecutionPaused, ExecutionResumed)},
    **{kind.type_name(): b'"child":' for kind in _GIVES_UP},
    _STARTED: b'"watch":',
}
"""What the stored data of an event holds somewhere if it may be for the courier: most need not be decoded."""


class CourierStopped(Corrupt):
    """The courier cannot go on until an operator acts."""


class CourierBehind(Unavailable):
    """The courier lags; it catches up by itself."""


class Courier:
    """One of any number; one at a time works. `tail` must not be shared."""

    def __init__(self, event_log: EventLog, tail: Tail, bus: Bus, url: str, clock: Clock):
        self._log = event_log
        self._tail = tail
        self._url = url
        self._deliveries = Deliveries(event_log, bus, clock)
        self._appetite = Appetite(MAX_EVENTS)
        self._waits = Waits(event_log)
        self._waits_for: str | None = None
        self._trouble: str | None = None
        self.is_writer = False
        self.position = 0
        """Up to where everything has been carried."""
        self.catching_up = 0
        """How many blocks that wait for events still had to look at what came early, when that was done."""

    @property
    def open_watches(self) -> int:
        """How many blocks wait for events."""
        return len(self._waits)

    @property
    def failed_filters(self) -> int:
        """How often a filter had no answer about an event, since this courier began to work."""
        return self._waits.failed_filters

    async def run(self) -> None:
        """Carry facts, for ever. While the database is away, wait for it."""
        while True:
            try:
                async with open_store(self._url) as store:
                    await store.win(COURIER_LOCK)
                    self.is_writer = True
                    await self._follow(store)
            except (Unavailable, psycopg.OperationalError, psycopg.InternalError) as exc:
                if str(exc) != self._waits_for:
                    log.warning("courier waits", extra={"reason": str(exc).strip()})
                self._waits_for = str(exc)
            except Exception as exc:
                if str(exc) != self._trouble:
                    log.exception("courier stopped", extra={"position": self.position})
                self._trouble = str(exc)
            finally:
                self.is_writer = False
                # What was not stored is not true: the next one to work begins from what is.
                self._deliveries.forget()
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def lag(self) -> int:
        """How many positions of the log were not looked at yet; it may be less by now."""
        position = self.position
        return max(0, await self._log.last_position() - position)

    async def check(self) -> None:
        """Raises CourierStopped, with the reason, or CourierBehind, with the lag. One that stands by is well."""
        if self._trouble is not None:
            raise CourierStopped(f"the courier stopped after position {self.position}: {self._trouble}")
        if self.is_writer and (lag := await self.lag()) > BEHIND_EVENTS:
            raise CourierBehind(f"the courier is {lag} events behind the log")

    async def _follow(self, store: Store) -> None:
        await store.create_watches()
        self.position = await store.position(NAME)
        stored = await store.watches()
        self._waits = Waits(self._log, (msgspec.json.decode(text, type=OpenWatch) for text in stored))
        self.catching_up = self._waits.behind
        log.info("courier works", extra={"position": self.position, "open_watches": len(self._waits)})
        while True:
            limit = self._appetite.limit
            # Who is behind must not wait for news.
            read = self._log.read_log if self._waits.behind else self._tail.next
            batch = await read(self.position, limit)
            await self._do(store, batch)
            self._trouble = self._waits_for = None
            await asyncio.sleep(0 if self._waits.behind else pause_after(len(batch), limit))

    async def _do(self, store: Store, batch: Sequence[RawEvent]) -> None:
        if not batch and not self._waits.behind:
            return
        until = self.position
        this = Round()
        if batch:
            self._appetite.had(batch)
            until = batch[-1].position
            await self._look_at(batch, this)
        await self._waits.look_back(until, this)
        await self._deliveries.deliver(this.facts)
        await store.move_courier(NAME, until, this.stored())
        self.position, self.catching_up = until, self._waits.behind

    async def _look_at(self, batch: Sequence[RawEvent], this: Round) -> None:
        # Sealed values stay so in what is stored here; only what goes from a child to its parent is opened, and sealed
        # again as a fact of the parent.
        for event in await self._log.hydrate(self._of_interest(batch), opened=False):
            await self._waits.hold_against(event, this)
            if event.envelope.execution_id is not None:
                await self._look_at_one(event, event.envelope.execution_id, this)

    def _of_interest(self, batch: Sequence[RawEvent]) -> list[Event]:
        """The events of a batch that may be for the courier, in order. The others are not even decoded."""
        picked: list[Event] = []
        opening: set[ExecutionId] = set()
        for raw in batch:
            execution_id = execution_of(raw.stream_id)
            mark = _MARKS.get(raw.type)
            is_marked = mark is not None and mark in raw.data
            if execution_id is not None and is_marked and raw.type == _STARTED:
                opening.add(execution_id)
            is_waiting = execution_id is not None and (execution_id in opening or self._waits.has(execution_id))
            if is_marked or (is_waiting and raw.type in _CLOSES):
                picked.append(raw.decode())
            elif self._waits.wants_type(raw.type):
                event = raw.decode()
                if self._waits.wants(event):
                    picked.append(event)
        return picked

    async def _look_at_one(self, event: Event, execution_id: ExecutionId, this: Round) -> None:
        data = event.data
        news = news_of(execution_id, data)
        if news is not None and event.envelope.seal is not None:
            [opened] = await self._log.hydrate([event])
            news = news_of(execution_id, opened.data)
        if news is not None:
            parent, told = news
            fact_id = derived_id(told.type_name(), parent, told.path, str(event.position))
            this.facts.append(_fact(event, EventId(fact_id), parent, told))
        child = given_up(data)
        if child is not None:
            this.facts.append(_cancel(event, child))
        match data:
            case ExecutionCreated():
                if await self._came_too_late(execution_id, data):
                    this.facts.append(_cancel(event, execution_id))
            case BlockStarted():
                if data.watch is not None:
                    await self._waits.open(event, execution_id, data, data.watch, this)
            case BlockCompleted() | BlockFailed() | BlockSkipped() | BlockRetryScheduled():
                self._waits.close((execution_id, data.path), this)
            case ExecutionCompleted() | ExecutionFailed() | ExecutionCancelled() | ExecutionTimedOut():
                self._waits.close_all(execution_id, this)
            case _:
                pass

    async def _came_too_late(self, child: ExecutionId, created: ExecutionCreated) -> bool:
        """Whether a child begins that its parent has given up already."""
        if created.parent is None:
            return False
        parent = await self._deliveries.state_of(created.parent.execution_id)
        return parent is not None and is_given_up(parent, created.parent.path, child)


def _cancel(event: Event, child: ExecutionId) -> Fact:
    data = ExecutionCancelRequested(reason=NO_LONGER_WAITED_FOR)
    fact_id = EventId(derived_id(data.type_name(), child, str(event.position)))
    return _fact(event, fact_id, child, data)


def _fact(event: Event, fact_id: EventId, target: ExecutionId, data: ChildNews | ExecutionCancelRequested) -> Fact:
    cause = event.envelope
    return Fact(id=fact_id, target=target, data=data, cause=cause.id, traceparent=cause.traceparent)
