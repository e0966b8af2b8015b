"""The real servers that tests run on.

PostgreSQL runs once per pytest-xdist worker, from a container if a Docker engine answers, else embedded;
each test gets a database of its own, copied from one that was migrated once. NATS starts in 30 ms, so each
test gets a server of its own. Nothing is shared, so tests may run in parallel and may kill what they use.
"""

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Generator
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from playhead_eventlog.migrations import migrate
from playhead_runtime.bus import Bus, connect_bus
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.embedded_postgres import SERVICE, PostgresServer
from playhead_runtime.provision import provision
from playhead_runtime.service import raise_file_limit

# Services run as tasks of the tests' process, and so do the servers they call.
raise_file_limit()

_TEMPLATE = "playhead_template"
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30
_POSTGRES_IMAGE = "postgres:18.1-alpine"


class Cluster(Protocol):
    """A running PostgreSQL: embedded, or in a container."""

    def url(self, database: str = ..., *, owner: bool = ...) -> str: ...


class Database(msgspec.Struct, frozen=True):
    """A migrated database of one test."""

    service_url: str
    owner_url: str


class ContainerPostgres:
    """PostgreSQL in a container, with the same roles as an embedded one."""

    def __init__(self, owner_url: str):
        parts = conninfo_to_dict(owner_url)
        self._address = f"{parts['host']}:{parts['port']}"
        self._owner = f"{parts['user']}:{parts['password']}"
        self._service = f"{SERVICE}:{secrets.token_hex(16)}"

    def url(self, database: str = "postgres", *, owner: bool = False) -> str:
        return f"postgresql://{self._owner if owner else self._service}@{self._address}/{database}"

    def make_service_role(self) -> None:
        password = self._service.split(":")[1]
        _execute(self, sql.SQL("create role {} login password {}").format(sql.Identifier(SERVICE), password))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Not in the header, which -q leaves out.
    where = "in a container" if docker_answers() else "embedded"
    terminalreporter.write_line(f"servers: nats-server embedded, PostgreSQL {where}")


@lru_cache(maxsize=1)
def docker_answers() -> bool:
    """Whether a Docker engine is there. A client on PATH proves nothing, and importing the SDK takes 0.5 s."""
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    address = (where.hostname or "", where.port or 2375) if where.scheme == "tcp" else where.path
    family = socket.AF_INET if where.scheme == "tcp" else socket.AF_UNIX
    try:
        with socket.socket(family) as engine:
            engine.settimeout(0.5)
            engine.connect(address)
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in engine.recv(64)
    except OSError:
        return False


@lru_cache(maxsize=1)
def scratch() -> Path | None:
    """Where servers keep what need not outlive a power cut: in memory, if there is room, else where everybody does.

    Making a database is to make some 500 files: 15 ms in memory, and 100 to 350 ms on a disk with a journal.
    """
    try:
        free = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    return _MEMORY if free > _ROOM_BYTES and os.access(_MEMORY, os.W_OK | os.X_OK) else None


@pytest.fixture
def data() -> Generator[Path]:
    """A directory for servers; short, because unix sockets stand in it, and gone after the test."""
    with tempfile.TemporaryDirectory(prefix="playhead-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def postgres() -> Generator[Cluster]:
    """PostgreSQL, one per worker process. Tests use `database`."""
    if docker_answers():
        yield from _container_postgres()
        return
    with tempfile.TemporaryDirectory(prefix="playhead-", dir=scratch()) as name:
        server = PostgresServer(Path(name) / "postgres")
        server.start()
        # It is never killed: tests that kill PostgreSQL have one of their own, with everything fsynced.
        _execute(server, sql.SQL("alter system set fsync = off"))
        _execute(server, sql.SQL("alter system set max_wal_size = '128MB'"))
        _execute(server, sql.SQL("select pg_reload_conf()"))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def template(postgres: Cluster) -> str:
    """The name of a migrated database that nobody is connected to."""
    _execute(postgres, sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
    asyncio.run(migrate(postgres.url(_TEMPLATE, owner=True), SERVICE))
    return _TEMPLATE


@pytest.fixture
def database(postgres: Cluster, template: str) -> Generator[Database]:
    """A fresh migrated database."""
    name = f"test_{secrets.token_hex(8)}"
    new = sql.Identifier(name)
    _execute(postgres, sql.SQL("create database {} template {}").format(new, sql.Identifier(template)))
    yield Database(postgres.url(name), postgres.url(name, owner=True))
    _execute(postgres, sql.SQL("drop database {} with (force)").format(new))


@pytest.fixture
def nats_server() -> Generator[NatsServer]:
    """A fresh nats-server, to be killed and restarted."""
    with tempfile.TemporaryDirectory(prefix="playhead-", dir=scratch()) as name:
        server = NatsServer(Path(name) / "nats")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """The URL of a fresh nats-server."""
    return nats_server.url


@pytest.fixture
async def bus(nats_url: str) -> AsyncGenerator[Bus]:
    """A connection to a fresh nats-server with all streams."""
    async with connect_bus(nats_url, "test") as bus:
        await provision(bus)
        yield bus


def _container_postgres() -> Generator[Cluster]:
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(_POSTGRES_IMAGE, driver=None) as container:
        cluster = ContainerPostgres(container.get_connection_url())
        cluster.make_service_role()
        yield cluster


def _execute(cluster: Cluster, statement: sql.Composed | sql.SQL) -> None:
    # Not inside a transaction: databases are made and dropped.
    with psycopg.connect(cluster.url("postgres", owner=True), autocommit=True) as connection:
        connection.execute(statement)
