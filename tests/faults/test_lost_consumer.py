"""A consumer that was away for long catches up while all that it needs is killed: in order, nothing lost or twice."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import pytest

from playhead_contracts.events import BlockSkipped, EventData, ExecutionCompleted, ExecutionCreated
from playhead_contracts.ids import BlockPath, ExecutionId, WorkflowId, execution_stream
from playhead_eventlog import GENESIS, EventLog
from playhead_runtime.embedded_nats import NatsServer, free_port
from playhead_runtime.ids import new_id
from tests.consuming import Consumer, by_the_log
from tests.processes import Processes
from tests.system import TENANT, System, eventually
from tests.traffic import new_event

EXECUTIONS, EVENTS_EACH = 60, 50


@pytest.fixture
async def consumer(tmp_path: Path, nats_url: str, services: Processes) -> AsyncGenerator[Consumer]:
    port = free_port()
    await services.start("gateway", port=port, open_tenant=TENANT)
    made = Consumer("python", tmp_path, TENANT, nats_url, f"http://127.0.0.1:{port}")
    try:
        yield made
    finally:
        await made.kill()


async def test_a_consumer_that_was_away_catches_up_while_relay_bus_and_it_are_killed(
    client: System, services: Processes, consumer: Consumer, nats_server: NatsServer
) -> None:
    await asyncio.gather(*(_execution(client.log) for _ in range(EXECUTIONS)))
    expected = await by_the_log(client.log, TENANT)
    assert expected["events"] == EXECUTIONS * EVENTS_EACH
    relay = await services.start("projector")
    await consumer.start()
    for number in range(3):
        await eventually(partial(_has_moved, consumer, consumer.place(), expected["position"]))
        match number:
            case 0:
                await relay.kill()
                relay = await services.start("projector")
            case 1:
                await asyncio.to_thread(nats_server.kill)
                await asyncio.to_thread(nats_server.start)
            case _:
                await consumer.kill()
                await consumer.start()
        # There is always something that it has not seen yet.
        await asyncio.gather(*(_execution(client.log) for _ in range(5)))
        expected = await by_the_log(client.log, TENANT)

    await eventually(partial(_has_moved, consumer, expected["position"] - 1, expected["position"]))
    assert await consumer.shown() == expected


async def _has_moved(consumer: Consumer, before: int, last: int) -> bool:
    place = consumer.place()
    return place > before or place == last


async def _execution(log: EventLog) -> None:
    """One that was created, did something, and has ended."""
    execution_id, workflow = ExecutionId(new_id()), WorkflowId("refunds")
    facts: list[EventData] = [
        ExecutionCreated(workflow_id=workflow, workflow_version=1, digest="d" * 64, input=None),
        *(BlockSkipped(path=BlockPath(f"b{number}"), reason="r") for number in range(EVENTS_EACH - 2)),
        ExecutionCompleted(output=None),
    ]
    events = [new_event(fact, TENANT, workflow, execution_id) for fact in facts]
    await log.append(execution_stream(execution_id), GENESIS, events)
