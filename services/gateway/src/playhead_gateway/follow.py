"""Following one execution: its facts after a version, in order, each once, byte for byte, up to the last one.

The bus carries facts live, right after their commit, and may lose them; the log holds them all. A follower listens
first and reads the log then, so nothing falls between the two. After that the versions tell: a live fact that is not
newer is dropped, the next one is passed on, and one from further on means that something is missing, which is read from
the log. Because the very last fact can be lost as well, the log is also looked at when nothing has come for a while,
and when the bus is back after an outage. A reader that is slow makes the follower drop what has come live, and read it
from the log when the reader is ready: memory is bounded, and nothing is skipped.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple, Self

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk
from playhead_contracts.events import TERMINAL, ExecutionPaused
from playhead_contracts.ids import ExecutionId, TenantId, execution_stream
from playhead_eventlog import EventLog
from playhead_gateway.chunk_shelf import CHUNK_TYPE, read_chunk
from playhead_gateway.problems import Stopping
from playhead_runtime.bus import Bus, Message, Subscription

LOOK_AGAIN_SECONDS = 1.0
LOOK_AGAIN_AT_MOST_SECONDS = 5.0
"""While nothing happens the log is looked at less and less often, down to this."""
_PAGE = 500
_MAX_WAITING = 1000

TERMINAL_TYPES = frozenset(kind.type_name() for kind in TERMINAL)
PAUSED_TYPE = ExecutionPaused.type_name()


class Fact(NamedTuple):
    """An event as it is stored (`events.join`). Version 0 is not stored: a chunk, shown to whoever is there."""

    version: int
    type: str
    frame: bytes
    chunk: Chunk | None = None


class _Head(msgspec.Struct):
    version: int = 0
    type: str = CHUNK_TYPE


_decode_head = msgspec.json.Decoder(_Head).decode


class Follows:
    """Opens followers, and ends them all when the gateway stops."""

    def __init__(self, log: EventLog, bus: Bus):
        self.log = log
        self.bus = bus
        self.is_stopping = False
        self._open: set[Follow | News] = set()

    def open(self, tenant: TenantId, execution_id: ExecutionId) -> "Follow":
        """A follower of this execution; it listens from `async with` on."""
        return Follow(self, tenant, execution_id)

    def news(self, subject: str) -> "News":
        """Wakes whoever reads the log when something is told on a subject; it listens from `async with` on."""
        return News(self, subject)

    def stop(self) -> None:
        """End all followers, and those that come: `Stopping` is raised in them."""
        self.is_stopping = True
        for follow in self._open:
            follow.wake()

    def add(self, follow: "Follow | News") -> None:
        self._open.add(follow)

    def remove(self, follow: "Follow | News") -> None:
        self._open.discard(follow)


class Follow:
    """One follower of one execution. Made by `Follows.open`."""

    def __init__(self, owner: Follows, tenant: TenantId, execution_id: ExecutionId):
        self._owner = owner
        self._subject = subjects.live(tenant, execution_id)
        self._stream = execution_stream(execution_id)
        self._waiting: list[Fact] = []
        self._is_missing = False
        self._news = asyncio.Event()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._owner.add(self)
        self._forget = self._owner.bus.on_reconnect(self._on_reconnect)
        try:
            self._subscription = await self._owner.bus.listen(self._subject, self._on_message)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._forget()
        self._owner.remove(self)
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def wake(self) -> None:
        """Make a waiting follower look at once."""
        self._news.set()

    async def facts(self, after: int, *, is_caught_up: bool = False) -> AsyncGenerator[list[Fact]]:
        """The facts after version `after`, in batches, until the execution has ended. An empty batch: still there.

        `is_caught_up`: the caller knows that `after` was the newest when the follower began to listen. Raises Stopping,
        and LogUnavailable.
        """
        version, patience = after, LOOK_AGAIN_SECONDS
        self._is_missing = self._is_missing or not is_caught_up
        while True:
            if self._owner.is_stopping:
                raise Stopping
            batch = self._take(version)
            if not batch and self._is_missing:
                self._is_missing = False
                batch = await self._read(version)
                # A whole page: there is more, and live facts would have to wait for it anyway.
                self._is_missing = self._is_missing or len(batch) == _PAGE
            if batch:
                yield batch
                version = max(version, *(fact.version for fact in batch))
                if any(fact.type in TERMINAL_TYPES for fact in batch):
                    return
                patience = LOOK_AGAIN_SECONDS
                continue
            if not await self._wait(patience):
                self._is_missing = True
                patience = min(patience * 1.5, LOOK_AGAIN_AT_MOST_SECONDS)
                yield []

    async def is_newest(self, version: int) -> bool:
        """Whether nothing has happened after `version`. Raises LogUnavailable."""
        return not await self._owner.log.read_raw(self._stream, version, 1)

    async def _read(self, after: int) -> list[Fact]:
        raws = await self._owner.log.read_raw(self._stream, after, _PAGE)
        return [Fact(raw.version, raw.type, raw.frame()) for raw in raws]

    def _take(self, version: int) -> list[Fact]:
        """What has come live and follows `version` without a gap. Notes when something is missing."""
        waiting, self._waiting = self._waiting, []
        self._news.clear()
        taken: list[Fact] = []
        for number, fact in enumerate(waiting):
            if fact.version == version + 1:
                version = fact.version
                taken.append(fact)
            elif fact.version == 0:
                taken.append(fact)
            elif fact.version > version:
                # What comes after the gap, chunks as well, waits until the log has told what is missing.
                self._is_missing = True
                self._waiting = waiting[number:]
                break
        return taken

    async def _wait(self, seconds: float) -> bool:
        """Whether there is something to look at, or nothing came within `seconds`."""
        if self._news.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _on_message(self, message: Message) -> None:
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.clear()
            self._is_missing = True
        self._waiting += [fact for frame in message.data.split(b"\n") if (fact := _heard(frame)) is not None]
        self._news.set()

    def _on_reconnect(self) -> None:
        self._is_missing = True
        self._news.set()


class News:
    """That something was told on a subject of the bus; not what. Made by `Follows.news`."""

    def __init__(self, owner: Follows, subject: str):
        self._owner = owner
        self._subject = subject
        self._is_there = asyncio.Event()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._owner.add(self)
        self._forget = self._owner.bus.on_reconnect(self.wake)
        try:
            self._subscription = await self._owner.bus.listen(self._subject, self._on_message)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._forget()
        self._owner.remove(self)
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def clear(self) -> None:
        """What has come until now is known."""
        self._is_there.clear()

    def wake(self) -> None:
        """Make a waiting reader look at once."""
        self._is_there.set()

    async def wait(self, seconds: float) -> None:
        """Return when something comes, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._is_there.wait()
        except TimeoutError:
            return

    async def _on_message(self, _: Message) -> None:
        self._is_there.set()


def _heard(frame: bytes) -> Fact | None:
    """What one line on the live bus says; None for what is neither fact nor chunk."""
    try:
        head = _decode_head(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if head.version:
        return Fact(head.version, head.type, frame)
    chunk = read_chunk(frame)
    # Written anew when it is told, so that it is one line whatever the worker's JSON looks like.
    return None if chunk is None else Fact(0, CHUNK_TYPE, b"", chunk)
