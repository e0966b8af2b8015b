"""Taking messages from a durable JetStream consumer, in batches.

One request is open at a time: "up to n messages, at once if there are any, else wait". The server ends it
with a status message; messages that come after we stopped waiting are kept for the next fetch. A reconnect
repeats the request, for the server that had it is gone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from playhead_runtime.messages import BusUnavailable, Message

if TYPE_CHECKING:  # the bus makes pullers: at run time the import goes that way round only
    from playhead_runtime.bus import Bus, Subscription

_TOGETHER_SECONDS = 0.05
"""How long a batch that has begun to arrive may take to end, should the server's status message be lost."""

_NO_MORE = ("404", "408")
_RECONNECTED = "reconnected"


class Delivery:
    """One message from a consumer; it comes again after the consumer's ack wait, unless it is answered.

    Answers are sent, not confirmed: one that is lost means that the message comes again.
    """

    __slots__ = ("_bus", "_message", "_tokens")

    def __init__(self, bus: "Bus", message: Message):
        self._bus = bus
        self._message = message
        # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer
        # seq>.<time>.<pending>
        tokens = message.reply.split(".")
        self._tokens = tokens[4:8] if len(tokens) == 9 else tokens[6:10]

    @property
    def subject(self) -> str:
        return self._message.subject

    @property
    def data(self) -> bytes:
        return self._message.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self._message.headers

    @property
    def num_delivered(self) -> int:
        """1 for the first time."""
        return int(self._tokens[0])

    @property
    def stream_seq(self) -> int:
        return int(self._tokens[1])

    @property
    def stored_at(self) -> int:
        """When the stream took it, in nanoseconds since 1970: together with `stream_seq` it tells this message from any
        other, also from those of a stream that was there before.
        """
        return int(self._tokens[3])

    async def ack(self) -> None:
        """Done: never again."""
        await self._bus.publish(self._message.reply, b"+ACK")

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """Not done: again, after this delay."""
        delay = b' {"delay": %d}' % round(delay_seconds * 1e9) if delay_seconds > 0 else b""
        await self._bus.publish(self._message.reply, b"-NAK" + delay)

    async def in_progress(self) -> None:
        """Still at it: the ack wait begins anew."""
        await self._bus.publish(self._message.reply, b"+WPI")

    async def term(self, reason: str) -> None:
        """Given up: never again, and the server's advisory tells the reason."""
        await self._bus.publish(self._message.reply, b"+TERM " + reason.encode())


class Puller:
    """Our share of a durable consumer. One fetch at a time."""

    def __init__(self, bus: "Bus", stream: str, durable: str):
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._name = f"{stream}/{durable}"
        self._inbox = bus.new_inbox()
        self._round = 0
        self._wanted = 0
        self._arrived: deque[Message] = deque()
        self._ended: str | None = None
        self._wake = asyncio.Event()
        self._subscription: Subscription | None = None
        self._forget: Callable[[], None] = bus.on_reconnect(self._on_reconnect)

    @classmethod
    async def open(cls, bus: "Bus", stream: str, durable: str) -> "Puller":
        puller = cls(bus, stream, durable)
        puller._subscription = await bus.listen(f"{puller._inbox}.*", puller._on_message)
        return puller

    async def fetch(self, batch: int, timeout_seconds: float) -> list[Delivery]:
        """Up to `batch` messages: at once if there are any, else the first that come within
        `timeout_seconds`.

        Empty when none came. Raises BusUnavailable when the consumer or its stream is not there (any more):
        provision again, wait a little, fetch again.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while not self._arrived:
            remaining = deadline - loop.time()
            if remaining <= 0.001:
                return []
            await self._ask(batch, remaining)
            await self._wait(deadline)
            if not self._arrived and self._ended not in (None, _RECONNECTED, *_NO_MORE):
                raise BusUnavailable(f"consumer {self._name}: {self._ended}")
        taken = min(batch, len(self._arrived))
        return [Delivery(self._bus, self._arrived.popleft()) for _ in range(taken)]

    async def close(self) -> None:
        """Stop. Messages that have arrived and were not taken come again, to anybody, after the ack wait."""
        self._forget()
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def _ask(self, batch: int, seconds: float) -> None:
        self._round += 1
        self._wanted = batch
        self._ended = None
        # no_wait together with expires: wait for the first message, then end with the last that is there.
        request = {"batch": batch, "expires": int(seconds * 1e9), "no_wait": True}
        await self._bus.publish(self._next, msgspec.json.encode(request), reply=f"{self._inbox}.{self._round}")

    async def _wait(self, deadline: float) -> None:
        """Return when the batch is complete, when the server has ended it, or when the time is over."""
        loop = asyncio.get_running_loop()
        while len(self._arrived) < self._wanted and self._ended is None:
            self._wake.clear()
            until = min(deadline, loop.time() + _TOGETHER_SECONDS) if self._arrived else deadline
            try:
                async with asyncio.timeout_at(until):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _on_message(self, message: Message) -> None:
        if not message.subject.startswith(self._inbox):
            self._arrived.append(message)
            # The first one changes what is waited for; waking for each would cost more than the message
            # itself.
            if len(self._arrived) in (1, self._wanted):
                self._wake.set()
        elif message.subject == f"{self._inbox}.{self._round}":
            status = message.headers.get("Status", "")
            self._ended = status if status in _NO_MORE else f"{status} {message.headers.get('Description', '')}".strip()
            self._wake.set()

    def _on_reconnect(self) -> None:
        self._ended = _RECONNECTED
        self._wake.set()
