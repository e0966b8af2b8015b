"""The real servers, started by us: what `playhead dev` and the demo run on.

Everything is below one directory: the servers' data, their logs, and `servers.json` with ports and
passwords, which are made at the first start. One process at a time has it (a lock), and the servers end
with that process.
"""

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_runtime.embedded_nats import NatsServer, free_port, is_port_free
from playhead_runtime.embedded_postgres import PostgresServer
from playhead_runtime.settings import read_settings


class EmbeddedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Directories with other programs than those of the PyPI packages."""

    nats_bin: Path | None = None
    postgres_bin: Path | None = None


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the servers. The URLs hold passwords."""

    nats_url: str
    database_url: str
    """Of the services' role, which can neither update nor delete an event."""
    owner_database_url: str
    """Of the superuser: for migrations."""


class AlreadyRunning(PlayheadError):
    """Another process has this data."""

    def __init__(self, data: Path, pid: int | None):
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{data} is in use by {who}; stop it, or use another directory")
        self.pid = pid


class _Kept(msgspec.Struct, kw_only=True):
    """What stays the same from start to start."""

    nats_port: int
    nats_password: str
    postgres_port: int
    owner_password: str
    service_password: str


@asynccontextmanager
async def embedded_servers(data: Path, settings: EmbeddedSettings | None = None) -> AsyncGenerator[Servers]:
    """Start NATS and PostgreSQL on `data`, and stop them at the end.

    The ports stay the same from start to start when they are free. Raises AlreadyRunning, and ServerFailed
    with what the server's log says. `settings` are those of the environment unless given.
    """
    settings = settings or read_settings(EmbeddedSettings, os.environ)
    with _locked(data):
        kept = _keep(data / "servers.json")
        nats = NatsServer(
            data / "nats",
            port=kept.nats_port,
            password=kept.nats_password,
            bin_dir=settings.nats_bin,
            log=data / "nats.log",
        )
        postgres = PostgresServer(
            data / "postgres",
            port=kept.postgres_port,
            owner_password=kept.owner_password,
            service_password=kept.service_password,
            bin_dir=settings.postgres_bin,
            log=data / "postgres.log",
        )
        try:
            await _start(nats, postgres)
            yield Servers(
                nats_url=nats.url, database_url=postgres.url(), owner_database_url=postgres.url(owner=True)
            )
        finally:
            # Shielded: stopping in order is worth more than being cancelled quickly, and takes 0.1 s.
            await asyncio.shield(
                asyncio.gather(asyncio.to_thread(nats.stop), asyncio.to_thread(postgres.stop))
            )


async def _start(nats: NatsServer, postgres: PostgresServer) -> None:
    # Waiting goes to threads, so that a signal is heard meanwhile. Starting does not: a server ends with
    # the thread that started it.
    await asyncio.to_thread(postgres.prepare)
    postgres.spawn()
    nats.spawn()
    await asyncio.to_thread(postgres.wait_ready)
    await asyncio.to_thread(nats.wait_ready)


@contextmanager
def _locked(data: Path) -> Generator[None]:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode()
            raise AlreadyRunning(data, int(holder) if holder.isdigit() else None) from None
        os.truncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _keep(file: Path) -> _Kept:
    if file.exists():
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
    else:
        kept = _Kept(
            nats_port=free_port(),
            nats_password=secrets.token_hex(24),
            postgres_port=free_port(),
            owner_password=secrets.token_hex(24),
            service_password=secrets.token_hex(24),
        )
    if not is_port_free(kept.nats_port):
        kept.nats_port = free_port()
    if not is_port_free(kept.postgres_port):
        kept.postgres_port = free_port()
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    new.rename(file)
    return kept
