"""Starts workflows for events, exactly once for each.

It follows the log by position. What the events of a batch start is written down in the transaction that notes how far
it is, and then sent to the gateways as commands, until they have answered. A crash before that transaction repeats the
batch; after it, the sending. Both end in the same command with the same idempotency key, and that is admitted once.

So nothing is lost with the bus either, and nothing is started twice if its tables are: it begins again at the start of
the log, with the triggers as they were at each place, and finds everything started.

One runner works, the holder of an advisory lock on the connection that it writes with.
"""

import asyncio
import logging

import psycopg

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_eventlog import EventLog, Tail
from playhead_projector.batches import Appetite, pause_after
from playhead_projector.triggering.matching import Matching
from playhead_projector.triggering.sending import Sending
from playhead_projector.triggering.store import TriggerStore, open_trigger_store
from playhead_runtime.bus import Bus

log = logging.getLogger("playhead.projector.triggers")

MAX_EVENTS = 2000
TRY_AGAIN_SECONDS = 1.0
SOON_SECONDS = 0.05
PRUNE_SECONDS = 3600.0
NOTE_SECONDS = 2.0
NOTE_EVENTS = 10_000


class TriggersStopped(Corrupt):
    """Triggers cannot go on until an operator acts."""


class TriggerRunner:
    """One of any number; one at a time works. `tail` must not be shared."""

    def __init__(self, event_log: EventLog, tail: Tail, bus: Bus, url: str):
        self._log = event_log
        self._tail = tail
        self._bus = bus
        self._url = url
        self._appetite = Appetite(MAX_EVENTS)
        self._trouble: str | None = None
        self._waits_for: str | None = None
        self._pruned_at = 0.0
        self._noted = (0, 0.0)
        self.is_writer = False
        self.position = 0

    async def run(self) -> None:
        """Start workflows, for ever. While the database or the bus is away, wait for it."""
        while True:
            sending = Sending(self._bus)
            try:
                async with open_trigger_store(self._url) as store:
                    await store.win()
                    self.is_writer = True
                    await sending.open()
                    await self._follow(store, sending)
            except (Unavailable, psycopg.OperationalError, psycopg.InternalError) as exc:
                if str(exc) != self._waits_for:
                    log.warning("triggers wait", extra={"reason": str(exc).strip()})
                self._waits_for = str(exc)
            except Exception as exc:
                if str(exc) != self._trouble:
                    log.exception("triggers stopped", extra={"position": self.position})
                self._trouble = str(exc)
            finally:
                self.is_writer = False
                await sending.close()
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def lag(self) -> int:
        """How many positions of the log were not looked at yet, as far as this runner knows."""
        return max(0, await self._log.last_position() - self.position)

    async def check(self) -> None:
        """Raises TriggersStopped, with the reason. One that stands by is well."""
        if self._trouble is not None:
            raise TriggersStopped(f"triggers stopped after position {self.position}: {self._trouble}")

    async def _follow(self, store: TriggerStore, sending: Sending) -> None:
        self.position = await store.position()
        matching = Matching(self._log, await store.triggers())
        log.info("triggers work", extra={"position": self.position})
        has_more = True
        while True:
            limit = self._appetite.limit
            # Whoever has something to send or to note must not wait for news.
            read = self._log.read_log if has_more else self._tail.next
            batch = await read(self.position, limit)
            if batch:
                self._appetite.had(batch)
                found = await matching.look_at(batch)
                self.position = batch[-1].position
                if found.published or found.firings or self._should_note():
                    await store.move(self.position, found.published, found.firings)
                    self._noted = (self.position, asyncio.get_running_loop().time())
            has_more = await sending.do(store) or len(batch) == limit
            if sending.waits_for and not has_more:
                # Answers are a matter of milliseconds: note them while they come, and look at the log meanwhile.
                await asyncio.sleep(SOON_SECONDS)
                await sending.note(store)
            self._trouble = self._waits_for = None
            await self._prune(store)
            await asyncio.sleep(pause_after(len(batch), limit))

    def _should_note(self) -> bool:
        """Whether to write down that nothing was found up to here; not for each batch: looking again does no harm."""
        position, at = self._noted
        return self.position - position >= NOTE_EVENTS or asyncio.get_running_loop().time() - at >= NOTE_SECONDS

    async def _prune(self, store: TriggerStore) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = now
            await store.prune()
