"""Looking at executions with loops in them: every instance, page by page, however long they are."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockStarted,
    ContainerStart,
    EventData,
    ExecutionCompleted,
    IterationCompleted,
    NewEvent,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, execution_stream
from playhead_engine.state import KEPT_INSTANCES
from playhead_eventlog import EventLog, open_log
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.door import Pen, assert_problem, gateway, publish, start_async, started
from tests.system import eventually, projector

LOOP = """
id: looping
blocks:
  each:
    type: loop
    for: 100
    max_iterations: 5000
    blocks:
      first: {type: function, code: "1", next: inner}
      inner: {type: parallel, count: 1, blocks: {deep: {type: function, code: "2"}}}
"""
Row = dict[str, Any]


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
        await publish(client, LOOP)
        yield client


def done(path: str, outputs: int) -> BlockCompleted:
    return BlockCompleted(path=BlockPath(path), outputs=outputs, inputs={}, started_at=datetime.now(UTC))


def iteration(index: int) -> list[EventData]:
    """What an executor writes about one iteration of `LOOP`: six events, four instances."""
    inner = BlockPath(f"each[{index}]/inner")
    return [
        done(f"each[{index}]/first", index),
        BlockStarted(path=inner, container=ContainerStart(kind="parallel", count=1)),
        done(f"{inner}[0]/deep", index),
        IterationCompleted(path=inner, index=0, outputs=index),
        BlockCompleted(path=inner, outputs={"results": [index]}),
        IterationCompleted(path=BlockPath("each"), index=index, outputs=index),
    ]


def paths_of(count: int) -> list[str]:
    found = ["each"]
    for index in range(count):
        found += [f"each[{index}]/first", f"each[{index}]/inner", f"each[{index}]/inner[0]/deep"]
    return found


async def run_loop(client: httpx.AsyncClient, pen: Pen, count: int) -> ExecutionId:
    """An execution of `LOOP` that has had `count` iterations and has ended."""
    execution_id = await start_async(client, "looping")
    state = await pen.created(execution_id)
    each = BlockPath("each")
    facts: list[EventData] = [started(), BlockStarted(path=each, container=ContainerStart(kind="loop", count=count))]
    for index in range(count):
        facts += iteration(index)
    facts += [BlockCompleted(path=each, outputs={"iterations": count}), ExecutionCompleted(output=count)]
    _, head = await pen.log.load(execution_stream(execution_id))
    for at in range(0, len(facts), 600):
        events = [
            NewEvent(
                id=EventId(new_id()),
                data=fact,
                tenant=state.tenant,
                workflow_id=state.workflow_id,
                execution_id=execution_id,
                actor=Actor(kind="system", name="pen"),
                recorded_at=datetime.now(UTC),
            )
            for fact in facts[at : at + 600]
        ]
        head = (await pen.log.append(execution_stream(execution_id), head, events)).head
    return execution_id


async def rows_of(client: httpx.AsyncClient, execution_id: ExecutionId, **query: Any) -> list[Row]:
    """All rows, page by page."""
    found: list[Row] = []
    while True:
        response = await client.get(f"/v1/executions/{execution_id}/blocks", params=query)
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["items"]) <= query.get("limit", 1000)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_every_instance_has_a_row_whichever_the_pages(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await run_loop(client, pen, 4)
    found = await rows_of(client, execution_id)
    assert [row["path"] for row in found] == paths_of(4)
    assert await rows_of(client, execution_id, limit=1) == found
    assert await rows_of(client, execution_id, limit=5) == found
    deep = next(row for row in found if row["path"] == "each[2]/inner[0]/deep")
    assert (deep["type"], deep["status"], deep["outputs"], deep["child"]) == ("function", "completed", 2, None)
    assert found[0]["outputs"] == {"iterations": 4}


@pytest.mark.parametrize(
    ("under", "expected"),
    [
        ("each", paths_of(3)[1:]),
        ("each[1]", paths_of(3)[4:7]),
        ("each[1]/inner", ["each[1]/inner[0]/deep"]),
        ("each[1]/inner[0]", ["each[1]/inner[0]/deep"]),
        ("each[1]/first", []),
        ("each[77]", []),
    ],
)
async def test_what_is_inside_of_a_container_is_shown_alone(
    client: httpx.AsyncClient, pen: Pen, under: str, expected: list[str]
) -> None:
    execution_id = await run_loop(client, pen, 3)
    assert [row["path"] for row in await rows_of(client, execution_id, under=under, limit=2)] == expected


@pytest.mark.parametrize("impossible", [{"under": "eech"}, {"under": ""}, {"cursor": "!"}, {"limit": 0}])
async def test_a_part_that_there_cannot_be_is_refused(
    client: httpx.AsyncClient, pen: Pen, impossible: dict[str, Any]
) -> None:
    execution_id = await run_loop(client, pen, 1)
    assert_problem(await client.get(f"/v1/executions/{execution_id}/blocks", params=impossible), 400)


async def test_a_long_execution_shows_the_same_from_the_log_and_from_the_read_model(
    client: httpx.AsyncClient, pen: Pen, database: Database, nats_url: str
) -> None:
    execution_id = await run_loop(client, pen, 400)
    from_log = await rows_of(client, execution_id)
    assert len(from_log) == 1 + 3 * 400 > KEPT_INSTANCES
    assert [row["path"] for row in from_log] == paths_of(400)
    async with projector(database.service_url, nats_url):

        async def is_known() -> bool:
            response = await client.get("/v1/executions")
            return response.status_code == 200 and bool(response.json()["items"])

        await eventually(is_known)
        assert await rows_of(client, execution_id, limit=500) == from_log
        some = await rows_of(client, execution_id, under="each[7]")
        assert some == [row for row in from_log if row["path"].startswith("each[7]/")]


async def test_the_state_of_a_long_execution_is_told_at_every_version_of_interest(
    client: httpx.AsyncClient, pen: Pen
) -> None:
    execution_id = await run_loop(client, pen, 400)
    last = 3 + 6 * 400 + 2
    shown = (await client.get(f"/v1/executions/{execution_id}")).json()
    assert (shown["status"], shown["last_version"], shown["output"]) == ("completed", last, 400)
    for version in (1, 999, 1000, 1001, 2000, last):
        state = (await client.get(f"/v1/executions/{execution_id}/state", params={"version": version})).json()
        assert state["version"] == version
        at = await client.get(f"/v1/executions/{execution_id}/state", params={"at": state["updated_at"]})
        assert at.json()["version"] >= version
    assert_problem(await client.get(f"/v1/executions/{execution_id}/state", params={"version": last + 1}), 404)
