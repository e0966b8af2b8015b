"""Interest in a subject, and what has arrived for it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from playhead_runtime.messages import Message

_BACKLOG_LIMIT = 8192


class Backlog:
    """What has arrived and was not taken yet, up to a limit."""

    def __init__(self) -> None:
        self.dropped = 0
        self._arrived: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    async def put(self, message: Message) -> None:
        if len(self._arrived) >= _BACKLOG_LIMIT:
            self.dropped += 1
            return
        self._arrived.append(message)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.clear()
        self._wake.set()

    async def messages(self) -> AsyncIterator[Message]:
        while not self._ended:
            while self._arrived:
                yield self._arrived.popleft()
            self._wake.clear()
            if not self._ended:
                await self._wake.wait()


class Subscription:
    """Interest in a subject, until `unsubscribe`. Iterate over it to get the messages, unless a callback
    gets them.

    Use it as a context manager to unsubscribe at the end of a block.
    """

    def __init__(self, stop: Callable[[], Awaitable[None]], backlog: Backlog):
        self._stop = stop
        self._backlog = backlog
        self.is_closed = False

    @property
    def dropped(self) -> int:
        """How many messages were thrown away because nobody took them: a slow reader does not cost memory."""
        return self._backlog.dropped

    async def unsubscribe(self) -> None:
        """Stop at once; what has arrived and was not taken is dropped. Twice is the same as once."""
        if self.is_closed:
            return
        self.end()
        await self._stop()

    def end(self) -> None:
        """No more messages will come: iterating ends."""
        self.is_closed = True
        self._backlog.end()

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._backlog.messages()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.unsubscribe()
