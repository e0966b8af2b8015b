"""A paused execution costs nothing: not in the gateway, the executor, hitl or the projector."""

import asyncio
import gc

from playhead_engine.state import ExecutionState
from playhead_executor.journal import Journal
from playhead_executor.runner import Runner
from playhead_gateway.follow import Follow
from playhead_projector.app import serve as serve_projector
from playhead_projector.settings import Settings as ProjectorSettings
from tests.conftest import Database
from tests.derived import caught_up
from tests.door import YAML, gateway
from tests.system import System, eventually

PAUSING = """
id: pausing
blocks:
  before: {type: function, code: "'x' * 1000", next: ask}
  ask: {type: human, message: "?", expires_in: 1d}
"""


async def test_a_paused_execution_leaves_nothing_in_the_memory_of_any_service(
    system: System, database: Database
) -> None:
    stop = asyncio.Event()
    projector = asyncio.create_task(
        serve_projector(ProjectorSettings(database_url=database.service_url, nats_url=system.nats_url), stop)
    )
    try:
        async with gateway(database.service_url, system.nats_url) as client:
            assert (await client.post("/v1/workflows", content=PAUSING, headers=YAML)).status_code == 201
            for _ in range(50):
                paused = await client.post("/v1/workflows/pausing/executions", json={})
                assert paused.json()["status"] == "paused"
            await caught_up(system.log, database)

            async def forgotten() -> bool:
                gc.collect()
                kinds = (Runner, Journal, Follow, ExecutionState)
                return not any(isinstance(held, kinds) for held in gc.get_objects())

            await eventually(forgotten)
            listed = (await client.get("/v1/executions", params={"status": "paused", "limit": 100})).json()
            assert len(listed["items"]) == 50
    finally:
        stop.set()
        await projector
