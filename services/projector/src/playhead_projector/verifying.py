"""Whether the live read models are what the log says: they are built once more, beside, and compared row by row.

The last events are read inside one transaction that sees the live tables as they are at one moment, and builds up to
exactly where they are then. So nothing has to stand still, and a row that is in flight is no difference.
"""

import time

import msgspec

from playhead_projector.building import Build, Told, tell_nobody
from playhead_projector.comparing import TableDifference, compared
from playhead_projector.extensions import every_projection
from playhead_projector.queries import BUILDING, LIVE
from playhead_projector.rebuild import working
from playhead_projector.settings import Settings
from playhead_projector.store import Store
from playhead_projector.swapping import CLOSE_ENOUGH_EVENTS, built


class ReadModelsReport(msgspec.Struct, frozen=True):
    """What was found. In `tables`, `a` is the live table and `b` what the log says.

    `positions`: up to where each read model was checked. `unchecked`: those that were not, and why.
    """

    intact: bool
    events: int
    seconds: float
    positions: dict[str, int]
    tables: tuple[TableDifference, ...]
    unchecked: dict[str, str]


async def verify_read_models(settings: Settings, told: Told = tell_nobody) -> ReadModelsReport:
    """Build the read models as far as the live ones have come, and compare. Leaves nothing behind.

    Raises AnotherRebuild before anything is done, and what `rebuild` raises when the log cannot be read or folded.
    """
    async with working(settings) as (event_log, store):
        started = time.perf_counter()
        await store.create_checkpoints()
        found = await store.checkpoints(every_projection())
        unchecked: dict[str, str] = {}
        projections = [each for each in every_projection() if each.name in found]
        for projection in list(projections):
            if not found[projection.name].fits(projection):
                version = found[projection.name].version
                unchecked[projection.name] = f"made by version {version} of it; this is version {projection.version}"
                projections.remove(projection)
        build = Build(event_log, store, projections, BUILDING, told)
        async with built(build):
            behind = CLOSE_ENOUGH_EVENTS + 1
            while behind > CLOSE_ENOUGH_EVENTS:
                positions = await _live(store, build)
                behind = sum(positions.values()) - sum(build.positions.values())
                await build.read_to(positions)
            await build.finish()
            async with store.one_moment():
                positions = await _live(store, build)
                await build.read_to(positions)
                comparison = await compared(store, LIVE, BUILDING, [each.name for each in build.projections])
            await store.drop_building()
        unchecked |= build.failed
        return ReadModelsReport(
            intact=comparison.same and not unchecked,
            events=build.events,
            seconds=time.perf_counter() - started,
            positions=positions,
            tables=comparison.tables,
            unchecked=unchecked,
        )


async def _live(store: Store, build: Build) -> dict[str, int]:
    return {name: found.position for name, found in (await store.checkpoints(build.projections)).items()}
