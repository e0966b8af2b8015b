"""From the log to deliveries: what pauses are about, for who wants to know."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

import psycopg

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_contracts.events import (
    Event,
    PauseEscalated,
    PauseExpired,
    PauseReminded,
    PauseRequested,
    PauseResolved,
)
from playhead_contracts.ids import ExecutionId, TenantId, execution_of
from playhead_engine.folding import fold
from playhead_engine.notifying import ASKING, OVER, TOLD, people_asked, who_is_told
from playhead_engine.state import ExecutionState
from playhead_eventlog import EventLog, RawEvent, Tail
from playhead_hitl.notifying.messages import message_about
from playhead_hitl.notifying.store import NewDelivery, Over, Webhook, WriterStore, open_writer
from playhead_runtime.ids import derived_id

log = logging.getLogger("playhead.hitl.notifier")

MAX_EVENTS = 1000
GATHER_SECONDS = 0.05
"""Events right behind one another become one batch."""
TRY_AGAIN_SECONDS = 1.0
NOTE_EVERY = 2000
"""How many events that are nobody's business pass before the checkpoint says so."""
TIDY_SECONDS = 3600.0
KEPT_STATES = 64


class NotifierStopped(Corrupt):
    """Webhooks are not told until an operator acts."""


class Notifier:
    """One of any number; one at a time works. `tail` must not be shared."""

    def __init__(self, event_log: EventLog, tail: Tail, url: str, keep: timedelta, made: Callable[[], None]):
        self._log = event_log
        self._tail = tail
        self._url = url
        self._keep = keep
        self._made = made
        self._states: OrderedDict[ExecutionId, ExecutionState] = OrderedDict()
        self._waits_for: str | None = None
        self._trouble: str | None = None
        self._tidied_at: float | None = None
        self.position = 0
        """Up to where everything has become deliveries."""

    async def run(self) -> None:
        """Make deliveries, for ever. While the database is away, wait for it."""
        while True:
            try:
                async with open_writer(self._url) as store:
                    while not await store.try_lock():  # noqa: ASYNC110 - the lock is in the database
                        await asyncio.sleep(TRY_AGAIN_SECONDS)
                    await self._follow(store)
            except (Unavailable, psycopg.OperationalError, psycopg.InternalError) as exc:
                if str(exc) != self._waits_for:
                    log.warning("notifier waits", extra={"reason": str(exc).strip()})
                self._waits_for = str(exc)
            except Exception as exc:
                if str(exc) != self._trouble:
                    log.exception("notifier stopped", extra={"position": self.position})
                self._trouble = str(exc)
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def check(self) -> None:
        """Raises NotifierStopped, with the reason. One that stands by is well."""
        if self._trouble is not None:
            raise NotifierStopped(f"the notifier stopped after position {self.position}: {self._trouble}")

    async def _follow(self, store: WriterStore) -> None:
        self.position = noted = await store.position()
        log.info("notifier works", extra={"position": self.position})
        while True:
            raws = await self._tail.next(self.position, MAX_EVENTS)
            news = [raw for raw in raws if raw.type in TOLD]
            position = raws[-1].position if raws else self.position
            if news or position - noted >= NOTE_EVERY:
                await self._store(store, news, position)
                noted = position
            self.position = position
            self._trouble = self._waits_for = None
            await self._tidy(store)
            await asyncio.sleep(0 if len(raws) in (0, MAX_EVENTS) else GATHER_SECONDS)

    async def _store(self, store: WriterStore, news: list[RawEvent], position: int) -> None:
        events = [raw.decode() for raw in news]
        async with store.batch(position) as batch:
            webhooks = await batch.webhooks({event.envelope.tenant for event in events})
            deliveries = [delivery for event in events for delivery in await self._deliveries(event, webhooks)]
            over = [_over(event) for event in events if event.envelope.type in OVER]
            if deliveries or over:
                await batch.add(deliveries, [each for each in over if each is not None])
        if deliveries:
            log.info("deliveries made", extra={"deliveries": len(deliveries), "position": position})
        self._made()

    async def _deliveries(self, event: Event, webhooks: dict[TenantId, list[Webhook]]) -> list[NewDelivery]:
        data, envelope = event.data, event.envelope
        known = {webhook.wish.name: webhook for webhook in webhooks[envelope.tenant]}
        asks = isinstance(data, PauseRequested)
        # Most tenants have no webhooks: what nobody will hear need not be folded.
        if not known and not (asks and data.notify):
            return []
        if not isinstance(data, PauseRequested | PauseReminded | PauseEscalated | PauseResolved | PauseExpired):
            return []
        state = await self._state_at(event)
        if state is None or data.pause_id not in state.pauses:
            return []
        pause = state.pauses[data.pause_id]
        wishes = [webhook.wish for webhook in known.values()]
        told, unknown = who_is_told(wishes, pause.notify, envelope.type, state.workflow_id, event.position)
        # That nobody has a name is said once.
        names = told + (unknown if asks else [])
        if not names:
            return []
        body = message_about(event, pause, state)
        page_for = people_asked(pause) if envelope.type in ASKING else None
        if page_for:
            page_for = tuple(map(_storable, page_for))
        return [
            NewDelivery(
                # The id of the webhook, for its name may be another's later.
                delivery_id=derived_id("delivery", known[name].webhook_id if name in known else name, envelope.id),
                tenant=envelope.tenant,
                webhook=_storable(name),
                webhook_id=known[name].webhook_id if name in known else None,
                event_type=envelope.type,
                event_position=event.position,
                execution_id=state.execution_id,
                pause_id=pause.pause_id,
                path=pause.path,
                page_for=page_for,
                body=body,
                error=None if name in known else f"there is no webhook named {_storable(name)}",
            )
            for name in names
        ]

    async def _state_at(self, event: Event) -> ExecutionState | None:
        """The execution right after an event; None if what is stored of it is broken. Not to be changed."""
        execution_id = execution_of(event.envelope.stream_id)
        if execution_id is None:
            return None
        kept = self._states.pop(execution_id, None)
        if kept is not None and kept.version > event.version:
            kept = None
        start = 0 if kept is None else kept.version
        raws = await self._log.read_raw(event.envelope.stream_id, start, event.version - start)
        try:
            # Not hydrated: a pause has nothing that is stored apart.
            state = fold([raw.decode() for raw in raws], kept)
        except Corrupt:
            log.exception("nobody is told of a broken execution", extra={"execution_id": execution_id})
            return None
        if state is not None and not state.is_ended:
            self._states[execution_id] = state
            if len(self._states) > KEPT_STATES:
                self._states.popitem(last=False)
        return state

    async def _tidy(self, store: WriterStore) -> None:
        if self._tidied_at is None or time.monotonic() - self._tidied_at > TIDY_SECONDS:
            await store.forget_older_than(self._keep)
            self._tidied_at = time.monotonic()


def _storable(name: str) -> str:
    """A name that an author or an input chose, without the one character that PostgreSQL has no place for."""
    return name.replace("\0", "\ufffd")


def _over(event: Event) -> Over | None:
    match event.data:
        case PauseResolved():
            return Over(event.data.pause_id, f"not tried again, for the pause was {event.data.resolution}")
        case PauseExpired():
            return Over(event.data.pause_id, "not tried again, for the pause has expired")
        case _:
            return None
