"""In which way a call is answered, and what becomes of the execution when nobody is left to be answered."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from playhead_contracts.events import ExecutionCancelRequested
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_eventlog import EventLog, open_log
from playhead_gateway.handlers.running import CLIENT_LEFT
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import ASKING, TWO_BLOCKS, Pen, gateway, keyed, publish, sent_events
from tests.system import eventually

START = {"input": {"amount": 1}}
EVENTS = "text/event-stream"


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


def start(
    client: httpx.AsyncClient, key: str, *, workflow: str = "two", headers: dict[str, str] | None = None, **body: Any
) -> "asyncio.Task[httpx.Response]":
    sent = {"idempotency-key": key} | (headers or {})
    given = (START if workflow == "two" else {}) | body
    return asyncio.create_task(client.post(f"/v1/workflows/{workflow}/executions", json=given, headers=sent))


async def mode_of(client: httpx.AsyncClient, execution_id: ExecutionId) -> str:
    return (await client.get(f"/v1/executions/{execution_id}")).json()["mode"]


async def cancels(log: EventLog, execution_id: ExecutionId) -> list[str | None]:
    """The reasons of the cancels that are recorded."""
    events = await log.read(execution_stream(execution_id))
    return [event.data.reason for event in events if isinstance(event.data, ExecutionCancelRequested)]


async def test_the_header_accept_asks_for_a_stream(client: httpx.AsyncClient, pen: Pen) -> None:
    streaming = start(client, "a-1", headers={"accept": EVENTS, "prefer": "respond-async"})
    await pen.run_two(keyed("two", "a-1"))
    response = await streaming
    assert response.headers["content-type"].startswith(EVENTS)
    assert "preference-applied" not in response.headers
    assert await mode_of(client, keyed("two", "a-1")) == "stream"


async def test_the_header_prefer_asks_not_to_wait(client: httpx.AsyncClient) -> None:
    response = await start(client, "p-1", headers={"prefer": "respond-async"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    assert response.headers["location"] == f"/v1/executions/{keyed('two', 'p-1')}"
    assert await mode_of(client, keyed("two", "p-1")) == "async"


async def test_the_body_goes_before_the_headers(client: httpx.AsyncClient, pen: Pen) -> None:
    waiting = start(client, "b-1", headers={"accept": EVENTS, "prefer": "respond-async"}, mode="sync")
    await pen.run_two(keyed("two", "b-1"))
    response = await waiting
    assert response.json()["status"] == "completed"
    assert "preference-applied" not in response.headers


async def test_a_caller_says_how_long_they_wait(client: httpx.AsyncClient, pen: Pen) -> None:
    for prefer, key in (("wait=0", "w-0"), ("wait=1", "w-1"), ("respond-async, wait=1", "w-2")):
        response = await start(client, key, headers={"prefer": prefer})
        assert (response.status_code, response.json()["status"]) == (202, "created")
        assert response.headers["preference-applied"] == prefer
    waiting = start(client, "w-3", headers={"prefer": "respond-async, wait=30"})
    await pen.run_two(keyed("two", "w-3"))
    assert (await waiting).json()["status"] == "completed"


async def test_the_same_key_may_be_listened_to_in_every_way(client: httpx.AsyncClient, pen: Pen) -> None:
    assert (await start(client, "k-1", mode="async")).status_code == 202
    await pen.run_two(keyed("two", "k-1"))
    result = (await start(client, "k-1", mode="sync")).json()
    streamed = await start(client, "k-1", mode="stream", follow=True)
    assert b"event: result\n" in streamed.content
    assert result["status"] == "completed"


async def test_a_rerun_is_answered_in_the_same_ways(client: httpx.AsyncClient, pen: Pen) -> None:
    source = keyed("two", "r-1")
    await start(client, "r-1", mode="async")
    await pen.run_two(source)
    here, body = f"/v1/executions/{source}/rerun", {"from_block": "second"}
    again = {"idempotency-key": "r-2"}
    reply = await client.post(here, json=body, headers=again | {"prefer": "respond-async"})
    assert (reply.status_code, reply.headers["preference-applied"]) == (202, "respond-async")
    async with client.stream("POST", here, json=body, headers=again | {"accept": EVENTS}) as response:
        assert response.status_code == 200
        first = await anext(sent_events(response))
    assert reply.json()["execution_id"] in first.data, "the same key, and another way to listen"


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_a_client_that_goes_away_changes_nothing(
    client: httpx.AsyncClient, pen: Pen, log: EventLog, mode: str
) -> None:
    execution_id = keyed("two", "g-1")
    calling = start(client, "g-1", mode=mode)
    await pen.created(execution_id)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await pen.run_two(execution_id)
    assert (await client.get(f"/v1/executions/{execution_id}")).json()["status"] == "completed"
    assert await cancels(log, execution_id) == []


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_a_client_that_goes_away_may_take_the_execution_along(
    client: httpx.AsyncClient, pen: Pen, log: EventLog, mode: str
) -> None:
    execution_id = keyed("two", "g-2")
    tasks = len(asyncio.all_tasks())
    calling = start(client, "g-2", mode=mode, cancel_on_disconnect=True)
    await pen.created(execution_id)
    # It has begun to listen when the stream has said something; a sync call says nothing before its end.
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)

    async def cancelled() -> bool:
        return await cancels(log, execution_id) == [CLIENT_LEFT]

    await eventually(cancelled)

    async def is_quiet() -> bool:
        return len(asyncio.all_tasks()) <= tasks + 1

    await eventually(is_quiet)


async def test_a_client_that_has_its_result_may_go(client: httpx.AsyncClient, pen: Pen, log: EventLog) -> None:
    execution_id = keyed("asking", "g-3")
    body, headers = {"mode": "stream", "cancel_on_disconnect": True, "follow": True}, {"idempotency-key": "g-3"}
    async with client.stream("POST", "/v1/workflows/asking/executions", json=body, headers=headers) as response:
        await pen.pause(execution_id)
        async for event in sent_events(response):
            if event.event == "paused":
                break
    waiting = start(client, "g-4", workflow="asking", cancel_on_disconnect=True)
    await pen.pause(keyed("asking", "g-4"))
    assert (await waiting).json()["status"] == "paused"
    # A later call of the same gateway is answered after all that came of those before it.
    done = start(client, "g-5", cancel_on_disconnect=True)
    await pen.run_two(keyed("two", "g-5"))
    assert (await done).json()["status"] == "completed"
    for one in (execution_id, keyed("asking", "g-4"), keyed("two", "g-5")):
        assert await cancels(log, one) == []


async def test_when_the_gateway_stops_nobody_has_gone_away(
    database: Database, nats_url: str, bus: Bus, pen: Pen, log: EventLog
) -> None:
    async with httpx.AsyncClient(timeout=30) as outer:
        async with gateway(database.service_url, nats_url, stop_seconds=1) as client:
            await publish(client, TWO_BLOCKS)
            outer.base_url = client.base_url
            streaming = start(outer, "s-1", mode="stream", cancel_on_disconnect=True)
            waiting = start(outer, "s-2", mode="sync", cancel_on_disconnect=True)
            for key in ("s-1", "s-2"):
                await pen.created(keyed("two", key))
        assert b"event: error\n" in (await streaming).content
        assert (await waiting).status_code == 202
    for key in ("s-1", "s-2"):
        assert await cancels(log, keyed("two", key)) == []
