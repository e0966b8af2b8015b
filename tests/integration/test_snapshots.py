"""Snapshots on a real PostgreSQL: never believed without proof, replaced when wrong, and never missed."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from random import Random

import httpx
import psycopg
import pytest

from playhead_contracts.events import (
    BlockCompleted,
    BlockSkipped,
    Event,
    EventData,
    ExecutionCreated,
    ExecutionStarted,
    Json,
)
from playhead_contracts.ids import BlockPath, ExecutionId, StreamId, execution_stream
from playhead_engine.folding import EXECUTIONS, fold
from playhead_engine.state import ExecutionState
from playhead_eventlog import BLOB_BYTES, EVERY, GENESIS, EventLog, StreamHead, open_log
from playhead_eventlog.snapshots import allowed_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.folding import Folding
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.derived import caught_up
from tests.door import gateway
from tests.projecting import projecting, states
from tests.system import System, eventually, only_pause
from tests.traffic import TENANTS, WORKFLOWS, Traffic, new_event


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


class LongExecution:
    """A stream of as many events as are wanted."""

    def __init__(self, log: EventLog, large: Json = None):
        self._log = log
        self.large = large
        self.id = ExecutionId(new_id())
        self.stream = execution_stream(self.id)
        self._head = GENESIS

    async def grow(self, version: int) -> None:
        """Append events up to a version, 500 at once."""
        while self._head.version < version:
            versions = range(self._head.version + 1, min(self._head.version + 500, version) + 1)
            events = [new_event(self._fact(each), TENANTS[0], WORKFLOWS[0], self.id) for each in versions]
            self._head = (await self._log.append(self.stream, self._head, events)).head

    def _fact(self, version: int) -> EventData:
        if version == 1:
            return ExecutionCreated(workflow_id=WORKFLOWS[0], workflow_version=1, digest="d" * 64, input={"n": [1.5]})
        if version == 2:
            return ExecutionStarted(executor="executor-1", epoch=1, command="run")
        if version == 3 and self.large is not None:
            return BlockCompleted(path=BlockPath("b3"), outputs=self.large)
        return BlockSkipped(path=BlockPath(f"b{version}"), reason="for the test")


@pytest.fixture
async def long(log: EventLog) -> LongExecution:
    execution = LongExecution(log)
    await execution.grow(3 * EVERY + 200)
    return execution


async def cold(log: EventLog, stream: StreamId, version: int | None = None) -> ExecutionState:
    """What the events say, whatever snapshots say."""
    events, _ = await log.load(stream, version)
    state = fold(events)
    assert state is not None
    return state


async def loaded(log: EventLog, stream: StreamId, version: int | None = None) -> ExecutionState:
    state, head = await (
        log.fold(stream, EXECUTIONS) if version is None else log.fold(stream, EXECUTIONS, version)
    )  # fmt: skip
    assert state is not None
    [newest] = await log.read_raw(stream, state.version - 1, 1)
    assert head == StreamHead(newest.version, newest.hash)
    return state


async def kept(database: Database, stream: StreamId) -> dict[int, bytes]:
    """The states that there are, by version."""
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        query = "select version, state from log.snapshots where stream_id = %s order by version"
        return dict(await (await connection.execute(query, (stream,))).fetchall())


async def tamper(database: Database, change: str, *values: object) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        await connection.execute(f"update log.snapshots set {change}", values)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def test_who_folds_a_long_stream_without_snapshots_leaves_one(
    log: EventLog, database: Database, long: LongExecution
) -> None:
    assert await kept(database, long.stream) == {}
    state = await loaded(log, long.stream)
    assert state == await cold(log, long.stream)
    assert list(await kept(database, long.stream)) == [state.version]
    assert await loaded(log, long.stream) == state


async def test_a_short_stream_is_folded_without_leaving_anything(log: EventLog, database: Database) -> None:
    short = LongExecution(log)
    await short.grow(EVERY)
    assert await loaded(log, short.stream) == await cold(log, short.stream)
    assert await kept(database, short.stream) == {}
    assert await log.fold(execution_stream(ExecutionId(new_id())), EXECUTIONS) == (None, GENESIS)
    assert await log.fold(short.stream, EXECUTIONS, 0) == (None, GENESIS)


@pytest.mark.parametrize(
    ("fault", "change", "values"),
    [
        ("checksum", "state = set_byte(state, 200, get_byte(state, 200) # 1)", ()),
        ("checksum", "checksum = sha256('other')", ()),
        ("another event", "hash = sha256('other')", ()),
        ("made by", "code = 'execution/0'", ()),
        ("truncated", "state = %s, checksum = %s", (b'{"a"', sha256(b'{"a"').digest())),
        ("another event", "version = version + 1000000", ()),
        ("at version", "version = version - 7, hash = (select hash from log.events e where e.stream_id = "
         "snapshots.stream_id and e.version = snapshots.version - 7)", ()),
    ],
)  # fmt: skip
async def test_a_wrong_snapshot_is_passed_over_told_and_replaced(
    log: EventLog,
    database: Database,
    long: LongExecution,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    change: str,
    values: tuple[object, ...],
) -> None:
    right = await loaded(log, long.stream)
    before = await kept(database, long.stream)
    await tamper(database, change, *values)
    with caplog.at_level(logging.WARNING, "playhead.eventlog"):
        assert await loaded(log, long.stream) == right
    [told] = [record for record in caplog.records if record.message == "snapshot passed over"]
    assert fault in told.__dict__["reason"]
    assert await kept(database, long.stream) == before


async def test_without_a_sound_newest_snapshot_the_next_older_one_is_taken(
    log: EventLog, database: Database, long: LongExecution, caplog: pytest.LogCaptureFixture
) -> None:
    for version in (1500, 3100):
        content = EXECUTIONS.encode(await cold(log, long.stream, version))
        [raw] = await log.read_raw(long.stream, version - 1, 1)
        await log.snapshots.save(long.stream, StreamHead(version, raw.hash), EXECUTIONS.code, content)
    await tamper(database, "state = state || ' ' where version = 3100")
    assert await loaded(log, long.stream) == await cold(log, long.stream)
    assert [record.__dict__["version"] for record in caplog.records if "passed over" in record.message] == [3100]
    assert list(await kept(database, long.stream)) == [1500, 3200]


async def test_a_snapshot_that_no_event_can_follow_is_one_of_the_wrong_ones(
    log: EventLog, database: Database, long: LongExecution
) -> None:
    lie = await cold(log, long.stream, 3000)
    lie.blocks[BlockPath("b3001")] = lie.blocks[BlockPath("b3000")]
    [raw] = await log.read_raw(long.stream, 2999, 1)
    await log.snapshots.save(long.stream, StreamHead(3000, raw.hash), EXECUTIONS.code, EXECUTIONS.encode(lie))
    assert await loaded(log, long.stream) == await cold(log, long.stream)
    assert 3000 not in await kept(database, long.stream)


async def test_a_snapshot_holds_large_values_filled_in(log: EventLog, database: Database) -> None:
    long = LongExecution(log, large={"text": "x" * (BLOB_BYTES + 1)})
    await long.grow(2 * EVERY + 100)
    state = await loaded(log, long.stream)
    [content] = (await kept(database, long.stream)).values()
    assert len(content) > BLOB_BYTES
    assert await loaded(log, long.stream) == state == await cold(log, long.stream)
    assert state.blocks[BlockPath("b3")].outputs == long.large


async def test_executors_and_answers_go_on_from_snapshots(system: System, database: Database) -> None:
    yaml = """
id: long
blocks:
  each: {type: loop, for: 1100, blocks: {step: {type: function, code: "inputs['n']", inputs: {n: "{{ loop.index }}"}}},
         result: "{{ blocks.step.result }}", next: ask}
  ask: {type: human, message: "Enough?", next: last}
  last: {type: function, code: "len(inputs['all'])", inputs: {all: "{{ blocks.each.results }}"}}
output: "{{ blocks.last.result }}"
"""
    await system.publish(yaml)
    execution_id = await system.start(yaml)
    pause = only_pause(await system.paused(execution_id))
    assert await kept(database, execution_stream(execution_id)) == {}
    await system.answer(execution_id, pause.pause_id, {})
    ended = await system.ended(execution_id)
    # Whoever took the answer folded it all, and left a snapshot for the executor.
    [version] = await kept(database, execution_stream(execution_id))
    assert 2 * EVERY < version < ended.version
    assert ended.output == 1100
    assert await loaded(system.log, execution_stream(execution_id)) == ended


async def test_services_cannot_change_a_snapshot_and_may_delete_it(
    log: EventLog, database: Database, long: LongExecution
) -> None:
    await loaded(log, long.stream)
    async with await psycopg.AsyncConnection.connect(database.service_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("update log.snapshots set code = 'x'")
        await connection.execute("delete from log.snapshots")
    assert await kept(database, long.stream) == {}


async def test_the_projector_leaves_few_snapshots_that_are_near_every_version(
    log: EventLog, database: Database
) -> None:
    long = LongExecution(log)
    async with projecting(log, database) as projector:
        writing = asyncio.create_task(projector.snapshotting.run())
        for version in range(EVERY, 6 * EVERY + 1, EVERY):
            await long.grow(version)
            await caught_up(log, database)

        async def all_there() -> bool:
            return max(await kept(database, long.stream), default=0) > 5 * EVERY

        await eventually(all_there)
        await stop_tasks(writing)
    versions = [0, *await kept(database, long.stream)]
    assert len(versions) >= 5
    # A batch of the projector ends where it ends, up to 500 events later here.
    assert all(b - a <= allowed_tail(b) + 2 * EVERY for a, b in pairwise(versions))
    for version in (1, 999, 1000, 2500, 5999, 6000):
        assert await loaded(log, long.stream, version) == await cold(log, long.stream, version)


async def test_read_models_of_a_long_execution_go_on_from_a_snapshot(
    log: EventLog, database: Database, long: LongExecution
) -> None:
    last = await log.last_position()
    [raw] = await log.read_raw(long.stream, 3099, 1)
    content = EXECUTIONS.encode(await cold(log, long.stream, 3100))
    await log.snapshots.save(long.stream, StreamHead(3100, raw.hash), EXECUTIONS.code, content)
    await long.grow(3 * EVERY + 300)
    batch = await log.read_log(last, 1000)
    [change] = (await Folding(log, from_snapshots=True).changes(batch, ["execution"])).executions
    assert change.state == await cold(log, long.stream)
    [same] = (await Folding(log).changes(batch, ["execution"])).executions
    assert (same.blocks, same.position) == (change.blocks, change.position)


async def test_the_state_at_any_version_and_moment_is_the_same_from_everywhere(
    log: EventLog, database: Database, nats_url: str, bus: Bus
) -> None:
    """From the events, from the read model, from a snapshot at any place and its tail, and over HTTP."""
    random = Random(5)
    async with projecting(log, database):
        await Traffic(log, seed=5).run(40)
        await caught_up(log, database)
    read = await states(database)
    async with gateway(database.service_url, nats_url) as client:
        for execution_id, newest in read.items():
            stream = execution_stream(ExecutionId(execution_id))
            events = await log.read(stream)
            assert newest == await cold(log, stream)
            await _leave_one(log, stream, events, random.randint(1, len(events)))
            for version in range(1, len(events) + 1):
                folded = fold(events[:version])
                assert await loaded(log, stream, version) == folded
                if newest.tenant == TENANTS[0] and random.random() < 0.3:
                    assert folded == await asked(client, execution_id, version=str(version))
            if newest.tenant == TENANTS[0]:
                await _assert_moments(client, execution_id, events, random)


async def _leave_one(log: EventLog, stream: StreamId, events: list[Event], version: int) -> None:
    state = fold(events[:version])
    assert state is not None
    [raw] = await log.read_raw(stream, version - 1, 1)
    await log.snapshots.save(stream, StreamHead(version, raw.hash), EXECUTIONS.code, EXECUTIONS.encode(state))


async def asked(client: httpx.AsyncClient, execution_id: str, **query: str) -> ExecutionState:
    response = await client.get(f"/v1/executions/{execution_id}/state", params=query)
    assert response.status_code == 200, response.text
    return EXECUTIONS.decode(response.content, execution_stream(ExecutionId(execution_id)), response.json()["version"])


async def _assert_moments(client: httpx.AsyncClient, execution_id: str, events: list[Event], random: Random) -> None:
    moments = [event.recorded_at for event in random.sample(events, min(3, len(events)))]
    for at in [*moments, moments[0] + timedelta(microseconds=1), datetime.now(UTC)]:
        until = next((event.version - 1 for event in events if event.recorded_at > at), len(events))
        if until:
            assert fold(events[:until]) == await asked(client, execution_id, at=at.isoformat())
    before = events[0].recorded_at - timedelta(microseconds=1)
    response = await client.get(f"/v1/executions/{execution_id}/state", params={"at": before.isoformat()})
    assert response.status_code == 404
