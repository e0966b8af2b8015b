"""An executor that is full takes no commands, and still hears of what concerns the executions it holds."""

from playhead_contracts.ids import ExecutionId
from tests.conftest import Database
from tests.door import YAML, gateway
from tests.outside import OutsideServer
from tests.system import System, block, executor, hitl, only_pause

BUSY = """
id: busy
blocks:
  call: {type: http, url: "{{ input.url }}/slow"}
  ask: {type: human, message: "?", next: after}
  after: {type: function, code: "'after'"}
"""


async def test_an_answer_and_a_cancel_reach_the_executor_that_holds_the_execution_at_once(
    database: Database, nats_url: str, client: System
) -> None:
    async with (
        OutsideServer() as server,
        executor(database.service_url, nats_url, max_executions=1),
        hitl(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as http,
    ):
        server.respond("/slow", 200, {}, delay=60)
        assert (await http.post("/v1/workflows", content=BUSY, headers=YAML)).status_code == 201
        body = {"mode": "async", "input": {"url": server.url}}
        started = await http.post("/v1/workflows/busy/executions", json=body)
        execution_id = ExecutionId(started.json()["execution_id"])
        state = await client.when(execution_id, lambda state: bool(state.pauses) and bool(state.running))
        await client.answer(execution_id, only_pause(state).pause_id, {"yes": True})
        await client.when(execution_id, lambda state: "after" in state.blocks, seconds=60)
        assert (await http.post(f"/v1/executions/{execution_id}/cancel", json={})).status_code == 202
        state = await client.ended(execution_id, seconds=60)
    assert state.status == "cancelled"
    assert block(state, "after").status == "completed"
