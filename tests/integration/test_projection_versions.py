"""Projections change: the projector builds their tables anew by itself, and never back."""

import logging
from collections.abc import AsyncGenerator
from typing import Any, LiteralString, cast

import msgspec
import psycopg
import pytest
from psycopg.sql import SQL

from playhead_eventlog import EventLog, open_log
from playhead_projector.extensions import every_projection
from playhead_projector.folding import Changes
from playhead_projector.projections import Projection, Row
from playhead_projector.projector import ProjectionStopped
from playhead_projector.rebuild import promote, rebuild
from playhead_projector.sets import SetIsOfAnotherVersion
from playhead_projector.store import MadeByNewer
from playhead_projector.verifying import verify_read_models
from tests.conftest import Database
from tests.derived import NAMES, caught_up, rows
from tests.projecting import is_true, projecting, settings
from tests.system import eventually
from tests.traffic import Traffic

PAUSES = next(each for each in every_projection() if each.name == "pauses")


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


def with_pauses(**changed: Any) -> list[Projection]:
    """Every projection, with another version of the inbox."""
    return [msgspec.structs.replace(each, **changed) if each.name == "pauses" else each for each in every_projection()]


def with_column(changes: Changes) -> list[Row]:
    return [(*row, "new") for row in PAUSES.apply(changes)]


def newer() -> list[Projection]:
    """The inbox has one more column."""
    table = msgspec.structs.replace(PAUSES.table, columns={**PAUSES.table.columns, "colour": "text not null"})
    return with_pauses(version=PAUSES.version + 1, table=table, apply=with_column)


async def query(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        cursor = await connection.execute(SQL(cast(LiteralString, statement)))
        return await cursor.fetchall() if cursor.description else []


async def versions(database: Database) -> dict[str, int]:
    return dict(await query(database, "select projection, version from read.checkpoints"))  # pyright: ignore[reportArgumentType]


async def colours(database: Database) -> list[tuple[Any, ...]]:
    try:
        return await query(database, "select distinct colour from read.pauses")
    except psycopg.errors.UndefinedColumn:
        return []


async def test_a_new_version_is_built_beside_the_old_one_which_can_be_read_while_the_others_go_on(
    log: EventLog, database: Database
) -> None:
    await Traffic(log, seed=31).run(20)
    async with projecting(log, database):
        await caught_up(log, database)
    before = (await rows(database))["pauses"]
    async with await psycopg.AsyncConnection.connect(database.service_url, autocommit=True) as gate:
        # Somebody else's rebuild keeps this one waiting.
        await gate.execute("select pg_advisory_lock(5062)")
        async with projecting(log, database, newer()) as projector:
            await Traffic(log, seed=32).run(20)
            await caught_up(log, database, [name for name in NAMES if name != "pauses"])
            assert projector.aside.keys() == {"pauses"}
            assert (await rows(database))["pauses"] == before
            await projector.check()
            await gate.execute("select pg_advisory_unlock(5062)")
            await caught_up(log, database)
            assert await colours(database) == [("new",)]
            await eventually(lambda: is_true(not projector.aside))
            assert projector.halted == {}
    assert (await versions(database))["pauses"] == PAUSES.version + 1
    found = (await query(database, "select count(*) from read.pauses"))[0][0]
    async with projecting(log, database, newer()):
        await Traffic(log, seed=33).run(5)
        await caught_up(log, database)
    assert (await query(database, "select count(*) from read.pauses"))[0][0] >= found > len(before)


async def test_a_database_from_before_there_were_versions_heals_by_itself(log: EventLog, database: Database) -> None:
    await Traffic(log, seed=34).run(20)
    async with projecting(log, database):
        last = await caught_up(log, database)
    right = await rows(database)
    await query(database, "alter table read.pauses drop column digest")
    await query(database, "alter table read.checkpoints drop column version, drop column shape")
    await query(database, "drop table read.workflows")
    async with projecting(log, database) as projector:
        await eventually(lambda: healed(database, right))
        await eventually(lambda: is_true(not projector.aside))
    assert await versions(database) == {each.name: each.version for each in every_projection()}
    assert set(await query(database, "select position from read.checkpoints")) == {(last,)}


async def healed(database: Database, right: dict[str, list[str]]) -> bool:
    try:
        return await rows(database) == right
    except psycopg.errors.UndefinedTable:
        return False


async def test_of_two_processes_the_older_one_builds_nothing_back_and_makes_way(
    log: EventLog, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await Traffic(log, seed=35).run(20)
    async with projecting(log, database, newer()):
        await caught_up(log, database)
    table = (await rows(database))["pauses"]
    async with projecting(log, database) as older:
        await eventually(lambda: is_true("pauses" in older.aside))
        await Traffic(log, seed=36).run(10)
        await caught_up(log, database, [name for name in NAMES if name != "pauses"])
        assert (await rows(database))["pauses"] == table
        await older.check()
        said = [record for record in caplog.records if "stands aside" in record.message]
        assert [vars(record)["projection"] for record in said] == ["pauses"]
        with pytest.raises(MadeByNewer):
            await rebuild(settings(database))
        assert not (await verify_read_models(settings(database))).intact
        async with projecting(log, database, newer()) as newest:
            await caught_up(log, database)
            assert newest.is_writer
            assert not older.is_writer
    assert len(await colours(database)) == 1
    report = await rebuild(settings(database), ["pauses"], downgrade=True)
    assert report.is_live
    assert (await versions(database))["pauses"] == PAUSES.version
    assert (await verify_read_models(settings(database))).intact


async def test_only_who_holds_the_lock_builds_anew(log: EventLog, database: Database) -> None:
    await Traffic(log, seed=37).run(10)
    async with projecting(log, database) as first:
        await caught_up(log, database)
        async with projecting(log, database, newer()) as second:
            await Traffic(log, seed=38).run(5)
            await caught_up(log, database)
            assert (first.is_writer, second.is_writer, second.aside) == (True, False, {})
            assert (await versions(database))["pauses"] == PAUSES.version


async def test_a_new_version_that_fails_stops_alone_and_leaves_the_old_table(log: EventLog, database: Database) -> None:
    await Traffic(log, seed=39).run(20)
    async with projecting(log, database):
        await caught_up(log, database)
    before = (await rows(database))["pauses"]

    def fails(changes: Changes) -> list[Row]:
        raise KeyError("amount")

    def ragged(changes: Changes) -> list[Row]:
        return [row[:-1] for row in PAUSES.apply(changes)]

    for apply in (fails, ragged):
        broken = [
            # A second one that is built anew at the same time, and is well.
            msgspec.structs.replace(each, version=each.version + 1) if each.name == "executions" else each
            for each in with_pauses(version=PAUSES.version + 1, apply=apply)
        ]
        async with projecting(log, database, broken) as projector:
            await eventually(lambda projector=projector: is_true("pauses" in projector.halted))
            with pytest.raises(
                ProjectionStopped, match=r"pauses stopped: it cannot be rebuilt: .*failed between positions 0"
            ):
                await projector.check()
            await Traffic(log, seed=40).run(5)
            await caught_up(log, database, [name for name in NAMES if name != "pauses"])
            assert projector.halted.keys() == {"pauses"}
        assert (await rows(database))["pauses"] == before
        assert await query(database, "select nspname from pg_namespace where nspname like 'read\\_%'") == []
    assert (await versions(database))["executions"] > (await versions(database))["workflows"]


async def test_a_set_that_another_version_built_is_not_promoted(log: EventLog, database: Database) -> None:
    await Traffic(log, seed=41).run(10)
    await rebuild(settings(database), to=10, name="before")
    await query(database, "update read_at_before.checkpoints set version = 7 where projection = 'pauses'")
    with pytest.raises(SetIsOfAnotherVersion, match="pauses"):
        await promote(settings(database), "before")
