"""Having the bus copy made again from some position of the log on, and seeing how far it is."""

import asyncio
import time

import msgspec
import psycopg
from psycopg.errors import UndefinedFunction

from playhead_contracts.errors import Refused, Unavailable
from playhead_eventlog import EventLog, LogUnavailable, open_log
from playhead_projector.building import Progress, Told, tell_nobody
from playhead_projector.rebuild import NotMigrated, PositionNotReached
from playhead_projector.relay import NAME
from playhead_projector.settings import Settings
from playhead_projector.store import RELAY_LOCK, Store, open_store

PATIENCE_SECONDS = 10.0
"""How long to wait for a projector to relay, before it is said that there is none."""
_LOOK_SECONDS = 0.1


class NoRelay(Unavailable):
    """Nobody carries the request out now. It stands."""

    def __init__(self, position: int):
        super().__init__(f"no projector is relaying; the first one that does will begin again at position {position}")


class WrongRange(Refused):
    problem, title, status = "wrong-range", "There is nothing between these positions", 422


class RelayReport(msgspec.Struct, frozen=True):
    """What was published again: the events from one position to another, that are in the log."""

    from_position: int
    to_position: int
    positions: int
    seconds: float


async def relay_from(
    settings: Settings, position: int, until: int | None = None, told: Told = tell_nobody
) -> RelayReport:
    """Have the bus copy emptied and begun again at `position`; returns when it has come to `until`.

    That is where the log ends now, unless given. The relay that is at work does it, so the copy goes on from there
    by itself, whether anybody waits or not. Raises PositionNotReached and WrongRange before anything is asked for,
    NoRelay, NotMigrated and LogUnavailable.
    """
    try:
        async with open_log(settings.database_url, readers=1) as event_log, open_store(settings.database_url) as store:
            until = await _checked(event_log, position, until)
            started = time.perf_counter()
            await store.create_relay_requests()
            await _begun(store, await store.ask_relay(position), position)
            while (reached := await store.position(NAME)) < until:
                told(Progress(reached - position + 1, reached, until))
                await asyncio.sleep(_LOOK_SECONDS)
            return RelayReport(position, until, until - position + 1, time.perf_counter() - started)
    except UndefinedFunction as exc:
        raise NotMigrated from exc
    except psycopg.OperationalError as exc:
        raise LogUnavailable(f"the database does not answer: {exc}") from exc


async def _checked(event_log: EventLog, position: int, until: int | None) -> int:
    last = await event_log.last_position()
    until = last if until is None else until
    for each in (position, until):
        if each > last:
            raise PositionNotReached(each, last)
    if not 1 <= position <= until:
        raise WrongRange(f"from {position} to {until}: positions begin at 1, and the first is not after the last")
    return until


async def _begun(store: Store, request: int, position: int) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while not await store.has_relay_begun(request):
        if await store.is_locked(RELAY_LOCK):
            deadline = loop.time() + PATIENCE_SECONDS
        elif loop.time() >= deadline:
            raise NoRelay(position)
        await asyncio.sleep(_LOOK_SECONDS)
