"""Executions in time over HTTP: what changed between two versions, what a fork saved, and where forks come from."""

from collections.abc import AsyncGenerator
from copy import deepcopy
from typing import Any

import httpx
import jsonpatch  # pyright: ignore[reportMissingTypeStubs]
import pytest

from playhead_contracts.ids import ExecutionId
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import assert_problem, gateway, publish
from tests.outside import OutsideServer
from tests.system import executor, projector

UNKNOWN = "01a1fbf6-ea1d-75b3-bd0f-89f26aa50780"
ORDER = """
id: order
input: {type: object, properties: {n: {type: integer}}}
variables: {seen: 0}
blocks:
  reserve: {type: http, method: POST, url: "{{ input.url }}", next: price}
  price: {type: function, code: "{'net': 10, 'items': [1, 2, 3]}", next: ship}
  ship: {type: function, code: "{'n': inputs['n'], 'items': [1, 2]}", inputs: {n: "{{ input.n }}"}, next: tell}
  tell: {type: function, code: "'done'"}
"""


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    url = database.service_url
    async with executor(url, nats_url), projector(url, nats_url), gateway(url, nats_url) as client:
        await publish(client, ORDER)
        yield client


@pytest.fixture
async def shop() -> AsyncGenerator[OutsideServer]:
    async with OutsideServer() as made:
        made.respond("/reserve", body={"ok": True})
        yield made


async def run(client: httpx.AsyncClient, shop: OutsideServer, n: int = 1) -> str:
    given = {"n": n, "url": f"{shop.url}/reserve"}
    response = await client.post("/v1/workflows/order/executions", json={"input": given, "mode": "sync"})
    assert response.json()["status"] == "completed", response.text
    return response.json()["execution_id"]


async def fork(client: httpx.AsyncClient, execution_id: str, block: str, **more: Any) -> str:
    body = {"from_block": block, "mode": "sync", **more}
    response = await client.post(f"/v1/executions/{execution_id}/rerun", json=body)
    assert response.status_code == 200, response.text
    return response.json()["execution_id"]


async def test_a_diff_leads_from_any_version_to_any_other(client: httpx.AsyncClient, shop: OutsideServer) -> None:
    execution_id = await run(client, shop)
    here = f"/v1/executions/{execution_id}"
    last = (await client.get(here)).json()["last_version"]
    states = [(await client.get(f"{here}/state", params={"version": v})).json() for v in range(1, last + 1)]
    for since in range(1, last + 1):
        for until in range(1, last + 1):
            found = (await client.get(f"{here}/diff", params={"from": since, "to": until})).json()
            assert (found["from"], found["to"]) == (since, until)
            patched = jsonpatch.apply_patch(deepcopy(states[since - 1]), found["patch"])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            assert patched == states[until - 1]
            assert since != until or found["patch"] == []


async def test_a_diff_of_versions_that_never_were_is_refused(client: httpx.AsyncClient, shop: OutsideServer) -> None:
    here = f"/v1/executions/{await run(client, shop)}/diff"
    assert_problem(await client.get(here, params={"from": 1}), 400)
    assert_problem(await client.get(here, params={"from": 1, "to": 999}), 404)
    assert_problem(await client.get(here, params={"from": 999, "to": 1}), 404)
    assert_problem(await client.get(here, params={"from": "x", "to": 1}), 422)
    assert_problem(await client.get(here, params={"from": 0, "to": 1}), 422)
    assert_problem(await client.get(f"/v1/executions/{UNKNOWN}/diff", params={"from": 1, "to": 2}), 404)


async def test_a_comparison_says_what_changed_and_what_was_saved(
    client: httpx.AsyncClient, shop: OutsideServer
) -> None:
    a = await run(client, shop)
    b = await fork(client, a, "ship", input={"n": 2, "url": f"{shop.url}/reserve"})
    compared = (await client.get("/v1/executions/compare", params={"a": a, "b": b})).json()
    blocks = {block["path"]: block for block in compared["blocks"]}
    assert blocks["ship"]["verdict"] == "changed"
    assert blocks["ship"]["patch"] == [{"op": "replace", "path": "/n", "value": 2}]
    reused = {path for path, block in blocks.items() if block["verdict"] == "reused"}
    rows = (await client.get(f"/v1/executions/{a}/blocks")).json()["items"]
    took = sum(row["duration_ms"] for row in rows if row["path"] in reused)
    assert reused == {"reserve", "price"}
    assert compared["saved"] == {"blocks": 2, "duration_ms": pytest.approx(took), "external": 1}


async def test_the_tree_of_forks_reads_the_same_from_every_side(client: httpx.AsyncClient, shop: OutsideServer) -> None:
    root = await run(client, shop)
    first = await fork(client, root, "price")
    second = await fork(client, root, "ship")
    below = await fork(client, first, "tell")
    lone = await run(client, shop)
    expected = [(root, None), (first, (root, "price")), (below, (first, "tell")), (second, (root, "ship"))]
    ancestors: dict[str, list[str]] = {root: [], first: [root], second: [root], below: [root, first]}
    for each in (root, first, second, below):
        found = (await client.get(f"/v1/executions/{each}/lineage")).json()
        assert (found["execution_id"], found["root"], found["ancestors"]) == (each, root, ancestors[each])
        sources = [
            (node["execution_id"], node["source"] and (node["source"]["execution_id"], node["source"]["from_block"]))
            for node in found["executions"]
        ]
        assert sources == expected
        assert [node["forks"] for node in found["executions"]] == [[first, second], [below], [], []]
        assert all(node["status"] == "completed" for node in found["executions"])
        assert not found["truncated"]
    alone = (await client.get(f"/v1/executions/{lone}/lineage")).json()
    assert [node["execution_id"] for node in alone["executions"]] == [lone]
    assert_problem(await client.get(f"/v1/executions/{UNKNOWN}/lineage"), 404)


async def test_a_fork_is_in_its_tree_as_soon_as_it_is_made(client: httpx.AsyncClient, shop: OutsideServer) -> None:
    root = await run(client, shop)
    body = {"from_block": "tell", "mode": "async"}
    for _ in range(5):
        made = await client.post(f"/v1/executions/{root}/rerun", json=body)
        execution_id = ExecutionId(made.json()["execution_id"])
        found = (await client.get(f"/v1/executions/{execution_id}/lineage")).json()
        assert execution_id in [node["execution_id"] for node in found["executions"]]
