"""The event log on a real PostgreSQL: order, conflicts, repeats, the hash chain, and that nothing can be changed."""

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql

from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockReference,
    BlockReused,
    BlockSkipped,
    EventData,
    NewEvent,
    decode_joined,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_eventlog import GENESIS, EventLog, StreamHead, migrate, open_log, open_tail
from playhead_eventlog.stored import EventIdReused, chain
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.system import eventually


def skipped(name: str = "a") -> NewEvent:
    return new(BlockSkipped(path=BlockPath(name), reason="for the test"))


def new(data: EventData) -> NewEvent:
    return NewEvent(
        id=EventId(new_id()),
        data=data,
        tenant=TenantId("acme"),
        workflow_id=WorkflowId("w"),
        execution_id=ExecutionId("x"),
        actor=Actor(kind="system", name="test"),
        recorded_at=datetime.now(UTC),
    )


def stream() -> StreamId:
    return StreamId(f"execution:{new_id()}")


async def test_what_was_appended_is_read_back_in_order(database: Database) -> None:
    async with open_log(database.service_url) as log:
        name = stream()
        first = await log.append(name, GENESIS, [skipped("a"), skipped("b")])
        await log.append(name, first.head, [skipped("c")])
        events = await log.read(name)
        assert [event.version for event in events] == [1, 2, 3]
        assert [event.data.path for event in events if isinstance(event.data, BlockSkipped)] == ["a", "b", "c"]
        assert [event.position for event in events] == sorted(event.position for event in events)
        assert [event.version for event in await log.read(name, after=2)] == [3]


async def test_an_append_that_expects_an_old_head_is_refused_whole_and_names_the_actual_version(
    database: Database,
) -> None:
    async with open_log(database.service_url) as log:
        name = stream()
        await log.append(name, GENESIS, [skipped(), skipped()])
        with pytest.raises(VersionConflict) as conflict:
            await log.append(name, GENESIS, [skipped(), skipped()])
        assert conflict.value.actual == 2
        assert len(await log.read(name)) == 2


async def test_an_append_on_a_head_with_another_hash_is_refused(database: Database) -> None:
    async with open_log(database.service_url) as log:
        name = stream()
        appended = await log.append(name, GENESIS, [skipped()])
        with pytest.raises(VersionConflict):
            await log.append(name, StreamHead(appended.head.version, b"x" * 32), [skipped()])


async def test_the_same_events_again_are_the_same_append(database: Database) -> None:
    async with open_log(database.service_url) as log:
        name, events = stream(), [skipped(), skipped()]
        first = await log.append(name, GENESIS, events)
        assert (await log.append(name, GENESIS, events)).head == first.head
        assert len(await log.read(name)) == 2


async def test_an_event_id_of_another_stream_is_refused_and_harms_nobody_else(database: Database) -> None:
    async with open_log(database.service_url) as log:
        used, other = skipped(), stream()
        await log.append(stream(), GENESIS, [used])
        outcomes = await asyncio.gather(
            log.append(stream(), GENESIS, [used]),
            *(log.append(other if n == 0 else stream(), GENESIS, [skipped()]) for n in range(5)),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], EventIdReused)
        assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1:])
        assert len(await log.read(other)) == 1


async def test_one_streams_conflict_does_not_fail_anothers_append(database: Database) -> None:
    async with open_log(database.service_url) as log:
        taken = stream()
        await log.append(taken, GENESIS, [skipped()])
        outcomes = await asyncio.gather(
            *(log.append(taken if n % 2 else stream(), GENESIS, [skipped()]) for n in range(40)),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 20
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 20


async def test_of_many_appends_on_one_head_exactly_one_wins(database: Database) -> None:
    async with open_log(database.service_url) as one, open_log(database.service_url) as other:
        name = stream()
        outcomes = await asyncio.gather(
            *((one if n % 2 else other).append(name, GENESIS, [skipped(str(n))]) for n in range(50)),
            return_exceptions=True,
        )
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
        assert len(await one.read(name)) == 1


async def test_a_tail_reader_never_skips_with_eight_writers(database: Database) -> None:
    """Eight connections append at once while a tail follows; it must see each event once, in position order."""
    each, size = 150, 3

    async def write() -> None:
        async with open_log(database.service_url) as log:
            name, head = stream(), GENESIS
            for _ in range(each):
                head = (await log.append(name, head, [skipped() for _ in range(size)])).head

    seen: list[int] = []
    versions: dict[str, int] = {}

    async def follow(log: EventLog) -> None:
        async with open_tail(log, database.service_url) as tail:
            while len(seen) < 8 * each * size:
                for raw in await tail.next(seen[-1] if seen else 0, 100):
                    assert raw.version == versions.get(raw.stream_id, 0) + 1
                    versions[raw.stream_id] = raw.version
                    seen.append(raw.position)

    async with open_log(database.service_url) as log:
        async with asyncio.timeout(60):
            await asyncio.gather(follow(log), *(write() for _ in range(8)))
        everything = [raw.position for raw in await log.read_log(0, 10_000)]
    assert seen == everything
    assert seen == sorted(set(seen))


async def test_every_hash_chains_over_the_stored_bytes(database: Database) -> None:
    async with open_log(database.service_url) as log:
        name, head = stream(), GENESIS
        for _ in range(5):
            head = (await log.append(name, head, [skipped(), skipped()])).head
        previous = GENESIS.hash
        for raw in await log.read_raw(name):
            assert raw.prev_hash == previous
            assert raw.hash == chain(previous, raw.meta, raw.data)
            previous = raw.hash
        assert previous == head.hash


async def test_a_frame_is_the_stored_event_byte_for_byte(database: Database) -> None:
    async with open_log(database.service_url) as log:
        name = stream()
        tricky = BlockSkipped(path=BlockPath('a"b'), reason='quotes " and ,"data": and \u0000 and ünïcode')
        appended = await log.append(name, GENESIS, [new(tricky)])
        [raw] = await log.read_raw(name)
        assert appended.frames == (raw.frame(),)
        assert decode_joined(raw.frame()).data == tricky


@pytest.mark.parametrize(
    "statement",
    [
        "update log.events set type = 'other'",
        "delete from log.events",
        "truncate log.events",
        "insert into log.events (stream_id, version, event_id, type, tenant, recorded_at, data, meta, prev_hash, hash) "
        "values ('x', 1, gen_random_uuid(), 't', 't', now(), '', '', '', '')",
        "update log.heads set version = 99",
    ],
)
async def test_the_services_role_can_change_nothing(database: Database, statement: str) -> None:
    async with open_log(database.service_url) as log:
        await log.append(stream(), GENESIS, [skipped()])
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize(
    "statement", ["update log.events set type = 'other'", "delete from log.events", "truncate log.events"]
)
async def test_not_even_the_owner_can_change_an_event_by_a_statement(database: Database, statement: str) -> None:
    async with open_log(database.service_url) as log:
        await log.append(stream(), GENESIS, [skipped()])
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            await connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def test_a_reused_block_is_stored_by_reference_and_read_with_its_outputs(database: Database) -> None:
    async with open_log(database.service_url) as log:
        source = ExecutionId(new_id())
        completed = BlockCompleted(path=BlockPath("a"), outputs={"answer": "nowhere else"})
        await log.append(StreamId(f"execution:{source}"), GENESIS, [new(completed)])
        fork = stream()
        reused = BlockReused(path=BlockPath("a"), reference=BlockReference(execution_id=source, version=1))
        await log.append(fork, GENESIS, [new(reused)])
        [raw] = await log.read_raw(fork)
        assert b"nowhere else" not in raw.data
        [event] = await log.read(fork)
        assert isinstance(event.data, BlockReused)
        assert event.data.outputs == {"answer": "nowhere else"}


async def test_an_append_outlives_a_broken_connection(database: Database) -> None:
    async with open_log(database.service_url, patience_seconds=20) as log:
        name = stream()
        head = (await log.append(name, GENESIS, [skipped()])).head
        async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as owner:
            await owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        await log.append(name, head, [skipped()])
        assert [event.version for event in await log.read(name)] == [1, 2]


async def test_a_tail_is_woken_by_an_append(database: Database) -> None:
    async with (
        open_log(database.service_url) as log,
        open_tail(log, database.service_url) as tail,
    ):
        waiting = asyncio.create_task(tail.next(0, 10))
        await log.append(stream(), GENESIS, [skipped()])

        async def found() -> bool:
            return waiting.done() or None  # pyright: ignore[reportReturnType]

        await eventually(found)
        assert len(waiting.result()) == 1


async def test_migrating_twice_and_at_once_from_two_processes_is_migrating_once(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as owner:
        made = "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema|public)'"
        for (schema,) in await (await owner.execute(made)).fetchall():
            await owner.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        await owner.execute("drop table public.playhead_migrations")
    applied = await asyncio.gather(migrate(database.owner_url), migrate(database.owner_url))
    assert sorted(len(names) for names in applied)[0] == 0
    assert await migrate(database.owner_url) == []
