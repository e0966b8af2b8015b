"""Starting, looking, cancelling, running again: what a caller is told, and what the log holds then."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from playhead_contracts.events import (
    BlockError,
    BlockFailed,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
)
from playhead_contracts.ids import BlockPath, ExecutionId, execution_stream
from playhead_eventlog import EventLog, open_log
from playhead_projector.app import serve as serve_projector
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_nats import NatsServer
from tests.conftest import Database
from tests.door import (
    ASKING,
    TWO_BLOCKS,
    Pen,
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


@pytest.fixture
async def projector(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    settings = ProjectorSettings(database_url=database.service_url, nats_url=nats_url)
    running = asyncio.create_task(serve_projector(settings, stop))
    yield
    stop.set()
    await asyncio.wait_for(running, 30)


async def start(client: httpx.AsyncClient, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return await client.post("/v1/workflows/two/executions", json=START | body, headers=headers)


async def test_fifty_parallel_creates_with_one_key_make_one_execution(client: httpx.AsyncClient, log: EventLog) -> None:
    responses = await asyncio.gather(*(start(client, "k-1", mode="async") for _ in range(50)))
    assert {response.status_code for response in responses} == {202}
    assert {response.json()["execution_id"] for response in responses} == {keyed("two", "k-1")}
    kinds = [raw.type for raw in await log.read_log(0, 100)]
    assert kinds.count("execution.created") == 1


async def test_one_key_with_another_body_is_refused(client: httpx.AsyncClient) -> None:
    assert (await start(client, '"k-2"', mode="async")).status_code == 202
    # The mode is how to listen, not what to run; and a quoted key is the same as a bare one.
    assert (await start(client, "k-2", mode="async")).status_code == 202
    for other in ({"input": {"amount": 2}}, {"variables": {"x": 1}}, {"outputs": ["first"]}, {"input": "wrong"}):
        problem = assert_problem(await start(client, "k-2", mode="async", **other), 422, "idempotency-key-reused")
        assert problem["execution_id"] == keyed("two", "k-2")


async def test_a_repeat_is_the_same_execution_whatever_was_published_since(client: httpx.AsyncClient) -> None:
    first = await start(client, "k-3", mode="async")
    await publish(client, TWO_BLOCKS.replace("amount: {type: number}", "amount: {type: string}"))
    again = await start(client, "k-3", mode="async")
    assert again.json() == first.json()


@pytest.mark.parametrize("key", ["", "x" * 300, '""'])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    assert_problem(await start(client, key, mode="async"), 400)


async def test_a_sync_call_gives_the_result(client: httpx.AsyncClient, pen: Pen) -> None:
    waiting = asyncio.create_task(start(client, "s-1"))
    await pen.run_two(keyed("two", "s-1"))
    response = await waiting
    assert response.status_code == 200
    body = response.json()
    assert (body["status"], body["output"], body["version"]) == ("completed", {"b": 2}, 1)
    assert body["outputs"] == {
        "second": {"type": "function", "status": "completed", "content": {"b": 2}, "display_name": "second"}
    }
    assert body["metadata"]["blocks"] == {"run": 2, "reused": 0, "skipped": 0, "failed": 0}
    assert body["has_errors"] is False
    assert (await start(client, "s-1")).json() == body


async def test_a_sync_call_gives_the_result_even_if_the_bus_loses_every_live_message(
    client: httpx.AsyncClient, pen: Pen
) -> None:
    waiting = asyncio.create_task(start(client, "s-2"))
    await pen.run_two(keyed("two", "s-2"), live=False)
    assert (await waiting).json()["status"] == "completed"


async def test_the_outputs_asked_for_are_given(client: httpx.AsyncClient, pen: Pen) -> None:
    waiting = asyncio.create_task(start(client, "s-3", outputs=["first"]))
    await pen.run_two(keyed("two", "s-3"))
    assert list((await waiting).json()["outputs"]) == ["first"]


async def test_a_sync_call_of_what_pauses_gives_the_open_pauses(client: httpx.AsyncClient, pen: Pen) -> None:
    call = client.post("/v1/workflows/asking/executions", json={}, headers={"idempotency-key": "p-1"})
    waiting = asyncio.create_task(call)
    pause_id = await pen.pause(keyed("asking", "p-1"))
    body = (await waiting).json()
    assert body["status"] == "paused"
    assert [pause["pause_id"] for pause in body["pauses"]] == [pause_id]
    assert body["pauses"][0]["form"]["required"] == ["approved"]


async def test_waiting_for_a_timer_is_not_a_result(client: httpx.AsyncClient, pen: Pen) -> None:
    waiting = asyncio.create_task(start(client, "s-4"))
    execution_id = keyed("two", "s-4")
    await pen.created(execution_id)
    await pen.write(execution_id, started(), ExecutionPaused(epoch=1))
    assert (await client.get(f"/v1/executions/{execution_id}")).json()["status"] == "paused"
    assert not waiting.done()
    await pen.write(
        execution_id,
        ExecutionResumed(executor="pen", epoch=2, command="timer"),
        ExecutionCompleted(output=1),
    )
    assert (await waiting).json()["status"] == "completed"


async def test_a_sync_call_that_takes_too_long_says_where_to_look(database: Database, nats_url: str, bus: Bus) -> None:
    async with gateway(database.service_url, nats_url, sync_wait_seconds=0.05) as client:
        await publish(client, TWO_BLOCKS)
        response = await start(client)
        assert response.status_code == 202
        assert response.json()["status"] == "created"
        assert (await client.get(response.headers["location"])).json()["status"] == "created"


async def test_an_execution_can_be_seen_as_soon_as_its_id_is_known(client: httpx.AsyncClient) -> None:
    response = await start(client, mode="async")
    assert response.headers["location"] == f"/v1/executions/{response.json()['execution_id']}"
    for link in ("self", "events", "blocks", "state"):
        assert (await client.get(response.json()["links"][link])).status_code == 200


async def test_a_start_is_promised_by_the_log_even_if_the_bus_is_down(
    client: httpx.AsyncClient, nats_server: NatsServer
) -> None:
    nats_server.kill()
    response = await start(client, mode="async")
    assert response.status_code == 202
    assert (await client.get(response.headers["location"])).json()["status"] == "created"
    ready = await client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["checks"]["log"] == "ok"


async def test_a_streaming_start_tells_the_facts_from_the_first_to_the_last(
    client: httpx.AsyncClient, pen: Pen
) -> None:
    execution_id = keyed("two", "t-1")
    request = client.stream(
        "POST",
        "/v1/workflows/two/executions",
        json=START | {"mode": "stream"},
        headers={"idempotency-key": "t-1"},
    )
    async with request as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        await pen.run_two(execution_id)
        events = [event async for event in sent_events(response)]
    facts = [event for event in events if event.id is not None]
    assert [event.id for event in facts] == [1, 2, 3, 4, 5]
    assert events[-1].event == "execution.completed"
    assert [event.data for event in facts] == await pen.frames(execution_id)


async def test_a_streaming_start_ends_with_the_pause(client: httpx.AsyncClient, pen: Pen) -> None:
    request = client.stream(
        "POST",
        "/v1/workflows/asking/executions",
        json={"mode": "stream"},
        headers={"idempotency-key": "t-2"},
    )
    async with request as response:
        await pen.pause(keyed("asking", "t-2"))
        events = [event async for event in sent_events(response)]
    assert [event.event for event in events[-2:]] == ["execution.paused", "paused"]


async def test_the_status_of_a_failed_execution_is_no_error_of_the_call(client: httpx.AsyncClient, pen: Pen) -> None:
    waiting = asyncio.create_task(start(client, "f-1"))
    execution_id = keyed("two", "f-1")
    await pen.created(execution_id)
    error = BlockError(type="boom", message="It broke")
    first = BlockPath("first")
    await pen.write(
        execution_id, started(), BlockFailed(path=first, error=error), ExecutionFailed(error=error, block=first)
    )
    for response in (await waiting, await client.get(f"/v1/executions/{execution_id}")):
        assert response.status_code == 200
        body = response.json()
        assert (body["status"], body["has_errors"], body["answer"]["reason"]) == ("failed", True, "failed")
        assert body["error"]["message"] == "It broke"
        assert body["error"]["block"] == "first"


async def test_cancelling_is_recorded_once_and_refused_after_the_end(
    client: httpx.AsyncClient, pen: Pen, log: EventLog
) -> None:
    execution_id = await start_async(client, "two", START)
    for _ in range(2):
        response = await client.post(f"/v1/executions/{execution_id}/cancel", json={"reason": "enough"})
        assert response.status_code == 202
    events = await log.read(execution_stream(execution_id))
    assert [event.data for event in events[1:]] == [ExecutionCancelRequested(reason="enough")]
    await pen.write(execution_id, started(), ExecutionCompleted())
    assert_problem(await client.post(f"/v1/executions/{execution_id}/cancel"), 409, "execution-ended")


async def test_cancels_at_the_same_moment_as_other_facts_are_not_lost(
    client: httpx.AsyncClient, pen: Pen, log: EventLog
) -> None:
    execution_id = await start_async(client, "two", START)
    responses, _ = await asyncio.gather(
        asyncio.gather(*(client.post(f"/v1/executions/{execution_id}/cancel") for _ in range(20))),
        pen.write(execution_id, started()),
        return_exceptions=True,
    )
    assert isinstance(responses, list)
    assert {response.status_code for response in responses} == {202}  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    kinds = [event.data.type_name() for event in await log.read(execution_stream(execution_id))]
    assert kinds.count("execution.cancel_requested") == 1


async def test_the_state_can_be_seen_at_every_version_and_moment(
    client: httpx.AsyncClient, pen: Pen, log: EventLog
) -> None:
    execution_id = await start_async(client, "two", START)
    await pen.run_two(execution_id)
    here = f"/v1/executions/{execution_id}/state"
    for version in range(1, 6):
        state = (await client.get(here, params={"version": version})).json()
        assert state["version"] == version
    events = await log.read(execution_stream(execution_id))
    third = events[2].recorded_at
    at = (await client.get(here, params={"at": third.isoformat()})).json()
    assert at["version"] == max(event.version for event in events if event.recorded_at <= third)
    assert (await client.get(f"{here}?at={third.isoformat()}")).json() == at  # "+" that reads as a space
    before = (events[0].recorded_at - timedelta(seconds=1)).isoformat()
    assert_problem(await client.get(here, params={"at": before}), 404)
    assert_problem(await client.get(here, params={"version": 6}), 404)
    for impossible in ({"version": "0"}, {"version": "-1"}, {"version": "1.5"}, {"version": "9" * 30}):
        assert_problem(await client.get(here, params=impossible), 422)
    for impossible in ({"at": "yesterday"}, {"at": "2026-01-01"}, {"at": "2026-01-01T00:00:00Z", "version": "1"}):
        assert_problem(await client.get(here, params=impossible), 422)


async def test_events_are_paged_byte_for_byte(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "two", START)
    await pen.run_two(execution_id)
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        response = await client.get(f"/v1/executions/{execution_id}/events", params={"after": after, "limit": 2})
        page = response.json()
        assert len(page["items"]) <= 2
        found += [str(item["version"]) for item in page["items"]]
        for frame in (await pen.frames(execution_id))[after : after + 2]:
            assert frame in response.text
        after = page["next_after"]
    assert found == ["1", "2", "3", "4", "5"]
    for impossible in ("-1", "NaN", "1e3", "9" * 12):
        response = await client.get(f"/v1/executions/{execution_id}/events", params={"after": impossible})
        assert_problem(response, 400)


async def test_blocks_are_shown_one_row_each(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "two", START)
    await pen.run_two(execution_id)
    rows = (await client.get(f"/v1/executions/{execution_id}/blocks")).json()["items"]
    assert [(row["path"], row["status"], row["outputs"]) for row in rows] == [
        ("first", "completed", {"a": 1}),
        ("second", "completed", {"b": 2}),
    ]


async def test_a_dry_run_gives_the_plan_and_records_nothing(client: httpx.AsyncClient, pen: Pen, log: EventLog) -> None:
    execution_id = await start_async(client, "two", START)
    await pen.run_two(execution_id)
    before = await log.last_position()
    response = await client.post(f"/v1/executions/{execution_id}/rerun", json={"from_block": "second", "dry_run": True})
    assert response.status_code == 200
    plan = response.json()["plan"]
    assert (plan["scope"], plan["reused"]) == (["second"], ["first"])
    assert [(block["path"], block["reasons"]) for block in plan["blocks"]] == [
        ("first", [{"why": "unchanged"}]),
        ("second", [{"why": "target"}]),
    ]
    again = await client.post(
        f"/v1/executions/{execution_id}/rerun",
        json={"from_block": "second", "dry_run": True, "plan_digest": plan["digest"]},
    )
    assert again.json() == response.json()
    assert await log.last_position() == before


async def test_a_rerun_is_a_new_execution_that_takes_over_what_was_done(
    client: httpx.AsyncClient, pen: Pen, log: EventLog
) -> None:
    source = await start_async(client, "two", START)
    await pen.run_two(source)
    here = f"/v1/executions/{source}/rerun"
    body = {"from_block": "second"}
    waiting = asyncio.create_task(client.post(here, json=body, headers={"idempotency-key": "r-1"}))

    async def fork_of() -> ExecutionId | None:
        raws = await log.read_log(0, 1000)
        forks = [raw for raw in raws if raw.type == "block.reused"]
        return ExecutionId(forks[0].stream_id.removeprefix("execution:")) if forks else None

    fork = await eventually(fork_of)
    await pen.write(fork, started(), done("second", {"b": 3}), ExecutionCompleted(output={"b": 3}))
    result = (await waiting).json()
    assert result["execution_id"] == fork != source
    assert result["plan"]["scope"] == ["second"]
    assert result["metadata"]["blocks"] == {"run": 1, "reused": 1, "skipped": 0, "failed": 0}
    shown = (await client.get(f"/v1/executions/{fork}")).json()
    assert shown["source"] == {"execution_id": source, "version": 5, "from_block": "second"}
    rows = (await client.get(f"/v1/executions/{fork}/blocks")).json()["items"]
    assert rows[0]["outputs"] == {"a": 1}
    assert rows[0]["reused_from"] == {"execution_id": source, "version": 3}
    again = await client.post(here, json=body, headers={"idempotency-key": "r-1"})
    assert again.json() == result
    other = await client.post(here, json={"from_block": "first"}, headers={"idempotency-key": "r-1"})
    assert_problem(other, 422, "idempotency-key-reused")
    compared = (await client.get("/v1/executions/compare", params={"a": source, "b": fork})).json()
    assert [block["verdict"] for block in compared["blocks"]] == ["reused", "changed"]


async def test_a_rerun_that_cannot_be_is_refused_and_nothing_is_recorded(
    client: httpx.AsyncClient, pen: Pen, log: EventLog
) -> None:
    source = await start_async(client, "two", START)
    await pen.run_two(source)
    before = await log.last_position()
    here = f"/v1/executions/{source}/rerun"
    assert_problem(await client.post(here, json={"from_block": "third"}), 422, "rerun-refused")
    assert_problem(await client.post(here, json={}), 422, "rerun-refused")
    assert_problem(await client.post(here, json={"from_block": 7}), 422, "invalid-request")
    assert_problem(await client.post(here, json={"from_block": "second", "until_block": "x"}), 422, "rerun-refused")
    assert_problem(await client.post(here, json={"from_block": "first[1]"}), 422, "rerun-refused")
    assert_problem(await client.post(here, json={"from_block": "first", "plan_digest": "old"}), 409, "plan-changed")
    assert_problem(
        await client.post(here, json={"from_block": "first", "input": {"amount": "x"}}), 422, "input-does-not-fit"
    )
    assert_problem(await client.post(here, json={"from_block": "first", "at_version": 6}), 404)
    assert_problem(await client.post(here, json={"from_block": "first", "at_version": -1}), 404)
    assert await log.last_position() == before


async def test_a_rerun_of_the_latest_definition_says_what_changed(client: httpx.AsyncClient, pen: Pen) -> None:
    source = await start_async(client, "two", START)
    await pen.run_two(source)
    await publish(client, TWO_BLOCKS.replace("{'a': 1}", "{'a': 10}"))
    response = await client.post(
        f"/v1/executions/{source}/rerun",
        json={"from_block": "second", "definition": "latest", "dry_run": True},
    )
    reasons = {block["path"]: block["reasons"] for block in response.json()["plan"]["blocks"]}
    assert reasons["first"] == [{"why": "definition_changed"}]


async def test_lists_are_paged_newest_first_without_gap_or_repeat(client: httpx.AsyncClient, projector: None) -> None:
    made = [await start_async(client, "two", START) for _ in range(7)]
    other = await start_async(client, "asking")

    async def page(**filters: Any) -> dict[str, Any]:
        response = await client.get("/v1/executions", params={"limit": 3} | filters)
        assert response.status_code == 200, response.text
        return response.json()

    async def all_there() -> bool | None:
        response = await client.get("/v1/executions")
        return (response.status_code == 200 and len(response.json()["items"]) == 8) or None

    await eventually(all_there)
    found: list[str] = []
    answer = await page(workflow="two")
    while True:
        found += [row["execution_id"] for row in answer["items"]]
        if answer["next_cursor"] is None:
            break
        answer = await page(workflow="two", cursor=answer["next_cursor"])
    assert found == made[::-1]
    newest = (await page(limit=1))["items"][0]
    assert newest["execution_id"] == other
    assert (await page(since=newest["created_at"]))["items"] == [newest]
    assert len((await page(until=newest["created_at"], limit=100))["items"]) == 7
    assert (await page(status="failed"))["items"] == []
    for impossible in ({"cursor": "!"}, {"cursor": "e30"}, {"since": "soon"}, {"status": "odd"}, {"limit": 0}):
        assert_problem(await client.get("/v1/executions", params=impossible), 400)
    listed = (await client.get("/v1/workflows", params={"limit": 1})).json()
    assert [row["workflow_id"] for row in listed["items"]] == ["asking"]
    rest = (await client.get("/v1/workflows", params={"cursor": listed["next_cursor"]})).json()
    assert [row["workflow_id"] for row in rest["items"]] == ["two"]
