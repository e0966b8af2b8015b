"""Real servers, services as processes."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from playhead_eventlog import open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.processes import Processes, processes
from tests.system import System


@pytest.fixture
async def client(database: Database, bus: Bus, nats_url: str) -> AsyncGenerator[System]:
    """Log and bus; the log's appends wait for a database that is being restarted."""
    async with open_log(database.service_url, patience_seconds=30) as log:
        yield System(log, bus, nats_url)


@pytest.fixture
async def services(tmp_path: Path, database: Database, nats_url: str) -> AsyncGenerator[Processes]:
    """Where services are started, on the servers of this test."""
    async with processes(tmp_path, nats_url=nats_url, database_url=database.service_url, log_level="INFO") as made:
        yield made
