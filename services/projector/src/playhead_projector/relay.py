"""The relay: one more projection, whose table is the stream PLAYHEAD_EVENTS on the bus.

Every event of the log stands there once, in position order, also across crashes of the relay, of the bus and of the
connection between them. What makes it so is in `bus_stream`: the stream is the checkpoint, and a batch only goes where
the stream is known to end. Whatever goes wrong, the answer is the same: look at the stream's end, go on from there.

One relay runs, the holder of an advisory lock of the database. The lock saves two relays from working against each
other; it is not what keeps them from writing twice.

Each copy names the position of its tenant's event before it, so that a consumer can tell that it missed one. The relay
remembers them while it runs; after a start it asks the stream, and the log only for a tenant that the stream does not
know.

An operator may ask for the copy from some position on (`playhead relay --from`). The request stands in the database
until the first batch from there is stored: whoever relays empties the stream and begins there, and does so again if it
was killed before. After that the stream itself says how far it is, as always.

The position is also noted in the read models' checkpoints, about once a second and always late: for operators, and for
the one case in which the stream cannot tell, because all of it has grown too old.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import psycopg

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_contracts.events import decode_envelope
from playhead_contracts.ids import TenantId
from playhead_eventlog import EventLog, RawEvent, Tail
from playhead_projector.batches import Appetite, pause_after
from playhead_projector.bus_copy import BusMessage, bus_message
from playhead_projector.bus_stream import (
    IdsStillKnown,
    StreamEnd,
    StreamGone,
    StreamMoved,
    empty,
    find_end,
    is_untouched,
    last_of_tenant,
    put,
)
from playhead_projector.store import RELAY_LOCK, Store, open_store
from playhead_runtime.bus import Bus

log = logging.getLogger("playhead.projector.relay")

NAME = "relay"
MAX_EVENTS = 1000
"""The most messages that JetStream takes as one batch."""
MAX_BATCH_BYTES = 4 * 1024 * 1024
TRY_AGAIN_SECONDS = 1.0
NOTE_SECONDS = 1.0
BEHIND_EVENTS = 50_000


class RelayStopped(Corrupt):
    """The bus copy cannot go on until an operator acts."""


class RelayBehind(Unavailable):
    """The bus copy lags; it catches up by itself."""


class NotACopyOfThisLog(Corrupt):
    """The stream ends with an event that this log does not hold."""

    def __init__(self, end: StreamEnd):
        super().__init__(
            f"the stream ends with position {end.position} (event {end.event_id}), which is not in this log: it is the "
            "copy of another log, or the log was restored from an old backup; delete the stream, and it is made anew"
        )


class Relay:
    """One of any number; one at a time works. `tail` must not be shared. `provision` makes the stream."""

    def __init__(self, event_log: EventLog, tail: Tail, bus: Bus, url: str, provision: Callable[[], Awaitable[None]]):
        self._log = event_log
        self._tail = tail
        self._bus = bus
        self._url = url
        self._provision = provision
        self._appetite = Appetite(MAX_EVENTS)
        self._noted_at = 0.0
        self._waits_for: str | None = None
        self._trouble: str | None = None
        self._last: dict[TenantId, int] = {}
        """The position of each tenant's newest event on the bus, of those that are known."""
        self._knows_all = False
        self._request: int | None = None
        self.is_writer = False
        self.position = 0
        """Up to where the log is known to be on the bus."""

    async def run(self) -> None:
        """Copy the log, for ever. While the database or the bus is away, wait for it."""
        while True:
            try:
                async with open_store(self._url) as store:
                    await self._win(store)
                    await self._follow(store)
            except (Unavailable, psycopg.OperationalError, psycopg.InternalError) as exc:
                if str(exc) != self._waits_for:
                    log.warning("relay waits", extra={"reason": str(exc).strip()})
                self._waits_for = str(exc)
            except Exception as exc:
                if str(exc) != self._trouble:
                    log.exception("relay stopped", extra={"position": self.position})
                self._trouble = str(exc)
            finally:
                self.is_writer = False
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def lag(self) -> int:
        """How many positions of the log are not on the bus yet, as far as this relay knows."""
        return max(0, await self._log.last_position() - self.position)

    async def check(self) -> None:
        """Raises RelayStopped, with the reason, or RelayBehind, with the lag. A relay that stands by is well."""
        if self._trouble is not None:
            raise RelayStopped(f"the bus copy stopped after position {self.position}: {self._trouble}")
        if self.is_writer and (lag := await self.lag()) > BEHIND_EVENTS:
            raise RelayBehind(f"the bus copy is {lag} events behind the log")

    async def _win(self, store: Store) -> None:
        await store.win(RELAY_LOCK)
        self.is_writer = True

    async def _follow(self, store: Store) -> None:
        await store.create_relay_requests()
        end = await self._start(store)
        while True:
            limit = self._appetite.limit
            batch = await self._tail.next(self.position, limit)
            if batch:
                try:
                    end = await self._copy(batch, end)
                    if self._request is not None:
                        await store.relay_begun(self._request, NAME, self.position)
                        self._request = None
                except StreamMoved:
                    end = await self._start(store)
                    continue
            elif not await is_untouched(self._bus, end):
                end = await self._start(store)
            self._trouble = self._waits_for = None
            if await self._note(store) and await store.open_relay_request() is not None:
                end = await self._start(store)
                continue
            await asyncio.sleep(pause_after(len(batch), limit))

    async def _start(self, store: Store) -> StreamEnd:
        """Find out where to go on, making the stream if there is none; or begin where it was asked to."""
        asked = await store.open_relay_request()
        look = find_end if asked is None else empty
        try:
            end = await look(self._bus)
        except StreamGone:
            await self._provision()
            end = await look(self._bus)
        position = end.position
        self._request = None
        if asked is not None:
            self._request, position = asked[0], asked[1] - 1
        elif position is None:
            position = await store.position(NAME)
        elif position > 0:
            await self._check_origin(end, position)
        self.position = position
        self._last.clear()
        self._knows_all = position == 0
        log.info("relay goes on", extra={"position": position, "sequence": end.sequence, "request": self._request})
        return end

    async def _previous(self, tenant: TenantId, position: int) -> int:
        """The position of a tenant's event before this one."""
        if tenant in self._last:
            return self._last[tenant]
        if self._knows_all:
            return 0
        found = await last_of_tenant(self._bus, tenant)
        return await self._log.previous(tenant, position) if found is None else found

    async def _check_origin(self, end: StreamEnd, position: int) -> None:
        found = await self._log.read_log(position - 1, 1)
        if not found or found[0].position != position or decode_envelope(found[0].meta).id != end.event_id:
            raise NotACopyOfThisLog(end)

    async def _copy(self, batch: Sequence[RawEvent], end: StreamEnd) -> StreamEnd:
        self._appetite.had(batch)
        messages: list[BusMessage] = []
        size_bytes = 0
        for raw in batch:
            message = bus_message(raw, self._bus.max_payload)
            message = message.after(await self._previous(message.tenant, message.position))
            self._last[message.tenant] = message.position
            if messages and size_bytes + len(message.body) > MAX_BATCH_BYTES:
                end = await self._put(messages, end)
                messages, size_bytes = [], 0
            messages.append(message)
            size_bytes += len(message.body)
        return await self._put(messages, end)

    async def _put(self, messages: Sequence[BusMessage], end: StreamEnd) -> StreamEnd:
        try:
            end = await put(self._bus, messages, end, with_ids=True)
        except IdsStillKnown:
            # The sequence it follows keeps a batch from being stored twice; the ids are for the bus's own tools.
            end = await put(self._bus, messages, end, with_ids=False)
        self.position = messages[-1].position
        return end

    async def _note(self, store: Store) -> bool:
        """Note the position, if it is time to; says whether it was."""
        now = asyncio.get_running_loop().time()
        if now - self._noted_at < NOTE_SECONDS:
            return False
        await store.note(NAME, self.position)
        self._noted_at = now
        return True
