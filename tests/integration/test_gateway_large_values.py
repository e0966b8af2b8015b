"""Large values through the gateway: they are stored apart, and no client can tell."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import msgspec
import psycopg
import pytest

from playhead_contracts.events import BlockReused, ExecutionCompleted
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_eventlog import BLOB_BYTES, EventLog, open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import TWO_BLOCKS, Pen, SentEvent, done, gateway, keyed, publish, sent_events, start_async, started

INPUT = {"amount": 1, "text": "i" * BLOB_BYTES}
FIRST = {"a": "f" * BLOB_BYTES, "blobs": {"outputs": 1}}
SECOND = {"b": "s" * BLOB_BYTES}


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
        yield client


async def run(pen: Pen, execution_id: ExecutionId, *, live: bool = True) -> None:
    """Run `TWO_BLOCKS` to its end, with large outputs."""
    await pen.created(execution_id)
    await pen.write(execution_id, started(), done("first", FIRST), live=live)
    await pen.write(execution_id, done("second", SECOND), ExecutionCompleted(output={"of": SECOND}), live=live)


async def follow(client: httpx.AsyncClient, execution_id: ExecutionId, after: int = 0) -> list[SentEvent]:
    headers = {"last-event-id": str(after)} if after else {}
    async with client.stream("GET", f"/v1/executions/{execution_id}/stream", headers=headers) as response:
        assert response.status_code == 200
        return [event async for event in sent_events(response)]


def facts_of(events: list[SentEvent]) -> list[SentEvent]:
    """Those that are stored."""
    return [event for event in events if event.id is not None]


@pytest.mark.parametrize("live", [True, False])
async def test_followers_get_large_values_in_their_place_whether_told_live_or_read_from_the_log(
    client: httpx.AsyncClient, pen: Pen, live: bool
) -> None:
    execution_id = await start_async(client, "two", {"input": INPUT})
    early = asyncio.create_task(follow(client, execution_id))
    await run(pen, execution_id, live=live)
    assert all(len(frame) < 2000 for frame in await pen.frames(execution_id))
    for told in (await early, await follow(client, execution_id)):
        [output] = [msgspec.json.decode(event.data) for event in told if event.event == "output"]
        assert (output["block"], output["content"]) == ("second", SECOND)
        events = facts_of(told)
        assert [event.id for event in events] == [1, 2, 3, 4, 5]
        data = [msgspec.json.decode(event.data)["data"] for event in events]
        assert data[0]["input"] == INPUT
        assert [data[2]["outputs"], data[3]["outputs"], data[4]["output"]] == [FIRST, SECOND, {"of": SECOND}]
        assert data[2]["blobs"].keys() == {"outputs"}
        assert events[1].data == (await pen.frames(execution_id))[1]
    assert [event.id for event in facts_of(await follow(client, execution_id, after=3))] == [4, 5]


async def test_results_and_views_have_large_values(client: httpx.AsyncClient, pen: Pen) -> None:
    body = {"mode": "sync", "input": INPUT}
    asked = asyncio.create_task(
        client.post("/v1/workflows/two/executions", json=body, headers={"idempotency-key": "one"})
    )
    execution_id = keyed("two", "one")
    await run(pen, execution_id)
    result = (await asked).json()
    assert (result["status"], result["output"]) == ("completed", {"of": SECOND})

    here = f"/v1/executions/{execution_id}"
    assert (await client.get(here)).json()["input"] == INPUT
    blocks = (await client.get(f"{here}/blocks")).json()["items"]
    assert [block["outputs"] for block in blocks] == [FIRST, SECOND]
    facts = (await client.get(f"{here}/events")).json()["items"]
    assert [fact["data"].get("outputs") for fact in facts] == [None, None, FIRST, SECOND, None]


async def test_a_rerun_reuses_large_outputs_by_reference(client: httpx.AsyncClient, pen: Pen) -> None:
    source = await start_async(client, "two", {"input": INPUT})
    await run(pen, source)
    order = {"from_block": "second", "mode": "async"}
    answered = await client.post(f"/v1/executions/{source}/rerun", json=order)
    assert answered.status_code == 202, answered.text
    fork = ExecutionId(answered.json()["execution_id"])
    created, reused = await pen.log.read_raw(execution_stream(fork))
    assert len(created.data) + len(reused.data) < 3000
    state = await pen.created(fork)
    assert state.input == INPUT
    [event] = [event for event in await pen.log.read(execution_stream(fork)) if isinstance(event.data, BlockReused)]
    assert isinstance(event.data, BlockReused)
    assert event.data.outputs == FIRST


async def test_a_value_that_is_lost_is_told_as_a_fault_and_not_as_nothing(
    client: httpx.AsyncClient, pen: Pen, database: Database
) -> None:
    execution_id = await start_async(client, "two", {"input": {"amount": 1}})
    await run(pen, execution_id)
    async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
        await owner.execute("alter table log.blobs disable trigger all")
        await owner.execute("delete from log.blobs")
    events = await follow(client, execution_id)
    assert [event.event for event in events] == ["execution.created", "execution.started", "error"]
    assert (await client.get(f"/v1/executions/{execution_id}")).status_code == 500
