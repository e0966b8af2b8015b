"""Hitl killed with SIGKILL while webhooks are told: each pause is told, under one id, and the log says so once."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from playhead_contracts.events import PauseNotified
from playhead_contracts.ids import ExecutionId
from playhead_eventlog import migrate, open_log
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_postgres import SERVICE, PostgresServer
from tests.conftest import Database
from tests.door import gateway
from tests.outside import OutsideServer
from tests.processes import Processes, processes
from tests.system import System, eventually

ASKS = """
id: asks
blocks:
  ask: {type: human, message: "Well?", next: done}
  done: {type: function, code: "{'done': True}"}
"""
EXECUTIONS = 60
STRIKES = 4


async def outcomes(client: System, executions: list[ExecutionId]) -> list[PauseNotified]:
    """What the log says became of telling."""
    told: list[PauseNotified] = []
    for execution_id in executions:
        told += [e.data for e in await client.events(execution_id) if isinstance(e.data, PauseNotified)]
    return told


async def test_every_pause_is_told_however_often_hitl_is_killed(
    client: System, services: Processes, database: Database, nats_url: str
) -> None:
    await client.publish(ASKS)
    await services.start("executor")
    executions: list[ExecutionId] = []
    async with gateway(database.service_url, nats_url) as http, OutsideServer() as server:
        server.respond("/hook", 500)
        server.respond("/hook", 200, delay=0.02)
        order = {"name": "main", "url": f"{server.url}/hook", "events": ["pause.requested"]}
        assert (await http.post("/v1/webhooks", json=order)).status_code == 201

        async def strikes() -> None:
            for strike in range(STRIKES):
                hitl = await services.start("hitl", webhook_timeout_seconds=0.5, webhook_retries="50ms,50ms")

                async def at_work(least: int = 10 * (strike + 1)) -> bool:
                    return len(server.requests) >= least

                await eventually(at_work)
                await hitl.kill()
            await services.start("hitl", webhook_timeout_seconds=0.5, webhook_retries="50ms,50ms")

        async def work() -> None:
            for _ in range(EXECUTIONS):
                executions.append(await client.start(ASKS))
                await asyncio.sleep(0)

        await asyncio.gather(work(), strikes())

        async def all_told() -> bool:
            return len(await outcomes(client, executions)) >= EXECUTIONS

        await eventually(all_told, 120)
        told = await outcomes(client, executions)
        assert set(Counter(each.pause_id for each in told).values()) == {1}
        assert {each.outcome for each in told} == {"delivered"}
        assert {received.headers["webhook-id"] for received in server.requests} == {each.delivery_id for each in told}


@pytest.fixture
async def own_postgres(data: Path) -> AsyncGenerator[PostgresServer]:
    """A server of this test alone, to be killed."""
    server = PostgresServer(data / "own-postgres")
    server.start()
    await migrate(server.url(owner=True), SERVICE)
    yield server
    server.stop()


async def test_every_pause_is_told_when_postgresql_is_killed_meanwhile(
    own_postgres: PostgresServer, bus: Bus, nats_url: str, tmp_path: Path
) -> None:
    url = own_postgres.url()
    async with (
        open_log(url, patience_seconds=30) as log,
        gateway(url, nats_url) as http,
        processes(tmp_path, nats_url=nats_url, database_url=url) as services,
        OutsideServer() as server,
    ):
        client = System(log, bus, nats_url)
        server.respond("/hook", 503, delay=0.01)
        await services.start("executor")
        await services.start("hitl", webhook_timeout_seconds=0.5, webhook_retries=",".join(["200ms"] * 200))
        order = {"name": "main", "url": f"{server.url}/hook", "events": ["pause.requested"]}
        assert (await http.post("/v1/webhooks", json=order)).status_code == 201
        await client.publish(ASKS)
        executions = [await client.start(ASKS) for _ in range(20)]

        async def underway() -> bool:
            return len(server.requests) >= 30

        await eventually(underway)
        await asyncio.to_thread(own_postgres.kill)
        await asyncio.to_thread(own_postgres.start)
        executions += [await client.start(ASKS) for _ in range(20)]
        server.respond("/hook", 200)

        async def all_told() -> bool:
            return len(await outcomes(client, executions)) >= len(executions)

        await eventually(all_told, 120)
        told = await outcomes(client, executions)
        assert set(Counter(each.pause_id for each in told).values()) == {1}
        assert {each.outcome for each in told} == {"delivered"}
