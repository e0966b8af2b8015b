"""Whoever rules the database can change anything in it, and `verify` finds it, and names the first event that is not
what was written. What no chain can tell, because it was computed anew, the signed checkpoints tell.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from itertools import pairwise
from pathlib import Path

import msgspec
import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from playhead_cli import offline
from playhead_cli.chains import Break
from playhead_cli.exports.jsonl import Lines
from playhead_cli.verifying import LogReport, Witnesses, verify_log, verify_stream
from playhead_contracts.errors import Corrupt
from playhead_eventlog import EventLog, open_log
from playhead_eventlog.checkpoints import Checkpoints
from playhead_eventlog.proving import Unproven
from playhead_eventlog.signing import SigningKey
from tests.conftest import Cluster, Database
from tests.forging import KEY, STREAMS, VERSIONS, Forger, Made, Row, forger, make, restore, save, signer

Tampering = Callable[[Forger, Made], Awaitable[None]]


class Prepared(msgspec.Struct, frozen=True):
    """A log that each test may change: it is put back afterwards, which is quicker than a database each."""

    database: Database
    made: Made


@pytest.fixture(scope="module")
def written(postgres: Cluster, template: str) -> Generator[Prepared]:
    name = f"tampering_{secrets.token_hex(4)}"
    _run(postgres, "create database {} template {}", name, template)
    database = Database(postgres.url(name), postgres.url(name, owner=True))
    with tempfile.TemporaryDirectory(prefix="playhead-") as folder:
        made = asyncio.run(make(database.service_url, database.owner_url, Path(folder)))
        asyncio.run(save(database))
        yield Prepared(database, made)
    _run(postgres, "drop database {} with (force)", name)


@pytest.fixture
async def prepared(written: Prepared) -> AsyncGenerator[Prepared]:
    yield written
    await restore(written.database)


@pytest.fixture
def database(prepared: Prepared) -> Database:
    return prepared.database


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


def _run(cluster: Cluster, statement: str, *names: str) -> None:
    with psycopg.connect(cluster.url("postgres", owner=True), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))  # pyright: ignore[reportArgumentType]


async def changed(forger: Forger, made: Made, change: Callable[[Row], None], version: int = 3) -> None:
    """Change one row of the target."""
    row = (await forger.rows(made.target))[version - 1]
    await forger.delete([row])
    change(row)
    await forger.insert([row])


# -- what chains tell


async def alters_data(forger: Forger, made: Made) -> None:
    await changed(forger, made, lambda row: setattr(row, "data", row.data.replace("3 of", "4 of")))


async def alters_who_did_it(forger: Forger, made: Made) -> None:
    await changed(forger, made, lambda row: setattr(row, "meta", row.meta.replace('"ann"', '"bob"')))


async def alters_an_event_and_its_hash(forger: Forger, made: Made) -> None:
    def change(row: Row) -> None:
        row.data = row.data.replace("3 of", "4 of")
        row.rehash(row.prev_hash)

    await changed(forger, made, change)


async def alters_the_column_type(forger: Forger, made: Made) -> None:
    await changed(forger, made, lambda row: setattr(row, "type", "block.completed"))


async def alters_the_column_tenant(forger: Forger, made: Made) -> None:
    await changed(forger, made, lambda row: setattr(row, "tenant", "globex"))


async def alters_the_column_recorded_at(forger: Forger, made: Made) -> None:
    await changed(forger, made, lambda row: setattr(row, "recorded_at", row.recorded_at.replace(year=2001)))


async def alters_the_column_event_id(forger: Forger, made: Made) -> None:
    await changed(forger, made, lambda row: setattr(row, "event_id", "00000000-0000-7000-8000-000000000000"))


async def removes_one_from_the_middle(forger: Forger, made: Made) -> None:
    await forger.delete([(await forger.rows(made.target))[2]])


async def removes_one_and_closes_the_gap(forger: Forger, made: Made) -> None:
    rows = await forger.rows(made.target)
    await forger.delete(rows[2:])
    for row in rows[3:]:
        row.version -= 1
    await forger.insert(rows[3:])


async def removes_the_last_one(forger: Forger, made: Made) -> None:
    await forger.delete((await forger.rows(made.target))[-1:])


async def swaps_two_versions(forger: Forger, made: Made) -> None:
    rows = (await forger.rows(made.target))[2:4]
    await forger.delete(rows)
    rows[0].version, rows[1].version = rows[1].version, rows[0].version
    await forger.insert(rows)


async def swaps_two_positions(forger: Forger, made: Made) -> None:
    await exchange_positions(forger, (await forger.rows(made.target))[2:4])


async def inserts_one_and_renumbers(forger: Forger, made: Made) -> None:
    rows = await forger.rows(made.target)
    position = await free_position(forger)
    await forger.delete(rows[2:])
    inserted = replace(rows[2])
    inserted.event_id = "00000000-0000-7000-8000-000000000001"
    inserted.meta = inserted.meta.replace(rows[2].event_id, inserted.event_id)
    inserted.position = position
    inserted.rehash(rows[1].hash)
    for row in rows[2:]:
        row.version += 1
    await forger.insert([inserted, *rows[2:]])


async def inserts_one_behind_the_last(forger: Forger, made: Made) -> None:
    await forger.insert([await forged_end(forger, made)])


async def alters_a_head(forger: Forger, made: Made) -> None:
    await forger.run("update log.heads set hash = sha256('x') where stream_id = %s", made.target)


async def alters_a_large_value(forger: Forger, made: Made) -> None:
    await forger.run("alter table log.blobs drop constraint blobs_are_under_their_digest")
    await forger.run("update log.blobs set content = overlay(content placing 'y'::bytea from 20)")


async def removes_a_large_value(forger: Forger, made: Made) -> None:
    await forger.run("delete from log.blobs")


BY_CHAINS: list[tuple[Tampering, int, str]] = [
    (alters_data, 3, "altered"),
    (alters_who_did_it, 3, "altered"),
    (alters_an_event_and_its_hash, 3, "altered"),
    (alters_the_column_type, 3, "altered"),
    (alters_the_column_tenant, 3, "altered"),
    (alters_the_column_recorded_at, 3, "altered"),
    (alters_the_column_event_id, 3, "altered"),
    (removes_one_from_the_middle, 3, "removed"),
    (removes_one_and_closes_the_gap, 3, "removed"),
    (removes_the_last_one, VERSIONS, "removed"),
    (swaps_two_versions, 3, "reordered"),
    (swaps_two_positions, 3, "reordered"),
    (inserts_one_and_renumbers, 3, "inserted"),
    (inserts_one_behind_the_last, VERSIONS + 1, "inserted"),
    (alters_a_head, VERSIONS, "altered"),
]


@pytest.mark.parametrize(("tampering", "version", "kind"), BY_CHAINS, ids=[case[0].__name__ for case in BY_CHAINS])
async def test_the_first_broken_event_is_named(
    prepared: Prepared, database: Database, log: EventLog, tampering: Tampering, version: int, kind: str
) -> None:
    made = prepared.made
    async with forger(database) as hand:
        await tampering(hand, made)
    report = await verified(log, made)
    assert named(report) == (made.target, version, kind)
    assert not report.intact
    assert named(await verify_stream(log, made.target)) == (made.target, version, kind)
    # What is around it is as it was.
    assert (await verify_stream(log, made.streams[0])).intact


@pytest.mark.parametrize(("tampering", "kind"), [(alters_a_large_value, "altered"), (removes_a_large_value, "removed")])
async def test_a_large_value_that_is_not_what_was_written_is_named_with_its_event(
    prepared: Prepared, database: Database, log: EventLog, tampering: Tampering, kind: str
) -> None:
    async with forger(database) as hand:
        await tampering(hand, prepared.made)
    report = await verified(log, prepared.made)
    assert named(report) == (prepared.made.large, 1, kind)
    assert report.checkpoints[0].proof.faults == ()


# -- what checkpoints tell


async def rewrites_a_chain(forger: Forger, made: Made) -> None:
    rows = await forger.rows(made.target)
    await forger.delete(rows)
    rows[2].data = rows[2].data.replace("3 of", "4 of")
    for before, row in pairwise(rows):
        row.rehash(before.hash)
    await forger.insert(rows)
    await forger.set_head(rows[-1])


async def rewrites_the_first_event(forger: Forger, made: Made) -> None:
    rows = await forger.rows(made.streams[0])
    await forger.delete(rows)
    rows[0].data = rows[0].data.replace("1 of", "2 of")
    rows[0].rehash(rows[0].prev_hash)
    for before, row in pairwise(rows):
        row.rehash(before.hash)
    await forger.insert(rows)
    await forger.set_head(rows[-1])


async def removes_a_stream_with_its_head(forger: Forger, made: Made) -> None:
    await forger.delete(await forger.rows(made.target))
    await forger.run("delete from log.heads where stream_id = %s", made.target)


async def exchanges_two_streams(forger: Forger, made: Made) -> None:
    one, other = await forger.rows(made.target), await forger.rows(made.streams[2])
    await exchange_positions(forger, [one[2], other[2]])


async def puts_one_into_the_past(forger: Forger, made: Made) -> None:
    row = await forged_end(forger, made)
    row.position = await free_position(forger)
    await forger.insert([row])
    await forger.set_head(row)


async def cuts_off_the_end(forger: Forger, made: Made) -> None:
    [[position]] = await forger.run("select max(position) - %s from log.events", STREAMS + 3)
    await forger.run("delete from log.events where position > %s", position)
    await forger.run("delete from log.heads")
    await forger.run(
        "insert into log.heads select distinct on (stream_id) stream_id, version, hash from log.events "
        "order by stream_id, version desc"
    )


BY_CHECKPOINTS: list[tuple[Tampering, str, str]] = [
    (rewrites_a_chain, "rewritten", "not the one that was signed"),
    (rewrites_the_first_event, "rewritten", "rewritten from its beginning"),
    (removes_a_stream_with_its_head, "rewritten", "were signed"),
    (exchanges_two_streams, "rewritten", "are not those that were signed"),
    (cuts_off_the_end, "removed", "the log ends at"),
]


@pytest.mark.parametrize(
    ("tampering", "kind", "says"), BY_CHECKPOINTS, ids=[case[0].__name__ for case in BY_CHECKPOINTS]
)
async def test_what_every_chain_bears_out_is_found_by_the_checkpoints(
    prepared: Prepared, database: Database, log: EventLog, tampering: Tampering, kind: str, says: str
) -> None:
    async with forger(database) as hand:
        await tampering(hand, prepared.made)
    report = await verified(log, prepared.made)
    assert report.chains.faults == []
    found = faults(report)
    assert found[0].kind == kind
    assert says in found[0].reason
    assert found[0].after < found[0].until
    told = await exported(log, prepared.made)
    assert {fault.kind for fault in told.faults} == {kind}


async def test_an_event_put_into_the_past_is_found_by_chain_and_checkpoint(
    prepared: Prepared, database: Database, log: EventLog
) -> None:
    async with forger(database) as hand:
        await puts_one_into_the_past(hand, prepared.made)
    report = await verified(log, prepared.made)
    # It is the last of its stream, and stands before the last: both tell.
    assert named(report)[2] in ("inserted", "reordered")
    assert faults(report)[0].kind == "rewritten"


async def test_what_was_done_after_the_last_checkpoint_is_not_proven_and_said_so(
    prepared: Prepared, database: Database, log: EventLog
) -> None:
    report = await verified(log, prepared.made)
    assert report.intact
    assert report.checkpoints[0].proof.unsigned == STREAMS
    assert report.checkpoints[0].proof.checkpoints == 4
    assert (report.chains.streams, report.chains.blobs) == (STREAMS + 1, 1)


# -- the checkpoints themselves


async def test_checkpoints_that_were_altered_removed_or_signed_by_somebody_else_are_named(
    prepared: Prepared, log: EventLog, tmp_path: Path
) -> None:
    [file] = prepared.made.checkpoints.iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    other = tmp_path / file.name

    async def told(*changed: bytes, key: SigningKey = KEY) -> list[Unproven]:
        other.write_bytes(b"".join(changed))
        return faults(await verify_log(log, Witnesses((tmp_path,), (key.public,))))

    assert await told(*lines) == []
    [altered, *_] = await told(lines[0].replace(b'"events":10', b'"events":11'), *lines[1:])
    assert (altered.kind, "signature is wrong" in altered.reason) == ("checkpoint", True)
    [removed] = await told(lines[0], *lines[2:])
    assert "one was removed or replaced" in removed.reason
    [rolled_back] = await told(*lines[:2])
    assert "removed from the end" in rolled_back.reason
    assert (await told())[0].kind == "checkpoint"
    unknown = [fault for fault in await told(*lines, key=SigningKey.new()) if "which was not given" in fault.reason]
    assert len(unknown) == len(lines)
    # Somebody who has taken the key too can sign what they like, but not what copies elsewhere say.
    other.write_bytes(b"".join(lines[:3]))
    copies = Witnesses((tmp_path, prepared.made.checkpoints), (KEY.public,))
    assert any("copy" in fault.reason for fault in faults(await verify_log(log, copies)))


async def test_a_guard_of_the_database_that_was_switched_off_is_told(
    prepared: Prepared, database: Database, log: EventLog
) -> None:
    async with forger(database) as hand:
        await hand.run("alter table log.events disable trigger events_are_immutable")
        await hand.run("drop index log.events_event_id")
        report = await verified(log, prepared.made)
        await hand.run("alter table log.events enable trigger events_are_immutable")
        await hand.run("create unique index events_event_id on log.events (event_id)")
    assert report.missing_guards == ("trigger events_are_immutable", "unique index events_event_id")
    assert not report.intact


async def test_the_signer_does_not_sign_over_a_log_that_is_not_what_it_signed(
    prepared: Prepared, database: Database, log: EventLog, tmp_path: Path
) -> None:
    url = database.service_url
    await signer(log, url, tmp_path, events=10**6).sign_now()
    async with forger(database) as hand:
        await cuts_off_the_end(hand, prepared.made)
    with pytest.raises(Corrupt, match="is not the one that was signed"):
        await signer(log, url, tmp_path).sign_now()
    assert len(list(Checkpoints(tmp_path).lines())) == 1


# -- without any server


_NOT_IN_BYTES = ("alters_the_column", "alters_a_head", "swaps_two_versions")
OFFLINE = [case for case in BY_CHAINS if not case[0].__name__.startswith(_NOT_IN_BYTES)]
"""Columns and heads are not exported, only the bytes in the order of positions."""


@pytest.mark.parametrize(("tampering", "version", "kind"), OFFLINE, ids=[case[0].__name__ for case in OFFLINE])
async def test_an_export_of_a_broken_log_is_found_out_without_a_server(
    prepared: Prepared, database: Database, log: EventLog, tampering: Tampering, version: int, kind: str
) -> None:
    async with forger(database) as hand:
        await tampering(hand, prepared.made)
    report = await exported(log, prepared.made)
    if tampering is removes_the_last_one or tampering is inserts_one_behind_the_last:
        # After the last checkpoint, and no chain is broken by it: this is what the file cannot tell.
        assert report.faults == []
        assert report.unproven
        return
    assert report.faults
    assert {fault.stream_id for fault in report.faults} <= {prepared.made.target, ""}


async def test_an_export_of_an_intact_log_is_proven_without_a_server(prepared: Prepared, log: EventLog) -> None:
    report = await exported(log, prepared.made)
    proof = (await verified(log, prepared.made)).checkpoints[0].proof
    assert report.faults == []
    assert (report.proven_to, report.proven_events, report.checkpoints) == (proof.position, proof.events, 4)
    assert (report.streams, report.blobs) == (STREAMS + 1, 1)


# -- helpers


async def verified(log: EventLog, made: Made) -> LogReport:
    return await verify_log(log, Witnesses((made.checkpoints,), (KEY.public,)))


def named(report: LogReport) -> tuple[str, int, str]:
    first: Break = report.chains.faults[0]
    return first.stream_id, first.version, first.kind


def faults(report: LogReport) -> list[Unproven]:
    return [fault for each in report.checkpoints for fault in each.proof.faults]


async def exported(log: EventLog, made: Made) -> offline.Report:
    with tempfile.TemporaryDirectory() as folder:
        file, key = Path(folder) / "log.jsonl", Path(folder) / "key.pub"
        key.write_bytes(KEY.public.pem())
        with file.open("wb") as opened:
            async for line in Lines(log).of(await log.read_log(0, 10_000)):
                opened.write(line)
        return await asyncio.to_thread(offline.verify, file, made.checkpoints, [key])


async def exchange_positions(forger: Forger, rows: list[Row]) -> None:
    await forger.delete(rows)
    rows[0].position, rows[1].position = rows[1].position, rows[0].position
    await forger.insert(rows)


async def free_position(forger: Forger) -> int:
    """One that was drawn and not used."""
    [[position]] = await forger.run(
        "select min(position) + 1 from log.events e where not exists "
        "(select from log.events n where n.position = e.position + 1)"
    )
    return position


async def forged_end(forger: Forger, made: Made) -> Row:
    """An event that follows the last one of the target as if it had been appended."""
    row = replace((await forger.rows(made.target))[-1])
    event_id = "00000000-0000-7000-8000-000000000002"
    row.meta = row.meta.replace(row.event_id, event_id).replace(
        f'"version":{row.version}', f'"version":{row.version + 1}'
    )
    row.event_id, row.version = event_id, row.version + 1
    [[row.position]] = await forger.run("select max(position) + 1 from log.events")
    row.rehash(row.hash)
    return row
