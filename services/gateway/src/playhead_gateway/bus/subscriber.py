"""Taking messages from a durable consumer that all gateways share, and answering for them.

Many are held for long, by in-progress acks: those whose senders wait for a result. So a fixed number can be held, and
there is always room beside them to take new ones.

Ack policy: ack when what was asked for is recorded (and told, if somebody waits); nak with a delay when something is
unavailable; what is refused has become a dead letter before it is acked. A gateway that dies leaves its messages to the
others, when the ack wait is over: every handler may be called again for a message that it has done already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from playhead_contracts.errors import Unavailable
from playhead_eventlog.stopping import stop_tasks
from playhead_runtime.bus import Bus, BusRejected
from playhead_runtime.pull import Delivery, Puller

log = logging.getLogger("playhead.gateway.bus")

FETCH_SECONDS = 5.0
AGAIN_SECONDS = 1.0
_BATCH = 256
_BREATHE_AFTER = 200


class Done(msgspec.Struct, frozen=True):
    """Never again."""


class Again(msgspec.Struct, frozen=True):
    """Not now: to anybody, after so long."""

    seconds: float = AGAIN_SECONDS


Verdict = Done | Again


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose messages are taken, how many at once, and how long one is ours without a sign of life."""

    stream: str
    name: str
    most: int
    lease_seconds: float


class Subscriber:
    """This gateway's share of one consumer. `provision` makes the consumer when it is not there (any more)."""

    def __init__(
        self,
        bus: Bus,
        consumer: Consumer,
        handle: Callable[[Delivery], Awaitable[Verdict]],
        provision: Callable[[], Awaitable[None]],
    ):
        self._bus = bus
        self._consumer = consumer
        self._handle = handle
        self._provision = provision
        self._taken: dict[asyncio.Task[None], Delivery] = {}
        self._room = asyncio.Event()
        self._puller: Puller | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take messages."""
        self._tasks = [
            asyncio.create_task(self._fetch_forever(), name=self._consumer.name),
            asyncio.create_task(self._keep_leases(), name="leases"),
        ]

    async def take_no_more(self) -> None:
        """Go on with what was taken. What is handed back from now on goes to others."""
        fetching, *_ = self._tasks
        await stop_tasks(fetching)
        if self._puller is not None:
            await self._puller.close()

    async def stop(self) -> None:
        """Take no more, and hand back what was taken and is not done."""
        await self.take_no_more()
        left = list(self._taken.items())
        await stop_tasks(*self._tasks, *(task for task, _ in left))
        for task, delivery in left:
            if task.cancelled():
                await delivery.nak()

    async def _fetch_forever(self) -> None:
        while True:
            try:
                self._puller = self._puller or await self._open()
                await self._wait_for_room()
                room = self._consumer.most - len(self._taken)
                for delivery in await self._puller.fetch(min(room, _BATCH), FETCH_SECONDS):
                    self._take(delivery)
            except (Unavailable, BusRejected) as unavailable:
                # Rejected, for one, while a consumer of an older version still takes the same subjects.
                log.warning("nothing taken", extra={"consumer": self._consumer.name, "reason": str(unavailable)})
                await asyncio.sleep(AGAIN_SECONDS)
                await self._provision_again()

    async def _open(self) -> Puller:
        await self._provision()
        return await self._bus.pull(self._consumer.stream, self._consumer.name)

    async def _provision_again(self) -> None:
        try:
            await self._provision()
        except (Unavailable, BusRejected) as unavailable:
            log.warning("bus not ready", extra={"reason": str(unavailable)})

    async def _wait_for_room(self) -> None:
        while len(self._taken) >= self._consumer.most:
            self._room.clear()
            await self._room.wait()

    def _take(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._answer_for(delivery), name=self._consumer.name)
        self._taken[task] = delivery
        task.add_done_callback(self._let_go)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        self._taken.pop(task, None)
        self._room.set()

    async def _answer_for(self, delivery: Delivery) -> None:
        match await self._handle(delivery):
            case Done():
                await delivery.ack()
            case Again(seconds):
                await delivery.nak(seconds)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._consumer.lease_seconds / 3)
            for number, delivery in enumerate(list(self._taken.values()), 1):
                await delivery.in_progress()
                if number % _BREATHE_AFTER == 0:
                    await asyncio.sleep(0)
