"""Putting tables that were built in the place of the live ones.

They all but catch up; then one short transaction locks the live checkpoints (the live projector, which locks them first
in every batch, stands still), reads the few events that are left up to where readers have seen the live ones, and swaps
tables and checkpoints together. The live projector finds its checkpoint moved and goes on from there, so no event is
missed and no reader sees time go backwards.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.errors import LockNotAvailable

from playhead_contracts.errors import Unavailable
from playhead_projector.building import Build
from playhead_projector.queries import BUILDING, SET_PREFIX
from playhead_projector.store import MadeByNewer

log = logging.getLogger("playhead.projector.rebuild")

CLOSE_ENOUGH_EVENTS = 500
"""So far behind, the rest is read while the live projector waits: some 20 ms."""
SWAP_ATTEMPTS = 30


class ReadersInTheWay(Unavailable):
    """A long query or a forgotten transaction keeps the tables from being swapped."""

    def __init__(self) -> None:
        super().__init__("somebody has been reading a live table all the time, so it could not be swapped; try again")


@asynccontextmanager
async def built(build: Build) -> AsyncGenerator[None]:
    """Empty tables to build in, of which nothing is left when it fails."""
    try:
        await build.begin()
        yield
    except BaseException:
        # A connection that is lost cannot drop them; they are never read, and the next rebuild does.
        with suppress(psycopg.Error):
            await build.store.drop_building()
        raise


async def swap(build: Build, *, downgrade: bool = False) -> None:
    """Catch up, and take the place of the live tables. Raises MadeByNewer, and ReadersInTheWay after 15 seconds."""
    store, schema = build.store, build.schema
    await _catch_up(build)
    await build.finish()
    for attempt in range(1, SWAP_ATTEMPTS + 1):
        await _catch_up(build)
        before = dict(build.positions), build.events
        try:
            async with store.swapping(build.projections) as seen:
                # It was looked at before, but a newer one may have come meanwhile.
                if not downgrade and (newer := [p.name for p in build.projections if seen[p.name].version > p.version]):
                    raise MadeByNewer(newer)
                live = (checkpoint.position for checkpoint in seen.values())
                await build.read_to(max(*live, *build.positions.values()))
                await store.swap_in(build.projections, schema, build.position)
                await (store.drop_building() if schema == BUILDING else store.drop_set(schema.removeprefix(SET_PREFIX)))
            return
        except LockNotAvailable as exc:
            # A reader in a long query holds a live table: let the projector go on and try again.
            if attempt == SWAP_ATTEMPTS:
                raise ReadersInTheWay from exc
            log.warning("swap waits for readers", extra={"attempt": attempt})
            build.back_to(*before)


async def _catch_up(build: Build) -> None:
    """Read on to where the log ends, until few events were added meanwhile."""
    while True:
        last = await build.event_log.last_position()
        behind = last - build.position
        await build.read_to(last)
        if behind <= CLOSE_ENOUGH_EVENTS:
            return
