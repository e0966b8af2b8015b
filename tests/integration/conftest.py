"""A running system: log, bus, one executor and one hitl, in this process."""

from collections.abc import AsyncGenerator

import pytest

from playhead_eventlog import open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.system import System, executor, hitl


@pytest.fixture
async def client(database: Database, bus: Bus, nats_url: str) -> AsyncGenerator[System]:
    """Log and bus alone: the test starts the services itself."""
    async with open_log(database.service_url) as log:
        yield System(log, bus, nats_url)


@pytest.fixture
async def system(database: Database, nats_url: str, client: System) -> AsyncGenerator[System]:
    """With one executor and one hitl."""
    async with executor(database.service_url, nats_url), hitl(database.service_url, nats_url):
        yield client
