"""A relay in this process, and waiting for what it does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from playhead_eventlog import EventLog, open_log, open_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.relay import Relay
from playhead_runtime.bus import Bus
from playhead_runtime.provision import provision_events
from tests.conftest import Database
from tests.derived import stream_state
from tests.system import eventually


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    """The log of this test."""
    async with open_log(database.service_url) as log:
        yield log


@asynccontextmanager
async def relaying(log: EventLog, bus: Bus, database: Database) -> AsyncGenerator[Relay]:
    """A relay at work; at the end it is cancelled wherever it is."""
    async with open_tail(log, database.service_url) as tail:
        relay = Relay(log, tail, bus, database.service_url, lambda: provision_events(bus))
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            await stop_tasks(task)


async def copied(relay: Relay, log: EventLog) -> None:
    """Wait until the relay says that the whole log is on the bus."""

    async def is_there() -> bool:
        return relay.is_writer and await relay.lag() == 0

    await eventually(is_there)


async def has_messages(bus: Bus, count: int, exactly: bool = False) -> bool:
    messages = (await stream_state(bus)).get("messages", -1)
    return messages == count if exactly else messages >= count
