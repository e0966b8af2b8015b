"""Everything that happens to a tenant, as one stream: each fact once, in the order of the log, whatever is lost."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import msgspec
import pytest

from playhead_contracts.ids import TenantId
from playhead_eventlog import EventLog, open_log
from playhead_gateway.access import create_key
from playhead_gateway.handlers import tailing
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_nats import NatsServer
from tests.conftest import Database
from tests.door import (
    ASKING,
    TENANT,
    TWO_BLOCKS,
    Pen,
    SentEvent,
    assert_problem,
    gateway,
    publish,
    sent_events,
    start_async,
)

START = {"input": {"amount": 1}}
STREAM = "/v1/events/stream"


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
        await publish(client, ASKING)
        yield client


async def take(client: httpx.AsyncClient, count: int, after: int = 0, **query: str | list[str]) -> list[SentEvent]:
    """The first events after a position."""
    found: list[SentEvent] = []
    async with client.stream("GET", STREAM, params=query, headers={"last-event-id": str(after)}) as response:
        assert response.status_code == 200
        events = sent_events(response)
        while len(found) < count:
            found.append(await asyncio.wait_for(anext(events), 20))
    return found


async def expected(log: EventLog, *kinds: str) -> list[tuple[int, str]]:
    """The facts of the tenant as they are in the log: position and frame."""
    raws = await log.read_log(0, 10_000)
    return [(raw.position, raw.frame().decode()) for raw in raws if not kinds or raw.type.startswith(kinds)]


def stored(events: list[SentEvent]) -> list[tuple[int | None, str]]:
    """What was told, without the position that is added to the data."""
    for event in events:
        assert msgspec.json.decode(event.data)["position"] == event.id
    return [(event.id, event.data.removesuffix(f',"position":{event.id}}}') + "}") for event in events]


async def test_history_and_what_comes_are_told_once_in_the_order_of_the_log(
    client: httpx.AsyncClient, pen: Pen, log: EventLog
) -> None:
    first = await start_async(client, "two", START)
    await pen.run_two(first)
    seen = asyncio.create_task(take(client, 2 + 3 * 5))
    for live in (True, False):
        await pen.run_two(await start_async(client, "two", START), live=live)
    events = await seen
    assert stored(events) == await expected(log)
    for after in (0, 3, 16):
        assert await take(client, 17 - after, after=after) == events[after:]


async def test_it_is_filtered_by_workflow_and_by_type(client: httpx.AsyncClient, pen: Pen, log: EventLog) -> None:
    await pen.run_two(await start_async(client, "two", START))
    asking = await start_async(client, "asking")
    await pen.pause(asking)
    everything = await expected(log)
    of_asking = [each for each in everything if '"workflow_id":"asking"' in each[1]]
    assert stored(await take(client, 5, workflow="asking")) == of_asking
    assert stored(await take(client, 3, type=["pause.", "workflow.published"])) == await expected(
        log, "pause.", "workflow.published"
    )
    assert [event.event for event in await take(client, 1, type="execution.completed")] == ["execution.completed"]
    assert [event.event for event in await take(client, 1, type="pause.", workflow="asking")] == ["pause.requested"]
    # `_` and `%` are letters like others.
    await client.post(f"/v1/executions/{asking}/cancel")
    assert [event.event for event in await take(client, 1, type=["execution.cancel_requested", "execution%"])] == [
        "execution.cancel_requested"
    ]


async def test_a_long_log_is_read_through_even_if_little_of_it_is_wanted(
    client: httpx.AsyncClient, pen: Pen, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead_eventlog.log.FIND_STRETCH", 7)
    monkeypatch.setattr(tailing, "_PAGE", 3)
    for _ in range(6):
        await pen.run_two(await start_async(client, "two", START))
    await pen.pause(await start_async(client, "asking"))
    assert [event.event for event in await take(client, 1, type="pause.requested")] == ["pause.requested"]
    assert stored(await take(client, 36)) == await expected(log)


async def test_a_slow_reader_and_a_bus_that_is_away_lose_nothing(
    client: httpx.AsyncClient, pen: Pen, log: EventLog, nats_server: NatsServer
) -> None:
    async def slowly(events: AsyncIterator[SentEvent], gate: asyncio.Event) -> list[SentEvent]:
        found = [await anext(events)]
        await gate.wait()
        while len(found) < 2 + 20 * 5:
            found.append(await asyncio.wait_for(anext(events), 20))
        return found

    gate = asyncio.Event()
    async with client.stream("GET", STREAM) as response:
        reading = asyncio.create_task(slowly(sent_events(response), gate))
        for number in range(20):
            if number == 18:  # without a bus, each start waits a while for it
                nats_server.kill()
            await pen.run_two(await start_async(client, "two", START), live=number < 18)
        gate.set()
        assert stored(await reading) == await expected(log)


async def test_another_tenant_sees_nothing_of_it(
    database: Database, nats_url: str, bus: Bus, client: httpx.AsyncClient, pen: Pen
) -> None:
    await pen.run_two(await start_async(client, "two", START))
    made = await create_key(database.owner_url, TenantId("other"), "ann", ["executions:read", "workflows:write"])
    none = await create_key(database.owner_url, TENANT, "bob", ["workflows:read"])
    async with gateway(database.service_url, nats_url, open_tenant=None) as door:
        assert_problem(await door.get(STREAM), 401)
        assert_problem(await door.get(STREAM, headers={"x-api-key": none.key}), 403)
        door.headers["x-api-key"] = made.key
        seen = asyncio.create_task(take(door, 1))
        await publish(door, TWO_BLOCKS)
        [event] = await seen
    assert '"tenant":"other"' in event.data


@pytest.mark.parametrize("place", ["-1", "x", "1.5", "9999999999999999999999"])
async def test_what_is_no_position_is_refused(client: httpx.AsyncClient, place: str) -> None:
    assert_problem(await client.get(STREAM, params={"after": place}), 400)
    assert_problem(await client.get(STREAM, headers={"last-event-id": place}), 400)


async def test_the_end_of_the_gateway_is_told(database: Database, nats_url: str, bus: Bus) -> None:
    async with httpx.AsyncClient(timeout=30) as outer:
        async with gateway(database.service_url, nats_url) as client:
            await publish(client, TWO_BLOCKS)
            request = outer.build_request("GET", f"{client.base_url}{STREAM}")
            response = await outer.send(request, stream=True)
            events = sent_events(response)
            assert (await anext(events)).event == "workflow.published"
        assert [event.event async for event in events] == ["error"]
