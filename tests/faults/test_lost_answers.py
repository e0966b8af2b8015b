"""An answer on its way, and each service on that way killed at each step: it counts once, and the execution goes on."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from playhead_contracts.events import ExecutionCompleted, PauseResolved
from playhead_contracts.ids import ExecutionId
from playhead_runtime.embedded_nats import free_port
from tests.conftest import Database
from tests.dying import POINTS
from tests.processes import Processes, Service
from tests.system import System, eventually

ASKING = """
id: asking
blocks:
  ask: {type: human, message: "?", next: after}
  after: {type: function, code: "inputs['yes']", inputs: {yes: "{{ blocks.ask.answer.approved }}"}}
"""


@pytest.mark.parametrize(("victim", "point"), [(name, point) for name, points in POINTS.items() for point in points])
async def test_the_answer_counts_once_and_the_execution_goes_on(
    victim: str, point: str, client: System, services: Processes, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    own: dict[str, dict[str, Any]] = {"gateway": {"host": "127.0.0.1", "port": port, "open_tenant": "acme"}}
    died = tmp_path / "died"
    running: dict[str, Service] = {}
    for name in ("gateway", "executor", "hitl"):
        if name != victim:
            running[name] = await services.start(name, **own.get(name, {}))
    mortal = running[victim] = await services.start(
        victim, module="tests.dying", dying=victim, die_at=point, died=died, **own.get(victim, {})
    )
    await client.publish(ASKING)
    execution_id = await client.start(ASKING)
    [pause] = (await client.paused(execution_id)).open_pauses()

    async def started_again() -> None:
        """Start who died once more, as it is in production."""
        if died.exists() and running[victim] is mortal:
            await asyncio.wait_for(mortal.process.wait(), 10)
            running[victim] = await services.start(victim, **own.get(victim, {}))

    async def answered() -> httpx.Response | None:
        """A client that asks again for as long as nobody tells it what became of its answer."""
        await started_again()
        path = f"/v1/executions/{execution_id}/pauses/{pause.pause_id}/resume"
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as http:
                response = await http.post(path, json={"input": {"approved": True}, "mode": "async"})
        except httpx.TransportError:
            return None
        return None if response.status_code in (502, 503, 504) else response

    told = await eventually(answered, every=0.1)
    assert told.status_code in (200, 202), told.text
    other = await eventually(lambda: answered_no(port, execution_id, pause.pause_id), every=0.1)
    assert other.status_code == 409

    async def went_on() -> bool:
        await started_again()
        return any(isinstance(event.data, ExecutionCompleted) for event in await client.events(execution_id))

    await eventually(went_on, every=0.05)
    assert died.exists(), f"{victim} never came to the point {point!r}"
    facts = [event.data for event in await client.events(execution_id)]
    assert sum(isinstance(fact, PauseResolved) for fact in facts) == 1
    assert sum(isinstance(fact, ExecutionCompleted) for fact in facts) == 1
    state = await client.ended(execution_id)
    assert state.output == {"after": {"result": True}}


async def answered_no(port: int, execution_id: ExecutionId, pause_id: str) -> httpx.Response | None:
    path = f"/v1/executions/{execution_id}/pauses/{pause_id}/resume"
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as http:
            response = await http.post(path, json={"input": {"approved": False}})
    except httpx.TransportError:
        return None
    return None if response.status_code in (502, 503, 504) else response
