"""Run-from-block on real servers: nothing is repeated that the plan does not name."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from playhead_contracts.events import BlockReused, BlockStarted
from playhead_contracts.ids import BlockPath, ExecutionId
from tests.conftest import Database
from tests.door import YAML, assert_problem, gateway
from tests.outside import OutsideServer
from tests.system import System, block, executor, hitl

CALLS = """
id: calls
blocks:
  first: {type: http, url: "{{ input.url }}/first", next: each}
  each:
    type: loop
    for_each: input.items
    blocks:
      call: {type: http, url: "{{ input.url }}/each/{{ loop.item }}", next: keep}
      keep: {type: function, inputs: {n: "{{ blocks.call.body.n }}"}, code: "inputs['n']"}
    next: fan
  fan:
    type: parallel
    count: 3
    blocks:
      call: {type: http, method: POST, url: "{{ input.url }}/fan/{{ parallel.index }}"}
    result: "{{ blocks.call.body.n }}"
    next: last
  last: {type: http, method: PUT, url: "{{ input.url }}/last", body: "{{ blocks.fan.results }}"}
output: {each: "{{ blocks.each.results }}", fan: "{{ blocks.fan.results }}"}
"""

CHAIN = """
id: chain
blocks:
  a: {type: function, inputs: {n: "{{ input.n }}"}, code: "inputs['n'] % 2", next: b}
  b: {type: http, url: "{{ input.url }}/b/{{ blocks.a.result }}", next: c}
  c: {type: http, url: "{{ input.url }}/c/{{ blocks.b.body.n }}", next: [d, side]}
  d: {type: function, inputs: {n: "{{ blocks.c.body.n }}"}, code: "inputs['n'] + 1"}
  side: {type: function, code: "'side'"}
output: {d: "{{ blocks.d.result }}"}
"""

LARGE = """
id: large
blocks:
  make: {type: function, code: "['x' * 1000] * 400", next: fan}
  fan:
    type: parallel
    collection: blocks.make.result
    max_concurrency: 50
    blocks: {one: {type: function, inputs: {x: "{{ parallel.item }}"}, code: "len(inputs['x'])"}}
    result: "{{ blocks.one.result }}"
    next: sum
  sum: {type: function, inputs: {all: "{{ blocks.fan.results }}"}, code: "sum(inputs['all'])"}
"""


@pytest.fixture
async def http(database: Database, nats_url: str, client: System) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        executor(database.service_url, nats_url),
        hitl(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as http,
    ):
        for document in (CALLS, CHAIN, LARGE):
            assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
        yield http


@pytest.fixture
async def outside() -> AsyncGenerator[OutsideServer]:
    async with OutsideServer() as server:
        for path in ("/first", "/last", *(f"/{kind}/{n}" for kind in ("each", "fan", "b", "c") for n in range(4))):
            server.respond(path, body={"n": int(path[-1])} if path[-1].isdigit() else {"n": 0})
        yield server


async def start(http: httpx.AsyncClient, workflow: str, given: Any) -> dict[str, Any]:
    answer = await http.post(f"/v1/workflows/{workflow}/executions", json={"input": given}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed", answer.text
    return answer.json()


async def rerun(http: httpx.AsyncClient, source: dict[str, Any], **order: Any) -> dict[str, Any]:
    answer = await http.post(f"/v1/executions/{source['execution_id']}/rerun", json=order, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def called(server: OutsideServer, since: int) -> list[str]:
    return sorted(request.path for request in server.requests[since:])


async def test_an_iteration_a_branch_and_what_follows_are_run_again_and_nothing_else(
    http: httpx.AsyncClient, client: System, outside: OutsideServer
) -> None:
    given = {"url": outside.url, "items": [1, 2, 3]}
    source = await start(http, "calls", given)
    before = len(outside.requests)
    fork = await rerun(http, source, from_block="each[1]/keep")
    assert fork["output"] == source["output"]
    assert called(outside, before) == ["/each/3", "/fan/0", "/fan/1", "/fan/2", "/last"]
    before = len(outside.requests)
    fork = await rerun(http, fork, from_block="fan[1]")
    assert fork["output"] == source["output"]
    assert called(outside, before) == ["/fan/1", "/last"]
    state = await client.state(ExecutionId(fork["execution_id"]))
    assert block(state, "first").reused_from is not None
    plan = (await rerun(http, fork, from_block=["fan[0]", "fan[2]"], dry_run=True))["plan"]
    assert plan["repeats"] == ["fan/call"]
    before = len(outside.requests)
    again = await rerun(http, fork, from_block=["fan[0]", "fan[2]"], plan_digest=plan["digest"])
    assert called(outside, before) == ["/fan/0", "/fan/2", "/last"]
    assert again["plan"] == plan


async def test_what_gives_the_same_again_cuts_off_what_follows(
    http: httpx.AsyncClient, client: System, outside: OutsideServer
) -> None:
    source = await start(http, "chain", {"n": 1, "url": outside.url})
    before = len(outside.requests)
    same = await rerun(http, source, from_block="a", early_cutoff=True, input={"n": 3, "url": outside.url})
    assert same["output"] == source["output"]
    assert called(outside, before) == []
    assert same["metadata"]["blocks"]["reused"] == 4
    events = await client.events(ExecutionId(same["execution_id"]))
    assert sum(isinstance(event.data, BlockReused) for event in events) == 4
    without = await rerun(http, source, from_block="a", input={"n": 3, "url": outside.url})
    assert called(outside, before) == ["/b/1", "/c/1"]
    assert without["output"] == source["output"]
    before = len(outside.requests)
    other = await rerun(http, source, from_block="a", early_cutoff=True, input={"n": 2, "url": outside.url})
    assert other["output"] == {"d": 1}
    assert called(outside, before) == ["/b/0", "/c/0"]


async def test_an_output_that_is_put_in_place_runs_what_reads_it(
    http: httpx.AsyncClient, client: System, outside: OutsideServer
) -> None:
    source = await start(http, "chain", {"n": 1, "url": outside.url})
    before = len(outside.requests)
    fork = await rerun(http, source, override={"b": {"status": 200, "headers": {}, "body": {"n": 3}}})
    assert called(outside, before) == ["/c/3"]
    assert fork["output"] == {"d": 4}
    state = await client.state(ExecutionId(fork["execution_id"]))
    assert block(state, "b").overridden
    second = await rerun(http, fork, from_block="d")
    assert second["output"] == {"d": 4}
    assert called(outside, before) == ["/c/3"]
    first = await rerun(http, source, from_block="a", until_block="b")
    assert (first["status"], first["plan"]["scope"]) == ("completed", ["a", "b"])


async def test_large_values_are_taken_over_too(http: httpx.AsyncClient, client: System) -> None:
    source = await start(http, "large", {})
    fork = await rerun(http, source, from_block="fan[399]")
    assert fork["output"] == source["output"] == {"sum": {"result": 400_000}}
    blocks = (await http.get(f"/v1/executions/{fork['execution_id']}/blocks", params={"under": "fan"})).json()
    assert fork["plan"]["blocks"][1]["iterations_reused"] == list(range(399))
    assert blocks["next_cursor"] is None


async def test_two_forks_at_once_and_forks_of_forks_go_their_own_ways(
    http: httpx.AsyncClient, client: System, outside: OutsideServer
) -> None:
    source = await start(http, "chain", {"n": 1, "url": outside.url})
    forks = await asyncio.gather(*(rerun(http, source, from_block=name) for name in ("b", "c", "d", "b")))
    assert {fork["execution_id"] for fork in forks} == {fork["execution_id"] for fork in forks}
    assert len({fork["execution_id"] for fork in forks}) == 4
    newest = forks[0]
    for _ in range(5):
        newest = await rerun(http, newest, from_block="d")
    state = await client.state(ExecutionId(newest["execution_id"]))
    reference = block(state, "b").reused_from
    assert reference is not None
    assert reference.execution_id == forks[0]["execution_id"]


async def test_an_execution_can_be_forked_while_it_goes_on_and_from_what_it_was(
    http: httpx.AsyncClient, client: System
) -> None:
    document = """
id: asks
blocks:
  first: {type: function, code: "'first'", next: ask}
  ask: {type: human, message: "?", next: last}
  last: {type: function, inputs: {said: "{{ blocks.ask.answer.said }}"}, code: "inputs['said']"}
"""
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    paused = (await http.post("/v1/workflows/asks/executions", json={}, timeout=60)).json()
    fork = await rerun(http, paused, from_block="last")
    assert fork["status"] == "paused"
    assert fork["pauses"][0]["pause_id"] != paused["pauses"][0]["pause_id"]
    for each, said in ((paused, "one"), (fork, "two")):
        path = f"/v1/executions/{each['execution_id']}/pauses/{each['pauses'][0]['pause_id']}/resume"
        answer = await http.post(path, json={"input": {"said": said}}, timeout=60)
        assert answer.json()["output"] == {"last": {"result": said}}
    stranger = f"/v1/executions/{fork['execution_id']}/pauses/{paused['pauses'][0]['pause_id']}/resume"
    assert_problem(await http.post(stranger, json={"input": {"said": "x"}}), 404)
    now = await rerun(http, paused, from_block="last")
    assert now["output"] == {"last": {"result": "one"}}
    then = await rerun(http, paused, from_block="last", at_version=3)
    assert then["status"] == "paused"


async def test_a_plan_that_was_seen_is_refused_when_the_definition_has_changed(
    http: httpx.AsyncClient, outside: OutsideServer
) -> None:
    source = await start(http, "chain", {"n": 1, "url": outside.url})
    order = {"from_block": "d", "definition": "latest"}
    plan = (await rerun(http, source, **order, dry_run=True))["plan"]
    changed = CHAIN.replace("inputs['n'] + 1", "inputs['n'] + 2")
    assert (await http.post("/v1/workflows", content=changed, headers=YAML)).status_code == 201
    path = f"/v1/executions/{source['execution_id']}/rerun"
    refused = await http.post(path, json={**order, "plan_digest": plan["digest"]})
    assert_problem(refused, 409, "plan-changed")
    fork = await rerun(http, source, **order, plan_digest=refused.json()["plan_digest"])
    assert fork["output"] == {"d": source["output"]["d"] + 1}
    [reasons] = [each["reasons"] for each in fork["plan"]["blocks"] if each["path"] == "d"]
    assert [reason["why"] for reason in reasons] == ["target", "definition_changed"]


async def test_of_a_container_that_is_taken_over_in_part_the_facts_say_what_ran(
    http: httpx.AsyncClient, client: System, outside: OutsideServer
) -> None:
    source = await start(http, "calls", {"url": outside.url, "items": [1, 2, 3]})
    fork = await rerun(http, source, from_block="each[2]")
    events = await client.events(ExecutionId(fork["execution_id"]))
    started = {event.data.path for event in events if isinstance(event.data, BlockStarted)}
    assert {path for path in started if path.startswith("each")} == {BlockPath("each[2]/call")}
