"""Building read models anew from the log, beside the live ones and by the same code.

New tables are built in a schema that nobody reads, and take the place of the live ones (see `swapping.py`). Or they
are built up to a position and become a set: the schema gets the set's name when it is whole, `read_at_<name>`, and
holds the tables of `read` as they were. A set can be promoted: it catches up where it stands, and is swapped in.

One rebuild works at a time, the holder of an advisory lock. What it leaves behind when it is killed is never read; the
next one drops it, and so does `abort`.
"""

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import psycopg
from psycopg.errors import UndefinedFunction

from playhead_contracts.errors import Conflict, NotFound, Refused
from playhead_eventlog import EventLog, LogUnavailable, open_log
from playhead_projector import queries
from playhead_projector.building import Build, Told, tell_nobody
from playhead_projector.extensions import every_projection, installed
from playhead_projector.projections import Projection
from playhead_projector.queries import BUILDING, LIVE, SET_PREFIX
from playhead_projector.sets import SetExists, SetIsOfAnotherVersion, UnknownSet, checked_name, has_set, schema_of
from playhead_projector.settings import Settings
from playhead_projector.store import REBUILD_LOCK, MadeByNewer, Store, open_store
from playhead_projector.swapping import built, swap

log = logging.getLogger("playhead.projector.rebuild")


class RebuildReport(msgspec.Struct, frozen=True):
    """What a rebuild did. `tables` are the tables built; `is_live`: they took the place of the live ones.

    `set`: the name of the set that was made, or promoted. `failed`: read models that were left out, and why.
    """

    events: int
    seconds: float
    position: int
    tables: tuple[str, ...]
    is_live: bool
    set: str | None = None
    failed: dict[str, str] = {}


class UnknownProjection(NotFound):
    """Nobody knows a read model of this name."""

    def __init__(self, name: str):
        known = ", ".join(projection.name for projection in every_projection())
        fault = installed().faults.get(name)
        super().__init__(fault or f"there is no read model {name!r}; there are {known}")


class PositionNotReached(Refused):
    """The log is not that long."""

    problem, title = "position-not-reached", "The log has no such position yet"

    def __init__(self, position: int, last: int):
        super().__init__(f"the log ends at position {last}; it has no position {position}")


class TimeNotReached(Refused):
    """It is not that late."""

    problem, title = "time-not-reached", "This time has not come yet"

    def __init__(self, at: datetime):
        super().__init__(f"{at.isoformat()} is in the future: what happens until then is not in the log")


class AnotherRebuild(Conflict):
    """One rebuild at a time."""

    def __init__(self) -> None:
        super().__init__("another rebuild is running on this database; wait for it")


class NotMigrated(Conflict):
    """The schema of the database is of an older Playhead."""

    def __init__(self) -> None:
        super().__init__("the database is not at the newest schema; run `playhead migrate`")


async def rebuild(
    settings: Settings,
    names: Sequence[str] | None = None,
    to: int | datetime | None = None,
    name: str | None = None,
    told: Told = tell_nobody,
    *,
    downgrade: bool = False,
) -> RebuildReport:
    """Build the read models `names` (None: all) from the log and swap them in, while the live projector goes on.

    With `to`, build them as they were at that position, or after the last event recorded at that time or before, as
    the set `name`, which is the position if none is given. A read model that a newer version made is only built when
    `downgrade` is said.

    Raises UnknownProjection, BadSetName, SetExists, MadeByNewer, PositionNotReached, TimeNotReached, NotMigrated or
    AnotherRebuild before anything is done; Corrupt, or msgspec.DecodeError, when the log holds an event that cannot be
    folded; ProjectionFailed, ReadersInTheWay, LogUnavailable. Then the live ones are as they were, and nothing is
    beside them.
    """
    projections = _named(names)
    async with working(settings) as (event_log, store):
        started = time.perf_counter()
        position = None if to is None else await _position(event_log, to)
        if position is None:
            await store.create(projections)
            await _refuse_newer(store, projections, downgrade)
        else:
            name = checked_name(name or str(position))
            if await has_set(store, name):
                raise SetExists(name)
        build = Build(event_log, store, projections, BUILDING, told)
        async with built(build):
            if position is None:
                await swap(build, downgrade=downgrade)
            else:
                await build.read_to(position)
                await build.finish()
                await store.name_building(str(name))
        return _report(build, started, name if position is not None else None, is_live=position is None)


async def promote(settings: Settings, name: str, told: Told = tell_nobody) -> RebuildReport:
    """Bring a set to the head of the log and put it in the place of the live read models.

    When it fails, the set is still there, whole, at the position that it has come to. Raises UnknownSet, MadeByNewer,
    SetIsOfAnotherVersion or AnotherRebuild before anything is done; else as `rebuild`.
    """
    async with working(settings) as (event_log, store):
        started = time.perf_counter()
        schema = await schema_of(store, name)
        if schema == LIVE:
            raise UnknownSet(name)
        found = await store.checkpoints(None, schema)
        projections = [projection for projection in every_projection() if projection.name in found]
        strange = sorted(
            found.keys() - {projection.name for projection in projections if found[projection.name].fits(projection)}
        )
        if strange:
            raise SetIsOfAnotherVersion(name, strange)
        await store.create(projections)
        await _refuse_newer(store, projections, downgrade=False)
        build = Build(event_log, store, projections, schema, told)
        await build.go_on_from()
        await swap(build)
        return _report(build, started, name, is_live=True)


async def abort(settings: Settings, name: str) -> None:
    """Drop a set, and what a rebuild left behind that was killed. Raises UnknownSet, AnotherRebuild, LogUnavailable."""
    async with working(settings) as (_, store):
        was_building = await store.has_schema(BUILDING)
        if was_building:
            await store.drop_building()
        if await has_set(store, name):
            await store.drop_set(name)
        elif not was_building:
            raise UnknownSet(name)


async def renew(event_log: EventLog, url: str, projections: Sequence[Projection]) -> dict[str, str]:
    """Build those of `projections` anew that the live tables do not fit, and swap them in. Waits for other rebuilds.

    Gives those that failed, and why. Raises as `rebuild`, but for what it waits for.
    """
    async with open_store(url) as store:
        await store.win(REBUILD_LOCK)
        found = await store.checkpoints(projections)
        stale = [
            each
            for each in projections
            if not (found[each.name].fits(each) and await store.has_columns(each))
            and found[each.name].version <= each.version
        ]
        if not stale:
            return {}
        build = Build(event_log, store, stale, BUILDING)
        async with built(build):
            await swap(build)
        log.info("projections rebuilt", extra={"projections": [each.name for each in build.projections]})
        return build.failed


@asynccontextmanager
async def working(settings: Settings) -> AsyncGenerator[tuple[EventLog, Store]]:
    """The log, and a store that holds the lock of rebuilds. Raises AnotherRebuild, NotMigrated, LogUnavailable."""
    try:
        async with (
            open_log(settings.database_url, readers=1, archive_url=settings.archive_url) as event_log,
            open_store(settings.database_url) as store,
        ):
            if not await store.try_lock(REBUILD_LOCK):
                raise AnotherRebuild
            yield event_log, store
    except UndefinedFunction as exc:
        raise NotMigrated from exc
    except psycopg.OperationalError as exc:
        raise LogUnavailable(f"the database does not answer: {exc}") from exc


async def _position(event_log: EventLog, to: int | datetime) -> int:
    last = await event_log.last_position()
    if isinstance(to, datetime):
        if to > datetime.now(UTC):
            raise TimeNotReached(to)
        return await event_log.position_at(to)
    if not 0 <= to <= last:
        raise PositionNotReached(to, last)
    return to


async def _refuse_newer(store: Store, projections: Sequence[Projection], downgrade: bool) -> None:
    found = await store.checkpoints(projections)
    newer = [projection.name for projection in projections if found[projection.name].version > projection.version]
    if newer and not downgrade:
        raise MadeByNewer(newer)


def _named(names: Sequence[str] | None) -> Sequence[Projection]:
    known = {projection.name: projection for projection in every_projection()}
    if names is None:
        return list(known.values())
    if unknown := [name for name in names if name not in known]:
        raise UnknownProjection(unknown[0])
    return [known[name] for name in dict.fromkeys(names)]


def _report(build: Build, started: float, name: str | None, *, is_live: bool) -> RebuildReport:
    schema = LIVE if is_live else f"{SET_PREFIX}{name}"
    report = RebuildReport(
        events=build.events,
        seconds=time.perf_counter() - started,
        position=build.position,
        tables=tuple(queries.full_name(projection.table, schema) for projection in build.projections),
        is_live=is_live,
        set=name,
        failed=build.failed,
    )
    log.info("rebuilt", extra=msgspec.structs.asdict(report))
    return report
