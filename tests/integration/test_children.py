"""Child executions, with everything there: gateway, executor, hitl and the projector with its courier."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from playhead_contracts.ids import ExecutionId
from tests.conftest import Database
from tests.door import YAML, gateway
from tests.outside import OutsideServer
from tests.system import System, block, executor, hitl, projector

CHILD = """
id: child
input: {type: object, required: [n], properties: {n: {type: integer}}}
blocks:
  ask: {type: human, message: "Really {{ input.n }}?", next: twice}
  twice: {type: function, inputs: {n: "{{ input.n }}"}, code: "{'n': inputs['n'] * 2}"}
output: {n: "{{ blocks.twice.n }}", said: "{{ blocks.ask.answer.said }}"}
"""
PARENT = """
id: parent
blocks:
  call: {type: workflow, workflow: child, input: {n: "{{ input.n }}"}, next: after}
  after: {type: function, inputs: {n: "{{ blocks.call.output.n }}"}, code: "inputs['n'] + 1"}
output: {n: "{{ blocks.after.result }}", said: "{{ blocks.call.output.said }}"}
"""


@pytest.fixture
async def http(database: Database, nats_url: str, client: System) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        executor(database.service_url, nats_url),
        hitl(database.service_url, nats_url),
        projector(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as http,
    ):
        for document in (CHILD, PARENT):
            assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
        yield http


async def started(http: httpx.AsyncClient, workflow: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(f"/v1/workflows/{workflow}/executions", json=body, timeout=60)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


async def test_a_child_that_asks_pauses_its_parent_and_both_go_on_with_the_answer(
    http: httpx.AsyncClient, client: System
) -> None:
    paused = await started(http, "parent", input={"n": 5})
    assert paused["status"] == "paused"
    [pause] = paused["pauses"]
    assert (pause["message"], pause["execution_id"] != paused["execution_id"]) == ("Really 5?", True)
    path = f"/v1/executions/{pause['execution_id']}/pauses/{pause['pause_id']}/resume"
    assert (await http.post(path, json={"input": {"said": "yes"}}, timeout=60)).json()["output"]["n"] == 10
    state = await client.ended(ExecutionId(paused["execution_id"]))
    assert state.output == {"n": 11, "said": "yes"}


async def test_parent_and_child_link_to_each_other(http: httpx.AsyncClient, client: System) -> None:
    paused = await started(http, "parent", input={"n": 5})
    parent = (await http.get(f"/v1/executions/{paused['execution_id']}")).json()
    [child_id] = parent["children"]
    child = (await http.get(f"/v1/executions/{child_id}")).json()
    assert child["parent"] == {"execution_id": paused["execution_id"], "path": "call"}
    assert child["status"] == "paused"


async def test_cancelling_a_parent_cancels_its_child(http: httpx.AsyncClient, client: System) -> None:
    paused = await started(http, "parent", input={"n": 5})
    child_id = ExecutionId(paused["pauses"][0]["execution_id"])
    assert (await http.post(f"/v1/executions/{paused['execution_id']}/cancel", json={})).status_code == 202
    assert (await client.ended(ExecutionId(paused["execution_id"]))).status == "cancelled"
    state = await client.ended(child_id)
    assert (state.status, {pause.status for pause in state.pauses.values()}) == ("cancelled", {"closed"})


async def test_a_child_that_cannot_begin_is_a_failure_of_its_block(http: httpx.AsyncClient) -> None:
    failed = await started(http, "parent", input={"n": "no number"})
    assert failed["status"] == "failed"
    assert (failed["error"]["type"], "#/input/n" in failed["error"]["message"]) == ("input_does_not_fit", True)
    unknown = PARENT.replace("id: parent", "id: lost").replace("workflow: child", "workflow: nobody")
    assert (await http.post("/v1/workflows", content=unknown, headers=YAML)).status_code == 201
    assert (await started(http, "lost", input={"n": 1}))["error"]["type"] == "workflow_unknown"


async def test_children_in_branches_ask_side_by_side_and_are_answered_in_any_order(
    http: httpx.AsyncClient, client: System
) -> None:
    document = """
id: many
blocks:
  fan: {type: parallel, count: 3, blocks: {call: {type: workflow, workflow: child, input: {n: "{{ parallel.index }}"}}}}
output: "{{ blocks.fan.results.map(r, r.output.n) }}"
"""
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    first = await started(http, "many", mode="async")
    execution_id = ExecutionId(first["execution_id"])
    state = await client.when(execution_id, lambda state: len(state.asked_pauses()) == 3)
    shown = (await http.get(f"/v1/executions/{execution_id}")).json()["pauses"]
    assert sorted(pause["message"] for pause in shown) == ["Really 0?", "Really 1?", "Really 2?"]
    for pause in sorted(shown, key=lambda pause: pause["message"], reverse=True):
        path = f"/v1/executions/{pause['execution_id']}/pauses/{pause['pause_id']}/resume"
        assert (await http.post(path, json={"input": {"said": "yes"}}, timeout=60)).status_code in (200, 202)
    state = await client.ended(execution_id)
    assert state.output == [0, 2, 4]


async def test_a_child_that_is_not_waited_for_goes_its_own_way(http: httpx.AsyncClient, client: System) -> None:
    document = PARENT.replace("id: parent", "id: loose").replace("next: after}", "wait: false}")
    document = document.split("  after:")[0] + 'output: "{{ blocks.call.execution_id }}"\n'
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    done = await started(http, "loose", input={"n": 1})
    assert done["status"] == "completed"
    assert (await client.paused(ExecutionId(done["output"]))).workflow_id == "child"


async def test_children_of_children_end_at_the_limit(http: httpx.AsyncClient) -> None:
    document = "id: deep\nblocks: {call: {type: workflow, workflow: deep}}"
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    failed = await started(http, "deep")
    assert failed["status"] == "failed"
    assert "max_child_depth" in failed["error"]["message"]


async def test_a_wait_is_over_when_its_event_comes_over_http(http: httpx.AsyncClient, client: System) -> None:
    document = """
id: waiting
blocks:
  paid: {type: wait, events: [{type: bank.paid, match: "event.data.order == input.order"}]}
output: "{{ blocks.paid.event.data.amount }}"
"""
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201

    async def event(name: str, order: str, amount: int) -> None:
        body = {
            "specversion": "1.0",
            "id": name,
            "source": "/bank",
            "type": "bank.paid",
            "data": {"order": order, "amount": amount},
        }
        headers = {"content-type": "application/cloudevents+json"}
        answer = await http.post("/v1/events", json=body, headers=headers)
        assert answer.status_code == 202, answer.text

    first = await started(http, "waiting", input={"order": "o-1"}, mode="async")
    await event("e-1", "o-2", 1)
    await event("e-2", "o-1", 2)
    assert (await client.ended(ExecutionId(first["execution_id"]))).output == 2


async def test_a_published_event_is_waited_for_by_another_execution(http: httpx.AsyncClient, client: System) -> None:
    waiting = 'id: hears\nblocks: {w: {type: wait, events: [{type: done}]}}\noutput: "{{ blocks.w.event.data.n }}"'
    telling = "id: tells\nblocks: {p: {type: publish, event: done, data: {n: 7}}}"
    for document in (waiting, telling):
        assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    hears = await started(http, "hears", mode="async")
    await client.paused(ExecutionId(hears["execution_id"]))
    assert (await started(http, "tells"))["status"] == "completed"
    assert (await client.ended(ExecutionId(hears["execution_id"]))).output == 7


async def test_variables_come_in_the_body_and_in_headers_and_the_body_counts(http: httpx.AsyncClient) -> None:
    document = """
id: varied
variables: {limit: 5, region: eu, flags: {}}
blocks: {a: {type: function, code: "1"}}
output: {limit: "{{ vars.limit }}", region: "{{ vars.region }}", flags: "{{ vars.flags }}"}
"""
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    headers = {"X-Playhead-Var-Limit": "9", "X-Playhead-Var-REGION": "us", "X-Playhead-Var-flags": '{"a": true}'}
    path = "/v1/workflows/varied/executions"
    done = (await http.post(path, json={"variables": {"region": "de"}}, headers=headers)).json()
    assert done["output"] == {"limit": 9, "region": "de", "flags": {"a": True}}
    wrong = await http.post(path, json={}, headers={"X-Playhead-Var-Limit": "many"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/variables/limit")
    typed = await http.post(path, json={"variables": {"limit": "many"}})
    assert (typed.status_code, typed.json()["errors"][0]["pointer"]) == (422, "#/variables/limit")


async def test_a_run_can_ask_for_less_time_and_fewer_blocks_at_once(http: httpx.AsyncClient) -> None:
    document = 'id: slow\ntimeout: 1h\nblocks: {call: {type: http, url: "{{ input.url }}/slow"}}'
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    async with OutsideServer() as server:
        server.respond("/slow", delay=600)
        late = await started(http, "slow", input={"url": server.url}, timeout="300ms", max_concurrency=1)
    assert late["status"] == "timed_out"


async def test_a_loop_can_be_run_again_from_a_block_after_it(http: httpx.AsyncClient, client: System) -> None:
    document = """
id: again
blocks:
  each: {type: loop, for: 600, blocks: {n: {type: variables, set: {n: "{{ loop.index }}"}}}, next: after}
  after: {type: function, inputs: {n: "{{ vars.n }}", all: "{{ size(blocks.each.results) }}"}, code: "inputs"}
"""
    assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
    done = await started(http, "again")
    fork = (await http.post(f"/v1/executions/{done['execution_id']}/rerun", json={"from_block": "after"})).json()
    assert fork["output"] == done["output"] == {"after": {"n": 599, "all": 600}}
    state = await client.state(ExecutionId(fork["execution_id"]))
    assert block(state, "each").reused_from is not None
    whole = (await http.post(f"/v1/executions/{done['execution_id']}/rerun", json={"from_block": "each[3]/n"})).json()
    assert whole["plan"]["scope"] == ["each", "after"]


async def test_a_child_is_run_again_from_within_and_its_parent_from_the_block_that_started_it(
    http: httpx.AsyncClient, client: System
) -> None:
    paused = await started(http, "parent", input={"n": 5})
    [pause] = paused["pauses"]
    path = f"/v1/executions/{pause['execution_id']}/pauses/{pause['pause_id']}/resume"
    await http.post(path, json={"input": {"said": "yes"}}, timeout=60)
    done = await client.ended(ExecutionId(paused["execution_id"]))
    rerun = f"/v1/executions/{paused['execution_id']}/rerun"
    answer = await http.post(rerun, json={"from_block": "call/twice"}, timeout=60)
    fork = answer.json()
    assert fork["status"] == "completed", fork
    assert fork["output"] == done.output == {"n": 11, "said": "yes"}
    [planned] = [each for each in fork["plan"]["blocks"] if each["path"] == "call"]
    assert planned["child_from"] == "twice"
    child = block(await client.state(ExecutionId(fork["execution_id"])), "call").child
    assert child is not None
    assert child.execution_id != pause["execution_id"]
    state = await client.state(child.execution_id)
    assert state.source is not None
    assert (state.source.execution_id, state.source.from_block) == (pause["execution_id"], "twice")
    assert block(state, "ask").reused_from is not None
    again = await http.post(rerun, json={"from_block": "call/ask"}, timeout=60)
    assert again.json()["status"] == "paused"
    wrong = await http.post(rerun, json={"from_block": "call/nowhere"}, timeout=60)
    assert wrong.json()["error"]["type"] == "rerun_refused"
    other = await http.post(rerun, json={"from_block": "after/x"}, timeout=60)
    assert other.status_code == 422
