"""Following an execution: every fact once, in order, byte for byte, up to the last one, whatever the bus loses."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import msgspec
import psycopg
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk
from playhead_contracts.events import ExecutionCompleted, ExecutionPaused, PauseRequested
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_eventlog import EventLog, open_log
from playhead_gateway.follow import Follows
from playhead_gateway.problems import Stopping
from playhead_runtime.bus import Bus, NobodyThere
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.door import (
    ASKING,
    TENANT,
    TWO_BLOCKS,
    Pen,
    SentEvent,
    assert_problem,
    done,
    gateway,
    keyed,
    publish,
    sent_events,
    start_async,
    started,
)
from tests.system import eventually

START = {"input": {"amount": 1}}
MANY = "id: many\nblocks:\n" + "".join(f"  b{n}: {{type: function, code: '1'}}\n" for n in range(60))


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def pen(log: EventLog, bus: Bus) -> Pen:
    return Pen(log, bus)


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        await publish(client, TWO_BLOCKS)
        await publish(client, MANY)
        yield client


async def follow(
    client: httpx.AsyncClient, execution_id: ExecutionId, after: int = 0, most: int | None = None
) -> list[SentEvent]:
    """The events after a version: all, or the first `most`; as a client that reconnects with `Last-Event-ID`."""
    headers = {"last-event-id": str(after)} if after else {}
    found: list[SentEvent] = []
    async with client.stream("GET", f"/v1/executions/{execution_id}/stream", headers=headers) as response:
        if response.status_code == 204:
            return []  # it ended before, and there is nothing after that version
        assert response.status_code == 200
        async for event in sent_events(response):
            found.append(event)
            if len(found) == most:
                break
    return found


def facts_of(events: list[SentEvent]) -> list[SentEvent]:
    """Those that are stored."""
    return [event for event in events if event.id is not None]


async def write_many(pen: Pen, execution_id: ExecutionId, loses_every: int | None) -> None:
    """Sixty blocks one by one; of the live messages every so many-th is lost."""
    await pen.write(execution_id, started())
    for number in range(60):
        is_live = loses_every is None or number % loses_every != 0
        await pen.write(execution_id, done(f"b{number}", number), live=is_live)
    await pen.write(execution_id, ExecutionCompleted(output="end"), live=loses_every is None)


@pytest.mark.parametrize("loses_every", [None, 1, 2, 7])
async def test_followers_that_come_at_any_time_see_every_fact_once(
    client: httpx.AsyncClient, pen: Pen, loses_every: int | None
) -> None:
    execution_id = await start_async(client, "many")
    followers = [asyncio.create_task(follow(client, execution_id)) for _ in range(5)]
    writing = asyncio.create_task(write_many(pen, execution_id, loses_every))
    for known in (2, 10, 30, 55):
        await pen.log.read_raw(f"execution:{execution_id}", known)  # pyright: ignore[reportArgumentType]
        followers.append(asyncio.create_task(follow(client, execution_id)))
    await writing
    frames = await pen.frames(execution_id)
    assert len(frames) == 63
    for follower in followers:
        events = await follower
        facts = facts_of(events)
        assert [event.id for event in facts] == list(range(1, 64))
        assert [event.data for event in facts] == frames
        assert [event.event for event in events[-2:]] == ["result", "execution.completed"]
        assert sum(event.event == "output" for event in events) == 60


async def test_a_client_that_reconnects_again_and_again_misses_nothing(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "many")
    writing = asyncio.create_task(write_many(pen, execution_id, 3))
    seen: list[SentEvent] = []
    while not seen or seen[-1].event != "execution.completed":
        seen += facts_of(await follow(client, execution_id, after=len(seen), most=7))
    await writing
    assert [event.data for event in seen] == await pen.frames(execution_id)


async def test_who_has_seen_the_last_fact_is_told_to_stop_asking(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "two", START)
    await pen.run_two(execution_id)
    here = f"/v1/executions/{execution_id}/stream"
    for after in ("5", "6", "1000000"):
        response = await client.get(here, headers={"last-event-id": after})
        assert (response.status_code, response.content) == (204, b"")
    assert [event.id for event in facts_of(await follow(client, execution_id, after=4))] == [5]


async def test_a_place_beyond_the_end_is_waited_for(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "two", START)
    from_three = asyncio.create_task(follow(client, execution_id, after=3))
    from_far_away = asyncio.create_task(follow(client, execution_id, after=90))
    await pen.run_two(execution_id)
    assert [event.id for event in facts_of(await from_three)] == [4, 5]
    assert await from_far_away == []  # it ended, and there is nothing to wait for any more


@pytest.mark.parametrize("place", ["-1", "NaN", "1.0", "0x1", "abc", "1000000000000", "٣"])
async def test_what_is_no_version_is_refused(client: httpx.AsyncClient, place: str) -> None:
    execution_id = await start_async(client, "two", START)
    here = f"/v1/executions/{execution_id}/stream"
    assert_problem(await client.get(here, params={"after": place}), 400)
    if place.isascii():
        assert_problem(await client.get(here, headers={"last-event-id": place}), 400)


async def test_the_end_of_the_gateway_is_told_in_the_stream(database: Database, nats_url: str, bus: Bus) -> None:
    ended: list[SentEvent] = []
    is_open = asyncio.Event()

    async def listen(client: httpx.AsyncClient, execution_id: ExecutionId) -> None:
        async with client.stream("GET", f"/v1/executions/{execution_id}/stream") as response:
            async for event in sent_events(response):
                ended.append(event)
                is_open.set()

    async with httpx.AsyncClient(timeout=30) as outer:
        async with gateway(database.service_url, nats_url) as client:
            await publish(client, TWO_BLOCKS)
            execution_id = await start_async(client, "two", START)
            outer.base_url = client.base_url
            listening = asyncio.create_task(listen(outer, execution_id))
            await is_open.wait()
        await listening
    assert [event.event for event in ended] == ["execution.created", "error"]
    assert '"status":503' in ended[-1].data
    assert ended[-1].id is None


async def test_a_fault_in_the_middle_is_told_in_the_stream(
    client: httpx.AsyncClient, pen: Pen, database: Database
) -> None:
    execution_id = await start_async(client, "two", START)
    async with client.stream("GET", f"/v1/executions/{execution_id}/stream") as response:
        events = sent_events(response)
        assert (await anext(events)).id == 1
        with psycopg.connect(database.owner_url, autocommit=True) as connection:
            connection.execute("alter table log.events rename column data to gone")
        last = await anext(events)
        assert (last.event, last.id) == ("error", None)
        assert "urn:playhead:problem:" in last.data
        assert [event async for event in events] == []


async def test_the_end_comes_even_if_the_bus_was_away(
    client: httpx.AsyncClient, pen: Pen, nats_server: NatsServer
) -> None:
    execution_id = await start_async(client, "two", START)
    following = asyncio.create_task(follow(client, execution_id))
    nats_server.kill()
    await pen.run_two(execution_id, live=False)
    assert [event.id for event in facts_of(await following)] == [1, 2, 3, 4, 5]


async def test_a_follower_that_left_listens_no_more(client: httpx.AsyncClient, bus: Bus, pen: Pen) -> None:
    execution_id = await start_async(client, "two", START)
    await follow(client, execution_id, most=1)

    async def nobody_listens() -> bool:
        try:
            await bus.request(subjects.live(TENANT, execution_id), b"", 0.05)
        except NobodyThere:
            return True
        except Exception:  # noqa: BLE001 - somebody took it, and does not answer
            return False
        return False

    await eventually(nobody_listens)


def chunk(execution_id: ExecutionId, index: int) -> bytes:
    """A piece of what a block is about to give, as executors and workers tell it."""
    said = Chunk(execution_id=execution_id, path=BlockPath("first"), attempt=1, index=index, content={"n": index})
    return msgspec.json.encode(said)


async def test_chunks_come_between_the_facts_and_have_no_id(client: httpx.AsyncClient, pen: Pen, bus: Bus) -> None:
    execution_id = await start_async(client, "two", START)
    told = subjects.chunk(TENANT, execution_id)
    async with client.stream("GET", f"/v1/executions/{execution_id}/stream") as response:
        events = sent_events(response)
        seen = [await anext(events)]
        await pen.write(execution_id, started())
        await bus.publish(told, chunk(execution_id, 0))
        await bus.publish(told, chunk(execution_id, 1) + b"\n" + chunk(execution_id, 2))
        seen += [await anext(events) for _ in range(4)]
        await pen.write(execution_id, done("first", {"a": 1}), done("second", {"b": 2}), ExecutionCompleted(output=1))
        seen += [event async for event in events]
    facts = facts_of(seen)
    chunks = [event for event in seen if event.event == "block.chunk"]
    assert [event.data for event in facts] == await pen.frames(execution_id)
    assert [event.id for event in facts] == [1, 2, 3, 4, 5]
    assert [event.data.encode() for event in chunks] == [chunk(execution_id, index) for index in range(3)]
    assert {event.id for event in chunks} == {None}
    replayed = await follow(client, execution_id)
    assert replayed == [event for event in seen if event.event != "block.chunk"], "it has ended: only what stays"


async def test_what_is_no_chunk_is_passed_over(client: httpx.AsyncClient, pen: Pen, bus: Bus) -> None:
    execution_id = await start_async(client, "two", START)
    live = subjects.live(TENANT, execution_id)
    spaced = chunk(execution_id, 0).replace(b",", b",\r")
    async with client.stream("GET", f"/v1/executions/{execution_id}/stream") as response:
        events = sent_events(response)
        seen = [await anext(events)]
        for said in (b"", b"no JSON", b"\xff", b'{"chunk":true}', b'{"type":"x\\nid: 9"}', b"[" * 100_000, spaced):
            await bus.publish(live, said)
        await pen.run_two(execution_id)
        seen += [event async for event in events]
    assert [event.id for event in seen if event.id is not None] == [1, 2, 3, 4, 5]
    assert [event.data.encode() for event in seen if event.event == "block.chunk"] == [chunk(execution_id, 0)]


async def test_a_sync_call_takes_no_notice_of_chunks(client: httpx.AsyncClient, pen: Pen, bus: Bus) -> None:
    execution_id = keyed("two", "c-1")
    call = client.post("/v1/workflows/two/executions", json=START, headers={"idempotency-key": "c-1"})
    waiting = asyncio.create_task(call)
    await pen.created(execution_id)
    for index in range(3):
        await bus.publish(subjects.chunk(TENANT, execution_id), chunk(execution_id, index))
    await pen.run_two(execution_id)
    assert (await waiting).json()["status"] == "completed"


async def test_a_stream_ends_with_the_pause_even_if_a_chunk_comes_after_it(
    client: httpx.AsyncClient, pen: Pen, bus: Bus
) -> None:
    await publish(client, ASKING)
    execution_id = keyed("asking", "c-2")
    body, headers = {"mode": "stream"}, {"idempotency-key": "c-2"}
    async with client.stream("POST", "/v1/workflows/asking/executions", json=body, headers=headers) as response:
        events = sent_events(response)
        seen = [await anext(events)]
        pause_id = PauseId(new_id())
        asked = PauseRequested(pause_id=pause_id, path=BlockPath("ask"), message="Pay?", digest="sha256:0")
        paused = ExecutionPaused(epoch=1, pauses=(pause_id,))
        frames = (await pen.write(execution_id, started(), asked, paused, live=False)).frames
        await bus.publish(subjects.live(TENANT, execution_id), b"\n".join((*frames, chunk(execution_id, 0))))
        seen += [event async for event in events]
    assert [event.id for event in seen if event.id is not None] == [1, 2, 3, 4]


async def test_a_slow_reader_misses_nothing(log: EventLog, bus: Bus, pen: Pen, client: httpx.AsyncClient) -> None:
    execution_id = await start_async(client, "many")
    follows = Follows(log, bus)
    async with follows.open(TENANT, execution_id) as slow:
        facts = slow.facts(0)
        seen = [fact.version for fact in await anext(facts)]
        await write_many(pen, execution_id, None)
        for _ in range(1200):  # more than a follower keeps: all of it must come from the log
            await bus.publish(f"playhead.live.{TENANT}.{execution_id}", b'{"version":63,"type":"execution.completed"}')
        async for batch in facts:
            seen += [fact.version for fact in batch]
    assert seen == list(range(1, 64))


async def test_followers_end_when_the_gateway_stops(log: EventLog, bus: Bus, client: httpx.AsyncClient) -> None:
    execution_id = await start_async(client, "two", START)
    follows = Follows(log, bus)
    async with follows.open(TENANT, execution_id) as one:
        facts = one.facts(1, is_caught_up=True)
        waiting = asyncio.ensure_future(anext(facts))
        follows.stop()
        with pytest.raises(Stopping):
            await waiting
