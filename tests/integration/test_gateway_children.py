"""A workflow that starts another one, as callers of the outer one see it."""

from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest

from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import gateway, publish, sent_events
from tests.system import eventually, executor, hitl, projector

INNER = """
id: inner
blocks:
  ask: {type: human, message: "Pay {{ input.n }}?", next: out}
  out: {type: response, body: {n: "{{ input.n }}", by: "{{ blocks.ask.answer.name }}"}}
"""
MIDDLE = """
id: middle
blocks:
  sub: {type: workflow, workflow: inner, input: {n: "{{ input.n }}"}, next: out}
  out: {type: response, body: "{{ blocks.sub.output }}"}
"""
OUTER = """
id: outer
blocks:
  both:
    type: parallel
    collection: [1, 2]
    blocks: {sub: {type: workflow, workflow: middle, input: {n: "{{ parallel.item }}"}}}
output: "{{ blocks.both.results.map(r, r.output) }}"
"""


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    url = database.service_url
    async with (
        executor(url, nats_url),
        hitl(url, nats_url),
        projector(url, nats_url),
        gateway(url, nats_url) as client,
    ):
        for document in (INNER, MIDDLE, OUTER):
            await publish(client, document)
        yield client


async def answer(client: httpx.AsyncClient, execution_id: str, pause_id: str, name: str) -> httpx.Response:
    here = f"/v1/executions/{execution_id}/pauses/{pause_id}/resume"

    async def taken() -> httpx.Response | None:
        response = await client.post(here, json={"input": {"name": name}})
        return None if response.status_code == 503 else response  # hitl may still be starting

    return await eventually(taken)


async def test_a_caller_is_given_the_pauses_of_children_and_their_children(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/workflows/outer/executions", json={})
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "paused")
    outer = body["execution_id"]

    async def both_asked() -> list[dict[str, str]] | None:
        shown = (await client.get(f"/v1/executions/{outer}")).json()
        return shown["pauses"] if len(shown.get("pauses", ())) == 2 else None

    pauses = await eventually(both_asked)
    assert sorted(pause["message"] for pause in pauses) == ["Pay 1?", "Pay 2?"]
    inner = {pause["message"]: pause["execution_id"] for pause in pauses}
    assert outer not in inner.values()

    for pause in pauses:
        number = pause["message"][4]
        # Children are listened to as their parent is: here, until there is a result.
        response = await answer(client, pause["execution_id"], pause["pause_id"], number)
        assert (response.status_code, response.json()["status"]) == (200, "completed")
        assert response.json()["output"] == {"n": int(number), "by": number}

    async with client.stream("GET", f"/v1/executions/{outer}/stream?follow=true") as stream:
        last = [event async for event in sent_events(stream)][-1]
    assert last.event == "execution.completed"
    assert msgspec.json.decode(last.data)["data"]["output"] == [{"n": 1, "by": "1"}, {"n": 2, "by": "2"}]
    assert "pauses" not in (await client.get(f"/v1/executions/{outer}")).json()


async def test_a_streaming_caller_is_told_up_to_the_pause_of_the_child(client: httpx.AsyncClient) -> None:
    body = {"mode": "stream", "input": {"n": 7}}
    async with client.stream("POST", "/v1/workflows/middle/executions", json=body) as response:
        events = [event async for event in sent_events(response)]
    assert [event.event for event in events[-2:]] == ["execution.paused", "paused"]
    fact, paused = (msgspec.json.decode(event.data) for event in events[-2:])
    shown = (await client.get(f"/v1/executions/{fact['execution_id']}")).json()
    assert [pause["pause_id"] for pause in shown["pauses"]] == fact["data"]["pauses"]
    assert paused["pauses"] == shown["pauses"]
    assert paused["pauses"][0]["execution_id"] != fact["execution_id"]


async def test_parents_and_children_lead_to_each_other(client: httpx.AsyncClient) -> None:
    parent = (await client.post("/v1/workflows/middle/executions", json={"input": {"n": 7}})).json()["execution_id"]
    shown = (await client.get(f"/v1/executions/{parent}")).json()
    [child] = shown["children"]
    assert "parent" not in shown
    assert (await client.get(f"/v1/executions/{child}")).json()["parent"] == {"execution_id": parent, "path": "sub"}
    rows = (await client.get(f"/v1/executions/{parent}/blocks")).json()["items"]
    assert [(row["path"], row["child"]) for row in rows] == [("sub", child)]

    async def listed() -> list[dict[str, str]]:
        return (await client.get(shown["links"]["children"])).json()["items"]

    [row] = await eventually(listed)
    assert (row["execution_id"], row["parent"], row["workflow_id"]) == (child, parent, "inner")
    response = await client.get("/v1/executions", params={"parent": "nonsense"})
    assert response.status_code == 400
