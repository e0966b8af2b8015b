"""Bringing what became of deliveries into the log: load, fold, decide, append; only then forget it."""

import asyncio
import logging
from collections.abc import Sequence

import psycopg
from psycopg_pool import PoolTimeout

from playhead_contracts.errors import Corrupt, Unavailable, VersionConflict
from playhead_contracts.events import Actor, NewEvent, PauseNotified
from playhead_contracts.ids import EventId, execution_stream
from playhead_engine.folding import fold
from playhead_engine.pauses import decide_notified
from playhead_eventlog import EventLog, StreamHead
from playhead_hitl.notifying.store import Outcome, Store
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import derived_id
from playhead_runtime.live import tell

log = logging.getLogger("playhead.hitl.teller")

ACTOR = Actor(kind="system", name="notifier")
AT_ONCE = 32
AWAY = (Unavailable, psycopg.OperationalError, PoolTimeout)
LOOK_AGAIN_SECONDS = 1.0


class TellerStopped(Corrupt):
    """The log is not told of deliveries until an operator acts."""


class Teller:
    """Any number of them share the outcomes."""

    def __init__(self, store: Store, event_log: EventLog, bus: Bus, clock: Clock):
        self._store = store
        self._log = event_log
        self._bus = bus
        self._clock = clock
        self._news = asyncio.Event()
        self._waits_for: str | None = None
        self._trouble: str | None = None

    def wake(self) -> None:
        """There may be an outcome now."""
        self._news.set()

    async def check(self) -> None:
        """Raises TellerStopped, with the reason."""
        if self._trouble is not None:
            raise TellerStopped(f"the log is not told what became of webhooks: {self._trouble}")

    async def run(self) -> None:
        """Tell the log, for ever. While it is away, wait for it."""
        while True:
            try:
                self._news.clear()
                async with self._store.outcomes(AT_ONCE) as outcomes:
                    await self._tell(outcomes)
                self._waits_for = self._trouble = None
                if not outcomes:
                    await self._wait()
            except AWAY as exc:
                if str(exc) != self._waits_for:
                    log.warning("outcomes of webhooks wait", extra={"reason": str(exc).strip()})
                self._waits_for = str(exc)
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            except Exception as exc:
                if str(exc) != self._trouble:
                    log.exception("teller stopped")
                self._trouble = str(exc)
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _tell(self, outcomes: Sequence[Outcome]) -> None:
        telling = (note_notified(each, self._log, self._bus, self._clock) for each in outcomes)
        # All of them come to an end before the first error is told, so that none is left at work.
        done = await asyncio.gather(*telling, return_exceptions=True)
        for outcome, wrong in zip(outcomes, done, strict=True):
            if isinstance(wrong, AWAY):
                raise wrong
            if wrong is not None:
                # A broken stream, or a bug of ours: it is in the log of deliveries, and must not hold up the others.
                about = {"delivery_id": outcome.delivery_id, "execution_id": outcome.execution_id}
                log.error("the log was not told of a delivery", exc_info=wrong, extra=about)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                await self._news.wait()
        except TimeoutError:
            pass


async def note_notified(outcome: Outcome, event_log: EventLog, bus: Bus, clock: Clock) -> None:
    """Append what became of a delivery, once, if its execution still takes facts.

    Raises LogUnavailable, and Corrupt when what is stored of the execution is broken.
    """
    stream = execution_stream(outcome.execution_id)
    event_id = EventId(derived_id("notified", outcome.delivery_id, str(outcome.round)))
    notified = PauseNotified(
        pause_id=outcome.pause_id,
        path=outcome.path,
        delivery_id=outcome.delivery_id,
        webhook=outcome.webhook,
        about=outcome.about,
        outcome="delivered" if outcome.outcome == "delivered" else "failed",
        attempts=outcome.attempts,
        status=outcome.status,
        error=outcome.error,
    )
    while True:
        raws = await event_log.read_raw(stream)
        # Not hydrated: nothing is decided by values that are stored apart.
        events = [raw.decode() for raw in raws]
        state = fold(events)
        if state is None or any(event.envelope.id == event_id for event in events):
            return
        new = [
            NewEvent(
                id=event_id,
                data=fact,
                tenant=state.tenant,
                workflow_id=state.workflow_id,
                execution_id=state.execution_id,
                actor=ACTOR,
                recorded_at=clock.now(),
            )
            for fact in decide_notified(state, notified)
        ]
        if not new:
            return
        try:
            head = StreamHead(raws[-1].version, raws[-1].hash)
            appended = await event_log.append(stream, head, new)
        except VersionConflict:
            continue  # somebody else's fact came first: fold it, decide again
        await tell(bus, state.tenant, state.execution_id, appended.frames)
        return
