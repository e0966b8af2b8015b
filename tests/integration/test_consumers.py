"""The example consumers, for real: killed, without a bus, with one that was wiped or has forgotten, they end right."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import httpx
import pytest

from playhead_eventlog import EventLog
from playhead_projector.relaying import relay_from
from playhead_projector.settings import Settings
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.consuming import Consumer, by_the_log
from tests.derived import api, stream_state
from tests.door import TENANT, gateway
from tests.relaying import copied, log, relaying
from tests.system import eventually
from tests.traffic import TENANTS, Traffic

__all__ = ["log"]


@pytest.fixture
async def door(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        yield client


@pytest.fixture(params=["python", "node"])
async def consumer(
    request: pytest.FixtureRequest, tmp_path: Path, nats_url: str, door: httpx.AsyncClient
) -> AsyncGenerator[Consumer]:
    made = Consumer(request.param, tmp_path, TENANT, nats_url, str(door.base_url))
    try:
        yield made
    finally:
        await made.kill()


async def agrees(consumer: Consumer, log: EventLog) -> None:
    """Wait until the read model is what the log says."""
    expected = await by_the_log(log, TENANT)

    async def is_there() -> bool:
        return consumer.place() == expected["position"]

    try:
        await eventually(is_there, 30)
    except TimeoutError:
        pytest.fail(f"{await consumer.shown()} should be {expected}; it said {consumer.said()[-2000:]}")
    assert await consumer.shown() == expected


async def test_a_consumer_ends_right_whatever_happens_to_it_and_to_the_bus(
    consumer: Consumer, log: EventLog, bus: Bus, database: Database
) -> None:
    assert TENANT in TENANTS
    async with relaying(log, bus, database) as relay:
        # It is killed while events come.
        for seed in range(3):
            traffic = asyncio.create_task(Traffic(log, seed=seed).run(40))
            await consumer.start()
            await eventually(partial(_is_said, consumer, "following", seed + 1))
            if seed < 2:
                await consumer.kill()
            await traffic
        await agrees(consumer, log)

        # The bus is wiped under it, and everything is published again.
        await api(bus, "STREAM.DELETE")
        await Traffic(log, seed=10).run(20)
        await agrees(consumer, log)

        # An operator has it published again from the middle.
        await relay_from(Settings(database_url=database.service_url, nats_url=""), 50)
        await Traffic(log, seed=11).run(20)
        await agrees(consumer, log)

        # While it is away the bus forgets most of what it has not seen.
        await consumer.kill()
        await Traffic(log, seed=12).run(40)
        await copied(relay, log)
        await api(bus, "STREAM.PURGE", {"keep": 5})
        assert (await stream_state(bus))["messages"] == 5
        await consumer.start()
        await agrees(consumer, log)
        assert "fetched what the bus did not have" in consumer.said()
    # Nobody relays: the log tells it, too.
    await Traffic(log, seed=13).run(20)
    await agrees(consumer, log)
    assert "the log had more than the bus" in consumer.said()


async def _is_said(consumer: Consumer, what: str, times: int) -> bool:
    return consumer.said().count(f'"{what}"') >= times
