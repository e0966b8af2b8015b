"""The read models: what they hold, who writes them, and how they are built anew."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import psycopg
import pytest

from playhead_contracts.events import ExecutionCreated, ExecutionStarted
from playhead_contracts.ids import ExecutionId, WorkflowId, execution_stream
from playhead_engine.due import due_at
from playhead_engine.state import ExecutionState
from playhead_eventlog import GENESIS, EventLog, RawEvent, open_log
from playhead_projector.app import serve
from playhead_projector.bus_stream import find_end
from playhead_projector.folding import Folding
from playhead_projector.projector import ProjectionStopped
from playhead_projector.rebuild import PositionNotReached, UnknownProjection, rebuild
from playhead_projector.settings import Settings
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.derived import NAMES, caught_up, rows
from tests.projecting import folded, is_true, projecting, settings, states
from tests.system import eventually
from tests.traffic import TENANTS, Traffic, new_event


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


async def test_the_live_read_models_hold_the_fold_of_every_stream(log: EventLog, database: Database) -> None:
    async with projecting(log, database):
        traffic = Traffic(log)
        await traffic.run(60)
        last = await caught_up(log, database)
    found = await states(database)
    assert found == await folded(log, last)
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        cursor = await connection.execute(
            "select execution_id::text, status, version, open_pauses, due_at, blocks_run + blocks_failed "
            "from read.executions"
        )
        summaries = {row[0]: row[1:] for row in await cursor.fetchall()}
        cursor = await connection.execute(
            "select execution_id::text, path, status, version from read.block_states order by ordinal"
        )
        blocks: dict[str, list[tuple[str, str, int]]] = {}
        for execution_id, path, status, version in await cursor.fetchall():
            blocks.setdefault(execution_id, []).append((path, status, version))
        cursor = await connection.execute("select pause_id::text, status from read.pauses")
        pauses = {row[0]: row[1] for row in await cursor.fetchall()}
    for execution_id, state in found.items():
        settled = [b for b in state.blocks.values() if b.status in ("completed", "failed") and not b.reused_from]
        assert summaries[execution_id] == (
            state.status,
            state.version,
            len(state.open_pauses()),
            due_at(state),
            len(settled),
        )
        assert blocks.get(execution_id, []) == [(b.path, b.status, b.version) for b in state.blocks.values()]
    assert pauses == {pause_id: pause.status for state in found.values() for pause_id, pause in state.pauses.items()}


async def test_a_rebuild_gives_the_rows_that_the_live_projector_wrote(log: EventLog, database: Database) -> None:
    async with projecting(log, database):
        traffic = Traffic(log, seed=2)
        await traffic.publish(WorkflowId("refunds"))
        await traffic.run(60)
        await traffic.publish(WorkflowId("refunds"), 2)
        last = await caught_up(log, database)
    live = await rows(database)
    assert all(live.values())
    report = await rebuild(settings(database))
    assert (report.position, report.events, report.is_live) == (last, last, True)
    assert await rows(database) == live
    assert (await rebuild(settings(database))).tables == tuple(f"read.{name}" for name in NAMES)
    assert await rows(database) == live


async def test_a_rebuild_to_a_position_gives_the_states_as_they_were(log: EventLog, database: Database) -> None:
    await Traffic(log, seed=3).run(40)
    middle = await log.last_position() // 2
    report = await rebuild(settings(database), to=middle)
    assert report.tables == tuple(f"read_at_{middle}.{name}" for name in NAMES)
    assert not report.is_live
    assert await states(database, f"read_at_{middle}") == await folded(log, middle)


async def test_rebuilds_beside_live_traffic_lose_nothing_and_never_go_back(log: EventLog, database: Database) -> None:
    async with projecting(log, database) as projector:
        traffic = asyncio.create_task(Traffic(log, seed=4).run(250, at_once=4))
        rebuilt = 0
        while not traffic.done() or rebuilt < 3:
            before = max((state.version for state in (await safe_states(database)).values()), default=0)
            report = await rebuild(settings(database), ["block_states", "execution_states"] if rebuilt % 2 else None)
            assert report.is_live
            assert max((state.version for state in (await states(database)).values()), default=0) >= before
            rebuilt += 1
        await traffic
        last = await caught_up(log, database)
        assert projector.halted == {}
    live = await rows(database)
    await rebuild(settings(database), to=last)
    assert live == await rows(database, f"read_at_{last}")
    assert await states(database) == await folded(log, last)


async def safe_states(database: Database) -> dict[str, ExecutionState]:
    with suppress(psycopg.errors.UndefinedTable):
        return await states(database)
    return {}


async def test_a_rebuild_refuses_what_it_cannot_do(log: EventLog, database: Database) -> None:
    with pytest.raises(UnknownProjection, match="executions"):
        await rebuild(settings(database), ["execution"])
    with pytest.raises(PositionNotReached):
        await rebuild(settings(database), to=await log.last_position() + 1)


async def test_of_two_projectors_one_writes_and_the_other_takes_over(log: EventLog, database: Database) -> None:
    async with projecting(log, database) as first:
        await eventually(lambda: is_true(first.is_writer))
        async with projecting(log, database) as second:
            await Traffic(log, seed=6).run(10)
            await caught_up(log, database)
            assert (first.is_writer, second.is_writer) == (True, False)
            await cut_connections(database, "5060")
            await eventually(lambda: is_true(first.is_writer != second.is_writer))
            await Traffic(log, seed=7).run(10)
            last = await caught_up(log, database)
    assert await states(database) == await folded(log, last)


async def test_a_projector_goes_on_after_the_database_was_away(log: EventLog, database: Database) -> None:
    async with projecting(log, database) as projector:
        await Traffic(log, seed=8).run(10)
        await caught_up(log, database)
        await cut_connections(database)
        await Traffic(log, seed=9).run(10)
        last = await caught_up(log, database)
        assert projector.halted == {}
    assert await states(database) == await folded(log, last)


async def test_an_event_nobody_knows_stops_those_who_read_it_and_nobody_else(log: EventLog, database: Database) -> None:
    traffic = Traffic(log, seed=10)
    await traffic.run(10)
    before = await log.last_position()
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        # As a newer Playhead would write it.
        await connection.execute(
            "insert into log.events "
            "(stream_id, version, event_id, type, tenant, recorded_at, data, meta, prev_hash, hash) "
            "select stream_id, 9999, gen_random_uuid(), 'block.imagined', tenant, recorded_at, "
            '\'{"type":"block.imagined"}\', meta, hash, hash from log.events where position = 1'
        )
    await traffic.publish(WorkflowId("later"))
    await traffic.run(5)
    async with projecting(log, database) as projector:
        await caught_up(log, database, ["workflows"])
        await eventually(lambda: is_true(len(projector.halted) == 5))
        with pytest.raises(ProjectionStopped, match=r"executions stopped: at position \d+ \(block.imagined"):
            await projector.check()
        assert set(projector.halted) == set(NAMES) - {"workflows"}
        assert {halt.at.position for halt in projector.halted.values()} == {before}
    assert await states(database) == await folded(log, before)
    assert len((await rows(database))["workflows"]) == 1


async def test_folding_in_any_batches_gives_the_same_and_keeps_nothing_that_waits(log: EventLog) -> None:
    await Traffic(log, seed=13).run(40)
    batch = await log.read_log(0, 100_000)
    small, none_kept = Folding(log), Folding(log, keep=0)
    final: dict[str, ExecutionState] = {}
    for start in range(0, len(batch), 7):
        part: list[RawEvent] = batch[start : start + 7]
        changes = await small.changes(part, {"execution"})
        again = await none_kept.changes(part, {"execution"})
        assert [change.state for change in again.executions] == [change.state for change in changes.executions]
        final |= {change.state.execution_id: change.state for change in changes.executions}
    assert final == await folded(log, batch[-1].position)
    assert len(none_kept) == 0
    active = [state for state in final.values() if not state.is_ended and state.status != "paused"]
    assert len(small) == len(active)


async def test_an_execution_is_listed_as_due_until_somebody_has_to_wait_for_a_person(
    log: EventLog, database: Database
) -> None:
    execution_id = ExecutionId(new_id())
    created = ExecutionCreated(workflow_id=WorkflowId("w"), workflow_version=1, digest="d" * 64)
    started = ExecutionStarted(executor="e", epoch=1, command="c")
    events = [new_event(data, TENANTS[0], WorkflowId("w"), execution_id) for data in (created, started)]
    await log.append(execution_stream(execution_id), GENESIS, events)
    async with projecting(log, database):
        await caught_up(log, database)
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        cursor = await connection.execute(
            "select execution_id::text, tenant, due_at, version, status from read.executions "
            "where due_at < now() order by due_at limit 5"
        )
        assert await cursor.fetchall() == [
            (execution_id, "acme", events[1].recorded_at, 2, "running"),
        ]


async def test_the_service_keeps_up_until_it_is_told_to_stop(
    log: EventLog, database: Database, bus: Bus, nats_url: str
) -> None:
    stop = asyncio.Event()
    service = asyncio.create_task(serve(Settings(nats_url=nats_url, database_url=database.service_url), stop))
    await Traffic(log, seed=14).run(5)
    last = await caught_up(log, database)

    async def is_on_the_bus() -> bool:
        return (await find_end(bus)).position == last

    await eventually(is_on_the_bus)
    stop.set()
    await service


async def cut_connections(database: Database, holding_lock: str | None = None) -> None:
    """Break every connection to this database, or those that hold an advisory lock."""
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        await connection.execute(
            "select pg_terminate_backend(a.pid) from pg_stat_activity a where a.datname = current_database() "
            "and a.pid <> pg_backend_pid() and (%s::text is null or exists (select from pg_locks l where l.pid = a.pid "
            "and l.locktype = 'advisory' and l.objid::text = %s and l.granted))",
            (holding_lock, holding_lock),
        )
