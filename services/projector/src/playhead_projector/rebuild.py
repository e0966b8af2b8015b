"""Building read models anew from the log, beside the live ones and by the same code.

The new tables stand beside the live ones under a suffix. When they have all but caught up, one short transaction locks
the checkpoints (the live projector, which locks them first in every batch, stands still), reads the few events that
are left up to where readers have seen the live ones, and swaps tables and checkpoints together. The live projector
finds its checkpoint moved and goes on from there, so no event is missed and no reader sees time go backwards.

Built up to an earlier position, the tables stay beside the live ones, named after it. What a crash leaves behind is
never read, and dropped by the next rebuild of the same kind.
"""

import logging
import time
from collections.abc import Sequence

import msgspec
import psycopg
from psycopg.errors import LockNotAvailable

from playhead_contracts.errors import Conflict, NotFound, Refused
from playhead_eventlog import EventLog, LogUnavailable, RawEvent, open_log
from playhead_projector import queries
from playhead_projector.batches import Appetite
from playhead_projector.folding import Folding
from playhead_projector.projections import ALL, Projection
from playhead_projector.settings import Settings
from playhead_projector.store import REBUILD_LOCK, Store, open_store

log = logging.getLogger("playhead.projector.rebuild")

BUILDING = "__building"
MAX_EVENTS = 2000
CLOSE_ENOUGH_EVENTS = 500
"""So far behind, the rest is read while the live projector waits: some 20 ms."""
SWAP_ATTEMPTS = 30


class RebuildReport(msgspec.Struct, frozen=True):
    """What a rebuild did. `tables` are the tables built; `is_live`: they took the place of the live ones."""

    events: int
    seconds: float
    position: int
    tables: tuple[str, ...]
    is_live: bool


class UnknownProjection(NotFound):
    """Nobody knows a read model of this name."""

    def __init__(self, name: str):
        known = ", ".join(projection.name for projection in ALL)
        super().__init__(f"there is no read model {name!r}; there are {known}")


class PositionNotReached(Refused):
    """The log is not that long."""

    problem, title = "position-not-reached", "The log has no such position yet"

    def __init__(self, position: int, last: int):
        super().__init__(f"the log ends at position {last}; it has no position {position}")


class AnotherRebuild(Conflict):
    """One rebuild at a time."""

    def __init__(self) -> None:
        super().__init__("another rebuild is running on this database; wait for it")


async def rebuild(settings: Settings, names: list[str] | None = None, to: int | None = None) -> RebuildReport:
    """Build the read models `names` (None: all) from the log and swap them in, while the live projector goes on.

    With `to`, build them as they were at that position, in tables beside the live ones. Raises UnknownProjection,
    PositionNotReached or AnotherRebuild before anything is done; Corrupt, or msgspec.DecodeError, when the log holds an
    event that cannot be folded; LogUnavailable. Then the live ones are as they were.
    """
    projections = _named(names)
    try:
        async with open_log(settings.database_url, readers=1) as event_log, open_store(settings.database_url) as store:
            if not await store.try_lock(REBUILD_LOCK):
                raise AnotherRebuild
            last = await event_log.last_position()
            if to is not None and not 0 <= to <= last:
                raise PositionNotReached(to, last)
            await store.create(ALL)
            return await _Build(event_log, store, projections, to).run()
    except psycopg.OperationalError as exc:
        raise LogUnavailable(f"the database does not answer: {exc}") from exc


def _named(names: list[str] | None) -> Sequence[Projection]:
    known = {projection.name: projection for projection in ALL}
    if unknown := [name for name in names or () if name not in known]:
        raise UnknownProjection(unknown[0])
    return ALL if names is None else [known[name] for name in dict.fromkeys(names)]


class _Build:
    """One rebuild under way."""

    def __init__(self, event_log: EventLog, store: Store, projections: Sequence[Projection], to: int | None):
        self._log = event_log
        self._store = store
        self._projections = projections
        self._to = to
        self._suffix = BUILDING if to is None else f"__at_{to}"
        self._folding = Folding(event_log)
        self._appetite = Appetite(MAX_EVENTS)
        self._position: int = 0
        self._events: int = 0

    async def run(self) -> RebuildReport:
        started = time.perf_counter()
        for projection in self._projections:
            await self._store.create_anew(projection.table, self._suffix)
        await self._read_until(self._to, CLOSE_ENOUGH_EVENTS)
        for projection in self._projections:
            await self._store.create_indexes(projection.table, self._suffix)
            await self._store.analyze(projection.table, self._suffix)
        if self._to is None:
            await self._swap()
        suffix = "" if self._to is None else self._suffix
        report = RebuildReport(
            events=self._events,
            seconds=time.perf_counter() - started,
            position=self._position if self._to is None else self._to,
            tables=tuple(queries.full_name(projection.table, suffix) for projection in self._projections),
            is_live=self._to is None,
        )
        log.info("rebuilt", extra=msgspec.structs.asdict(report))
        return report

    async def _read_until(self, to: int | None, close_enough: int = 0) -> None:
        """Read on to position `to` (None: until fewer than `close_enough` events are left)."""
        while to is None or self._position < to:
            limit = self._appetite.limit
            found = await self._log.read_log(self._position, limit)
            batch = [raw for raw in found if to is None or raw.position <= to]
            if batch:
                await self._write(batch)
            if len(batch) < len(found) or not found or (to is None and len(found) < min(limit, close_enough)):
                return

    async def _write(self, batch: Sequence[RawEvent]) -> None:
        self._appetite.had(batch)
        changes = await self._folding.changes(batch, {projection.follows for projection in self._projections})
        rows = [(projection, projection.apply(changes)) for projection in self._projections]
        await self._store.write_beside(rows, self._suffix)
        self._position = batch[-1].position
        self._events += len(batch)

    async def _swap(self) -> None:
        for attempt in range(1, SWAP_ATTEMPTS + 1):
            await self._read_until(None, CLOSE_ENOUGH_EVENTS)
            before = self._position, self._events
            try:
                async with self._store.swapping(self._projections) as seen:
                    await self._read_until(seen)
                    await self._store.swap_in(self._projections, self._suffix, self._position)
                return
            except LockNotAvailable:
                # A reader in a long query holds a live table: let the projector go on and try again.
                if attempt == SWAP_ATTEMPTS:
                    raise
                log.warning("swap waits for readers", extra={"attempt": attempt})
                self._folding.forget()
                self._position, self._events = before
