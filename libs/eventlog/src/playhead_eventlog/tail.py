"""Following the log: every event once, in commit order, from any position.

Because positions are drawn under the append lock, position order is commit order: when an event can be seen, all
those before it can. `position > checkpoint` therefore never skips one, and the checkpoint is one integer. NOTIFY only
wakes the reader; it also looks by itself every second, so a lost notification costs time and nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection

from playhead_eventlog.log import EventLog
from playhead_eventlog.stopping import stop_tasks
from playhead_eventlog.stored import RawEvent

CHANNEL = "playhead_log"
LOOK_AGAIN_SECONDS = 1.0


class Tail:
    """A reader that waits at the end of the log. Use `open_tail`."""

    def __init__(self, log: EventLog, url: str):
        self._log = log
        self._url = url
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()

    async def next(self, after: int, limit: int) -> list[RawEvent]:
        """The events after position `after`, at most `limit`; waits up to a second for one, then gives none.

        Raises LogUnavailable.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOOK_AGAIN_SECONDS
        while True:
            self._news.clear()
            events = await self._log.read_log(after, limit)
            if events or loop.time() >= deadline:
                return events
            self._wanted.set()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                continue
            finally:
                self._wanted.clear()

    def wake(self) -> None:
        """Make a waiting `next` look now."""
        self._news.set()

    async def listen_forever(self) -> None:
        """Turn the database's notifications into wake-ups; reconnects for as long as the tail is open."""
        while True:
            try:
                async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
                    await connection.execute(f"listen {CHANNEL}")
                    self._news.set()
                    async for _ in connection.notifies():
                        self._news.set()
                        # While nobody waits, notifications stay unread: waking for each would cost the machine more
                        # than the reading, and one is enough.
                        await self._wanted.wait()
            except psycopg.OperationalError:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)


@asynccontextmanager
async def open_tail(log: EventLog, url: str) -> AsyncGenerator[Tail]:
    """A tail on the log at `url`."""
    tail = Tail(log, url)
    listener = asyncio.create_task(tail.listen_forever(), name="log notifications")
    try:
        yield tail
    finally:
        await stop_tasks(listener)
