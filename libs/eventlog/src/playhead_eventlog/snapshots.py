"""Snapshots: what a long stream folds to at some versions, so that it need not be folded from its beginning.

The log stays the truth. A snapshot is believed only if its bytes have its checksum, if the log holds the very event (by
its chain hash) at its version, if the same code made it that would fold on from it, and if it is a state of that stream
at that version. One that fails any of this is logged and deleted, and the next older one is tried; without any, the
stream is folded whole. Whoever had to read more than snapshots should let them leaves one behind for the next.

What a state is, this module does not know: see `Folds`. A state with sealed values in it is never kept: open it would
outlive their key, and closed it is of no use to those who act. Such a stream is folded from a snapshot that was made
before the first of them, or whole.
"""

import logging
from collections.abc import Iterable
from hashlib import sha256
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from playhead_contracts.events import Event
from playhead_contracts.ids import StreamId
from playhead_eventlog import queries
from playhead_eventlog.hydration import hydrate
from playhead_eventlog.reader import Reader, raws
from playhead_eventlog.stored import GENESIS, LogUnavailable, RawEvent, StreamHead
from playhead_eventlog.vault import Vault

log = logging.getLogger("playhead.eventlog")

EVERY = 1000
"""Events of a stream between two snapshots, and the most that are read after one of a short stream."""

PAGE = 1000
"""Events that are decoded and folded before others get their turn."""

MAX_BYTES = 16 * 1024 * 1024
"""Of a state that is kept: some dozens are, and of a larger one the outputs are what takes long to read."""

LAST_VERSION = 2**31 - 1

T = TypeVar("T")


class Folds(Protocol[T]):
    """How the events of a stream become a state. A protocol, for the log knows no engine."""

    @property
    def code(self) -> str:
        """Of what made a state: another code may mean something else by the same bytes."""
        ...

    def evolve(self, state: T | None, event: Event) -> T:
        """The next state; the one before is its to change. Raises Corrupt for an event that cannot come next."""
        ...

    def encode(self, state: T) -> bytes: ...

    def decode(self, content: bytes, stream_id: StreamId, version: int) -> T:
        """Raises ValueError for what is no state of this stream at this version."""
        ...


class _Stored(NamedTuple):
    """A row, and the hash of the event at its version, None if there is no such event."""

    version: int
    hash: bytes
    code: str
    checksum: bytes
    state: bytes
    event_hash: bytes | None

    def fault(self, code: str) -> str | None:
        """What is wrong with it."""
        if self.event_hash != self.hash:
            return "the log holds another event at this version"
        if self.code != code:
            return f"made by {self.code}, not {code}"
        return None if sha256(self.state).digest() == self.checksum else "the checksum is another"


class Snapshots:
    """The snapshots of one log. Every method raises LogUnavailable."""

    def __init__(self, reader: Reader, vault: Vault):
        self._reader = reader
        self._vault = vault

    async def fold(
        self, stream_id: StreamId, how: Folds[T], until: int = LAST_VERSION, *, opened: bool = True
    ) -> tuple[T | None, StreamHead]:
        """See `EventLog.fold`."""
        any_unsound = False
        while True:
            # One query is all for a stream without snapshots: there, its first event comes first.
            tail = raws(await self._reader.fetch(queries.SINCE_SNAPSHOT, (stream_id, stream_id, until, until, PAGE)))
            if tail and tail[0].version == 1:
                return await self._fold_on(_Way(stream_id, how, until, any_unsound, opened), None, GENESIS, tail)
            stored = await self._newest(stream_id, tail[0].version - 1 if tail else until)
            start = GENESIS if stored is None else StreamHead(stored.version, stored.hash)
            if tail and tail[0].version != start.version + 1:
                # It was dropped in between, or the log misses an event, which folding will say.
                tail = await self._reader.stream(stream_id, start.version, min(PAGE, until - start.version))
            way = _Way(stream_id, how, until, any_unsound, opened)
            if stored is None:
                if not tail:
                    tail = await self._reader.archived(stream_id, 0, min(PAGE, until))
                    way = way._replace(is_archived=bool(tail))
                return await self._fold_on(way, None, start, tail)
            try:
                return await self._fold_on(way, _read(stored, stream_id, how), start, tail)
            except _Unsound as unsound:
                any_unsound = True
                facts = {"stream_id": stream_id, "version": stored.version, "reason": str(unsound)}
                log.warning("snapshot passed over", extra=facts)
                row = (stream_id, stored.version, stored.checksum, stored.code)
                await self._reader.fetch(queries.DELETE_SNAPSHOT, row)

    async def save(self, stream_id: StreamId, head: StreamHead, code: str, content: bytes) -> None:
        """Keep the state at `head`, and drop snapshots that are closer together than they need to be."""
        if len(content) > MAX_BYTES:
            return
        rows = await self._reader.fetch(queries.SNAPSHOT_VERSIONS, (stream_id,))
        gone = surplus({int(row[0]) for row in rows} | {head.version})
        values = (stream_id, gone, stream_id, head.version, head.hash, code, sha256(content).digest(), content)
        await self._reader.fetch(queries.SAVE_SNAPSHOT, values)

    async def newest_version(self, stream_id: StreamId) -> int:
        """Of the newest snapshot, sound or not; 0 if there is none."""
        rows = await self._reader.fetch(queries.SNAPSHOT_VERSIONS, (stream_id,))
        return max((int(row[0]) for row in rows), default=0)

    async def _newest(self, stream_id: StreamId, until: int) -> _Stored | None:
        rows = await self._reader.fetch(queries.NEWEST_SNAPSHOT, (stream_id, until))
        return _Stored(*rows[0]) if rows else None

    async def _fold_on(
        self, way: "_Way[T]", state: T | None, start: StreamHead, tail: list[RawEvent]
    ) -> tuple[T | None, StreamHead]:
        head, has_sealed = start, False
        while tail:
            vault = self._vault if way.opened else None
            for event in await hydrate(self._reader, [raw.decode() for raw in tail], vault):
                has_sealed = has_sealed or event.envelope.seal is not None
                try:
                    state = way.how.evolve(state, event)
                except Exception as exc:
                    if start == GENESIS:
                        raise
                    # Whatever it is: without the snapshot it comes again, or it came of the snapshot.
                    raise _Unsound(f"version {event.version} cannot follow it: {exc}") from exc
            head = StreamHead(tail[-1].version, tail[-1].hash)
            wanted = min(PAGE, way.until - head.version)
            if len(tail) < PAGE or not wanted:
                break
            tail = await self._reader.stream(way.stream_id, head.version, wanted)
        is_long = head.version - start.version > way.longest_tail(head.version)
        # Of what is in the archive, nothing is kept in the log.
        if state is not None and is_long and not has_sealed and not way.is_archived:
            await self._leave(way, state, head)
        return state, head

    async def _leave(self, way: "_Way[T]", state: T, head: StreamHead) -> None:
        try:
            await self.save(way.stream_id, head, way.how.code, way.how.encode(state))
        except (LogUnavailable, msgspec.EncodeError, OverflowError) as exc:
            # Whoever reads has what was asked for; the next one finds no snapshot, and tries, too.
            log.warning("snapshot not kept", extra={"stream_id": way.stream_id, "reason": str(exc)})


class _Way(NamedTuple, Generic[T]):
    """What is folded, how, and how far; and whether a snapshot had to be passed over for it."""

    stream_id: StreamId
    how: Folds[T]
    until: int
    any_unsound: bool
    opened: bool
    is_archived: bool = False

    def longest_tail(self, version: int) -> int:
        """How many events may have been read without a snapshot being left for the next one."""
        if self.any_unsound:
            return EVERY
        # Twice what is allowed: where a batch of the projector ended is where its snapshot is.
        return 2 * (EVERY if self.until == LAST_VERSION else allowed_tail(version))


class _Unsound(Exception):
    """A snapshot is not what the stream folds to."""


def allowed_tail(version: int) -> int:
    """How many events may have to be read after a snapshot to get to a version."""
    return max(EVERY, version // 10)


def surplus(versions: Iterable[int]) -> list[int]:
    """Those snapshots without which no version is farther from one than it may be. The newest is never one of them."""
    gone: list[int] = []
    kept = 0
    for version, following in pairwise(sorted(versions)):
        farthest = following - 1
        if farthest - kept <= allowed_tail(farthest):
            gone.append(version)
        else:
            kept = version
    return gone


def _read(stored: _Stored, stream_id: StreamId, how: Folds[T]) -> T:
    """The state. Raises _Unsound."""
    fault = stored.fault(how.code)
    if fault is not None:
        raise _Unsound(fault)
    try:
        return how.decode(stored.state, stream_id, stored.version)
    except ValueError as exc:
        raise _Unsound(str(exc)) from exc
