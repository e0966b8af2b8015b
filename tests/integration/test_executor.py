"""The executor with real servers: from a command to the end of the execution."""

from collections.abc import AsyncGenerator

import pytest

from playhead_eventlog import open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.outside import OutsideServer
from tests.system import System, executor, hitl

PURE = """
id: pure
blocks:
  double: {type: function, code: "inputs['n'] * 2", inputs: {n: "{{ input.n }}"}, next: gate}
  gate: {type: condition, cases: {big: "blocks.double.result > 10"}, next: {big: large, else: small}}
  large: {type: function, code: "'large'"}
  small: {type: function, code: "'small'"}
output: {n: "{{ blocks.double.result }}", size: "{{ blocks.large.result }}"}
"""

PAUSING = """
id: pausing
blocks:
  ask:
    type: human
    message: "Pay {{ input.amount }}?"
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: pay
  pay: {type: http, method: POST, url: "{{ input.url }}/pay", body: {amount: "{{ input.amount }}"}}
output: {approved: "{{ blocks.ask.answer.approved }}", status: "{{ blocks.pay.status }}"}
"""


@pytest.fixture
async def system(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[System]:
    async with (
        open_log(database.service_url) as log,
        executor(database.service_url, nats_url),
        hitl(database.service_url, nats_url),
    ):
        yield System(log, bus)


async def test_a_chain_of_pure_blocks_runs_to_its_output_in_one_append(system: System) -> None:
    await system.publish(PURE)
    state = await system.ended(await system.start(PURE, {"n": 7}))
    assert state.status == "completed", state.error
    assert state.output == {"n": 14, "size": "large"}
    assert state.blocks["small"].status == "skipped"


async def test_a_pause_waits_for_its_answer_and_the_answer_sets_the_execution_going(system: System) -> None:
    await system.publish(PAUSING)
    async with OutsideServer() as server:
        server.respond("/pay", 201, {"id": "p1"})
        execution_id = await system.start(PAUSING, {"amount": 720, "url": server.url})
        paused = await system.paused(execution_id)
        [pause] = paused.open_pauses()
        assert pause.message == "Pay 720?"
        assert server.requests == []
        await system.answer(execution_id, pause.pause_id, {"approved": True})
        state = await system.ended(execution_id)
        assert state.output == {"approved": True, "status": 201}
        assert [request.path for request in server.requests] == ["/pay"]
