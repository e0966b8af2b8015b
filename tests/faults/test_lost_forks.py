"""An executor is killed in the middle of a fork: what was taken over stays so, and what was done is not done again."""

import asyncio

import pytest

from playhead_contracts.events import BlockCompleted, BlockReused, IterationReused
from playhead_contracts.ids import ExecutionId
from tests.conftest import Database
from tests.door import YAML, gateway
from tests.outside import OutsideServer
from tests.processes import Processes
from tests.system import System, eventually

FANNING = """
id: fanning
blocks:
  first: {type: http, url: "{{ input.url }}/first", next: fan}
  fan:
    type: parallel
    count: 4
    blocks:
      call: {type: http, url: "{{ input.url }}/fan/{{ parallel.index }}", next: keep}
      keep: {type: function, inputs: {n: "{{ blocks.call.body.n }}"}, code: "inputs['n']"}
    next: same
  same: {type: function, inputs: {all: "{{ blocks.fan.results }}"}, code: "len(inputs['all'])", next: last}
  last: {type: http, url: "{{ input.url }}/last/{{ blocks.same.result }}"}
output: {fan: "{{ blocks.fan.results }}", last: "{{ blocks.last.body.n }}"}
"""


@pytest.mark.parametrize("early_cutoff", [False, True])
async def test_a_fork_goes_on_where_it_was_after_kill_9(
    early_cutoff: bool, client: System, services: Processes, database: Database, nats_url: str
) -> None:
    killed = await services.start("executor", lease_seconds="2", reconcile_seconds="1")
    async with OutsideServer() as server, gateway(database.service_url, nats_url) as http:
        for path in ("/first", "/last/4", *(f"/fan/{n}" for n in range(4))):
            server.respond(path, body={"n": int(path[-1]) if path[-1].isdigit() else 0})
        assert (await http.post("/v1/workflows", content=FANNING, headers=YAML)).status_code == 201
        order = {"input": {"url": server.url}}
        source = (await http.post("/v1/workflows/fanning/executions", json=order, timeout=60)).json()
        assert source["status"] == "completed", source
        before = len(server.requests)
        gate = asyncio.Event()
        server.respond("/fan/3", body={"n": 3}, until=gate)
        order = {"from_block": ["fan[1]", "fan[3]"], "mode": "async", "early_cutoff": early_cutoff}
        started = await http.post(f"/v1/executions/{source['execution_id']}/rerun", json=order)
        assert started.status_code == 202, started.text
        fork = ExecutionId(started.json()["execution_id"])

        async def one_is_done_and_one_under_way() -> bool:
            done = [event.data for event in await client.events(fork) if isinstance(event.data, BlockCompleted)]
            is_asked = any(request.path == "/fan/3" for request in server.requests[before:])
            return is_asked and any(fact.path == "fan[1]/call" for fact in done)

        await eventually(one_is_done_and_one_under_way, every=0.05)
        await killed.kill()
        gate.set()
        await services.start("executor", lease_seconds="2", reconcile_seconds="1")
        state = await client.ended(fork)
        assert state.output == source["output"]
        called = sorted({request.path for request in server.requests[before:]})
        assert called == ["/fan/1", "/fan/3"] + ([] if early_cutoff else ["/last/4"])
        assert [request.path for request in server.requests[before:]].count("/fan/1") == 1
        facts = [event.data for event in await client.events(fork)]
        assert [fact.index for fact in facts if isinstance(fact, IterationReused)] == [0, 2]
        reused = [fact.path for fact in facts if isinstance(fact, BlockReused)]
        assert reused == (["first", "same", "last"] if early_cutoff else ["first"])
