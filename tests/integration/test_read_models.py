"""Sets of read models beside the live ones: as they were, compared, promoted, dropped; and the live ones verified."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from playhead_contracts.ids import WorkflowId
from playhead_eventlog import EventLog, open_log
from playhead_projector.building import Progress
from playhead_projector.comparing import compare, list_sets
from playhead_projector.rebuild import AnotherRebuild, TimeNotReached, abort, promote, rebuild
from playhead_projector.sets import BadSetName, SetExists, UnknownSet
from playhead_projector.verifying import verify_read_models
from tests.conftest import Database
from tests.derived import NAMES, caught_up, rows
from tests.processes import processes
from tests.projecting import is_true, projecting, settings
from tests.system import eventually
from tests.traffic import Traffic

Rows = dict[str, list[str]]


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


async def schemas(database: Database) -> set[str]:
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        cursor = await connection.execute("select nspname from pg_namespace where nspname like 'read%'")
        return {row[0] for row in await cursor.fetchall()}


async def execute(database: Database, *statements: str) -> None:
    """As the superuser, whom nothing keeps from writing read models."""
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        for statement in statements:
            await connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def history(log: EventLog, database: Database) -> tuple[int, datetime, Rows]:
    """Traffic in two parts: position, time and rows after the first."""
    async with projecting(log, database):
        traffic = Traffic(log, seed=21)
        await traffic.publish(WorkflowId("refunds"))
        await traffic.run(30)
        then = await caught_up(log, database)
        at, live = datetime.now(UTC), await rows(database)
        await traffic.run(30)
        await traffic.publish(WorkflowId("refunds"), 2)
        await caught_up(log, database)
    assert all(live.values())
    return then, at, live


async def test_a_set_holds_the_rows_that_the_live_read_models_had_at_its_position(
    log: EventLog, database: Database
) -> None:
    position, _, then = await history(log, database)
    now = await rows(database)
    report = await rebuild(settings(database), to=position)
    assert (report.set, report.position, report.is_live) == (str(position), position, False)
    assert await rows(database, f"read_at_{position}") == then
    assert await rows(database) == now != then
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        # What is asked of the live ones can be asked of the set.
        await connection.execute("set search_path = read_at_%s" % position)  # pyright: ignore[reportArgumentType, reportCallIssue]
        cursor = await connection.execute(
            "select count(*), min(c.position), max(c.position) from executions, checkpoints c"
        )
        assert await cursor.fetchone() == (len(then["executions"]) * len(NAMES), position, position)
    listed = {each.name: each for each in await list_sets(settings(database))}
    assert listed.keys() == {"live", str(position)}
    assert set(listed[str(position)].positions.values()) == {position}
    assert (listed["live"].state, listed[str(position)].state) == ("live", "whole")


async def test_a_set_can_be_built_as_of_a_time_and_have_a_name(log: EventLog, database: Database) -> None:
    position, at, then = await history(log, database)
    report = await rebuild(settings(database), to=at, name="before_the_fix")
    assert (report.position, report.tables[0]) == (position, f"read_at_before_the_fix.{NAMES[0]}")
    assert await rows(database, "read_at_before_the_fix") == then
    empty = await rebuild(settings(database), ["workflows"], to=at - timedelta(days=1), name="empty")
    assert (empty.position, empty.events) == (0, 0)
    with pytest.raises(SetExists):
        await rebuild(settings(database), to=1, name="empty")
    with pytest.raises(TimeNotReached):
        await rebuild(settings(database), to=datetime.now(UTC) + timedelta(minutes=1))
    for name in ("live", "building", "No", "a-b", "x" * 41):
        with pytest.raises(BadSetName):
            await rebuild(settings(database), to=1, name=name)
    assert await schemas(database) == {"read", "read_at_before_the_fix", "read_at_empty"}


async def test_a_comparison_names_every_row_and_column_that_differs(log: EventLog, database: Database) -> None:
    await history(log, database)
    last = await log.last_position()
    await rebuild(settings(database), to=last, name="copy")
    same = await compare(settings(database), "live", "copy")
    assert (same.same, same.tables, set(same.same_tables)) == (True, (), set(NAMES))
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        cursor = await connection.execute("select execution_id::text, status from read.executions order by 1 limit 2")
        (first, status), (second, _) = await cursor.fetchall()
    await execute(
        database,
        f"update read_at_copy.executions set status = 'odd', output = null where execution_id = '{first}'",
        f"delete from read_at_copy.executions where execution_id = '{second}'",
        "insert into read_at_copy.workflows values ('acme', 'extra', 7, 'd', now(), null, 1)",
        "alter table read_at_copy.pauses drop column digest",
        "drop table read_at_copy.spend_by_day",
    )
    found = await compare(settings(database), "live", "copy")
    tables = {table.table: table for table in found.tables}
    assert not found.same
    assert tables.keys() == {"executions", "workflows", "pauses", "spend_by_day"}
    executions = tables["executions"]
    assert (executions.only_in_a, executions.only_in_b, executions.differing) == (1, 0, 1)
    by_key = {row.key["execution_id"]: row for row in executions.rows}
    assert (by_key[second].only_in, by_key[first].only_in) == ("a", None)
    assert by_key[first].columns["status"] == (status, "odd")
    assert by_key[first].columns.keys() <= {"status", "output"}
    assert tables["workflows"].rows[0].key == {"tenant": "acme", "workflow_id": "extra", "version": "7"}
    assert tables["workflows"].rows[0].only_in == "b"
    assert (tables["pauses"].shape, tables["spend_by_day"].shape) == ("column digest only in a", "only in a")
    with pytest.raises(UnknownSet):
        await compare(settings(database), "live", "nobody")


async def test_a_set_that_is_promoted_under_traffic_catches_up_and_nothing_is_lost(
    log: EventLog, database: Database
) -> None:
    async with projecting(log, database) as projector:
        await Traffic(log, seed=22).run(20)
        await rebuild(settings(database), to=await log.last_position() // 2, name="next")
        promoting = asyncio.create_task(promote(settings(database), "next"))
        seed = 23
        while not promoting.done() or seed < 26:
            await Traffic(log, seed=seed).run(20, at_once=4)
            seed += 1
        assert (await promoting).is_live
        last = await caught_up(log, database)
        assert projector.halted == {}
        assert await schemas(database) == {"read"}
        live = await rows(database)
    await rebuild(settings(database), to=last, name="again")
    assert await rows(database, "read_at_again") == live
    with pytest.raises(UnknownSet):
        await promote(settings(database), "next")
    with pytest.raises(UnknownSet):
        await promote(settings(database), "live")


async def test_while_a_set_is_promoted_readers_see_the_live_one_and_then_the_new_one(
    log: EventLog, database: Database
) -> None:
    await history(log, database)
    await rebuild(settings(database), to=5, name="old")
    seen: list[int] = []

    def look(progress: Progress) -> None:
        with psycopg.connect(database.service_url, autocommit=True) as connection:
            connection.execute("set statement_timeout = '5s'")
            row = connection.execute("select count(*) from read.executions").fetchone()
            assert row is not None
            seen.append(row[0])

    before = await rows(database)
    await promote(settings(database), "old", look)
    assert set(seen) == {len(before["executions"])}
    assert await rows(database) == before


async def test_an_abort_leaves_no_schema_and_neither_does_a_rebuild_that_is_stopped(
    log: EventLog, database: Database
) -> None:
    position, _, _ = await history(log, database)
    before = await rows(database)
    begun = asyncio.Event()
    for to in (position, None):
        begun.clear()
        task = asyncio.create_task(rebuild(settings(database), to=to, told=lambda _: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await schemas(database) == {"read"}
    await rebuild(settings(database), to=position, name="unwanted")
    await abort(settings(database), "unwanted")
    assert await schemas(database) == {"read"}
    with pytest.raises(UnknownSet):
        await abort(settings(database), "unwanted")
    assert await rows(database) == before


async def done(clean_up: Callable[[], Awaitable[object]]) -> bool:
    """PostgreSQL takes a moment to see that a process is gone."""
    try:
        await clean_up()
    except AnotherRebuild:
        return False
    return True


@pytest.mark.parametrize("to", ["100", ""])
async def test_what_a_killed_rebuild_leaves_is_never_read_and_goes_with_the_next_or_an_abort(
    log: EventLog, database: Database, tmp_path: Path, to: str
) -> None:
    await history(log, database)
    before = await rows(database)
    async with processes(tmp_path, database_url=database.service_url, nats_url="nats://unused", rebuild_to=to) as made:
        for clean_up in (lambda: abort(settings(database), "100"), lambda: rebuild(settings(database))):
            service = await made.start("rebuild", module="tests.dying_rebuild")
            assert await service.process.wait() == -9, service.log()
            assert await schemas(database) == {"read", "read_building"}
            assert {each.name: each.state for each in await list_sets(settings(database))} == {
                "live": "live",
                "building": "unfinished",
            }
            assert await rows(database) == before

            await eventually(lambda clean_up=clean_up: done(clean_up))
            assert await schemas(database) == {"read"}
            assert await rows(database) == before


async def test_read_models_are_verified_under_traffic_and_found_intact(log: EventLog, database: Database) -> None:
    async with projecting(log, database):
        await Traffic(log, seed=24).run(20)
        await caught_up(log, database)
        traffic = asyncio.create_task(Traffic(log, seed=25).run(200, at_once=4))
        checked = 0
        while not traffic.done() or checked == 0:
            report = await verify_read_models(settings(database))
            assert (report.intact, report.tables, report.unchecked) == (True, (), {})
            assert report.positions.keys() == set(NAMES)
            checked += 1
        await traffic
    assert await schemas(database) == {"read"}


async def test_a_row_that_was_tampered_with_is_found_with_its_key_its_column_and_both_values(
    log: EventLog, database: Database
) -> None:
    await history(log, database)
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        cursor = await connection.execute(
            "select execution_id::text, path, attempt from read.block_states order by execution_id, path limit 1"
        )
        [(execution_id, path, attempt)] = await cursor.fetchall()
    await execute(
        database,
        f"update read.block_states set attempt = 99 where execution_id = '{execution_id}' and path = '{path}'",
        "update read.spend_by_day set cents = cents + 1 where day = (select max(day) from read.spend_by_day)",
    )
    report = await verify_read_models(settings(database))
    assert not report.intact
    found = {table.table: table for table in report.tables}
    assert found.keys() == {"block_states", "spend_by_day"}
    [row] = found["block_states"].rows
    assert row.key == {"execution_id": execution_id, "path": path}
    assert row.columns == {"attempt": ("99", str(attempt))}
    assert {name for row in found["spend_by_day"].rows for name in row.columns} == {"cents"}
    assert await schemas(database) == {"read"}
    await rebuild(settings(database), ["block_states", "spend_by_day"])
    assert (await verify_read_models(settings(database))).intact


async def test_read_models_that_stopped_are_verified_as_far_as_they_came(log: EventLog, database: Database) -> None:
    traffic = Traffic(log, seed=27)
    await traffic.run(10)
    before = await log.last_position()
    await execute(
        database,
        "insert into log.events (stream_id, version, event_id, type, tenant, recorded_at, data, meta, prev_hash, hash) "
        "select stream_id, 9999, gen_random_uuid(), 'block.imagined', tenant, recorded_at, "
        '\'{"type":"block.imagined"}\', meta, hash, hash from log.events where position = 1',
    )
    await traffic.publish(WorkflowId("later"))
    async with projecting(log, database) as projector:
        last = await caught_up(log, database, ["workflows"])
        await eventually(lambda: is_true(len(projector.halted) == len(NAMES) - 1))
    report = await verify_read_models(settings(database))
    assert report.intact
    assert report.positions == {name: last if name == "workflows" else before for name in NAMES}


async def test_one_rebuild_at_a_time(log: EventLog, database: Database) -> None:
    await Traffic(log, seed=26).run(5)
    async with await psycopg.AsyncConnection.connect(database.service_url, autocommit=True) as other:
        await other.execute("select pg_advisory_lock(5062)")
        for refused in (
            rebuild(settings(database)),
            verify_read_models(settings(database)),
            abort(settings(database), "x"),
            promote(settings(database), "x"),
        ):
            with pytest.raises(AnotherRebuild):
                await refused
