"""A read model that another package brings: run, rebuilt and verified as those of Playhead; a fault stops it alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

import msgspec
import psycopg
import pytest
from spend_by_day import SPEND_BY_DAY

from playhead_contracts.events import BlockCompleted
from playhead_eventlog import EventLog, open_log, open_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.extensions import every_projection, installed
from playhead_projector.folding import Changes
from playhead_projector.projections import Projection, Row
from playhead_projector.projector import ProjectionStopped, Projector
from playhead_projector.rebuild import rebuild
from playhead_projector.verifying import verify_read_models
from tests.conftest import Database
from tests.derived import NAMES, caught_up, rows
from tests.projecting import is_true, projecting, settings
from tests.system import eventually
from tests.traffic import Traffic


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


async def spent_in_the_log(log: EventLog, until: int) -> dict[tuple[str, str], int]:
    """Cents by tenant and workflow, counted by hand."""
    found: Counter[tuple[str, str]] = Counter()
    events = await log.hydrate([raw.decode() for raw in await log.read_log(0, 1_000_000) if raw.position <= until])
    for event in events:
        if isinstance(event.data, BlockCompleted) and event.data.outputs == {"spent_cents": 1250}:
            found[event.envelope.tenant, str(event.envelope.workflow_id)] += 1250
    return dict(found)


async def spent(database: Database, schema: str = "read") -> dict[tuple[str, str], int]:
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        await connection.execute(f"set search_path = {schema}")  # pyright: ignore[reportArgumentType, reportCallIssue]
        cursor = await connection.execute(
            "select tenant, workflow_id, sum(cents)::bigint from spend_by_day group by tenant, workflow_id"
        )
        return {(tenant, workflow): cents for tenant, workflow, cents in await cursor.fetchall()}


async def test_the_example_adds_up_what_was_spent_live_rebuilt_and_at_any_position(
    log: EventLog, database: Database
) -> None:
    assert installed().faults == {}
    assert SPEND_BY_DAY in every_projection()
    async with projecting(log, database):
        await Traffic(log, seed=51).run(60)
        last = await caught_up(log, database)
        await rebuild(settings(database), ["spend_by_day"])
        await Traffic(log, seed=52).run(60)
        last = await caught_up(log, database)
    right = await spent_in_the_log(log, last)
    assert right
    assert await spent(database) == right
    await rebuild(settings(database), to=last // 2, name="half")
    assert await spent(database, "read_at_half") == await spent_in_the_log(log, last // 2)
    assert (await verify_read_models(settings(database))).intact
    await rebuild(settings(database))
    assert await spent(database) == right


async def test_a_fault_in_a_read_model_of_somebody_else_stops_it_alone(log: EventLog, database: Database) -> None:
    def fails(changes: Changes) -> list[Row]:
        if changes.events:
            raise ZeroDivisionError
        return []

    broken: list[Projection] = [
        msgspec.structs.replace(each, apply=fails) if each is SPEND_BY_DAY else each for each in every_projection()
    ]
    await Traffic(log, seed=53).run(20)
    async with projecting(log, database, broken) as projector:
        last = await caught_up(log, database, [name for name in NAMES if name != "spend_by_day"])
        await eventually(lambda: is_true(projector.halted.keys() == {"spend_by_day"}))
    stopped_at = await rows(database)
    assert stopped_at["spend_by_day"] == []
    # Mended, it goes on where it stopped.
    async with projecting(log, database):
        await caught_up(log, database)
    assert await spent(database) == await spent_in_the_log(log, last)


async def test_a_table_that_cannot_be_made_stops_its_projection_alone(log: EventLog, database: Database) -> None:
    table = msgspec.structs.replace(SPEND_BY_DAY.table, name="odd", indexes={"odd": "(nothing)"})
    odd = msgspec.structs.replace(SPEND_BY_DAY, table=table)
    await Traffic(log, seed=54).run(10)
    async with projecting(log, database, [*every_projection(), odd]) as projector:
        await caught_up(log, database)
        assert projector.halted.keys() == {"odd"}
        with pytest.raises(ProjectionStopped, match='odd stopped: its table cannot be made: column "nothing"'):
            await projector.check()


async def test_an_entry_point_that_cannot_be_loaded_is_named_and_the_others_go_on(
    log: EventLog, database: Database
) -> None:
    await Traffic(log, seed=55).run(5)
    async with open_tail(log, database.service_url) as tail:
        faults = {"broken": "broken:TABLE cannot be loaded: ImportError: no module named broken"}
        projector = Projector(log, tail, database.service_url, every_projection(), faults)
        task = asyncio.create_task(projector.run())
        await caught_up(log, database)
        with pytest.raises(ProjectionStopped, match="broken stopped: broken:TABLE cannot be loaded"):
            await projector.check()
        await stop_tasks(task)
