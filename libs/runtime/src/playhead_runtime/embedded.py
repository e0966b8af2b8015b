"""The real servers, started by us: what `playhead dev` and the demo run on.

Everything is below one directory: the servers' data, their logs, and `servers.json` with ports, passwords and
the secret of links, which are made at the first start. One process at a time has it (a lock), and the servers end
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
from playhead_runtime.embedded_nats import NatsServer
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
    link_secret: str
    """For `links`: those that were made before the last start still work."""


class AlreadyRunning(PlayheadError):
    """Another process has this data."""

    def __init__(self, data: Path, pid: int | None):
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{data} is in use by {who}; stop it, or use another directory")
        self.pid = pid


def _password() -> str:
    return secrets.token_hex(24)


class _Kept(msgspec.Struct, kw_only=True):
    """What stays the same from start to start. A port of 0 is yet to be chosen."""

    nats_port: int = 0
    nats_password: str = msgspec.field(default_factory=_password)
    postgres_port: int = 0
    owner_password: str = msgspec.field(default_factory=_password)
    service_password: str = msgspec.field(default_factory=_password)
    link_secret: str = msgspec.field(default_factory=_password)


@asynccontextmanager
async def embedded_servers(data: Path, settings: EmbeddedSettings | None = None) -> AsyncGenerator[Servers]:
    """Start NATS and PostgreSQL on `data`, and stop them at the end.

    The ports stay the same from start to start when they are free. Raises AlreadyRunning, and ServerFailed
    with what the server's log says. `settings` are those of the environment unless given.
    """
    settings = settings or read_settings(EmbeddedSettings, os.environ)
    with _locked(data):
        kept = _read_kept(data / "servers.json")
        # The passwords must be known before the cluster is made with them.
        _write_kept(data / "servers.json", kept)
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
            await asyncio.to_thread(postgres.prepare)
            await _start(postgres)
            await _start(nats)
            kept.nats_port, kept.postgres_port = nats.port, postgres.port
            _write_kept(data / "servers.json", kept)
            yield Servers(
                nats_url=nats.url,
                database_url=postgres.url(),
                owner_database_url=postgres.url(owner=True),
                link_secret=kept.link_secret,
            )
        finally:
            # Shielded: stopping in order is worth more than being cancelled quickly, and takes 0.1 s.
            await asyncio.shield(asyncio.gather(asyncio.to_thread(nats.stop), asyncio.to_thread(postgres.stop)))


async def _start(server: NatsServer | PostgresServer) -> None:
    # Waiting goes to threads, so that a signal is heard meanwhile. Starting does not: a server ends with the
    # thread that started it.
    server.spawn()
    while not await asyncio.to_thread(server.is_up):
        server.spawn()


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


def _read_kept(file: Path) -> _Kept:
    return msgspec.json.decode(file.read_bytes(), type=_Kept) if file.exists() else _Kept()


def _write_kept(file: Path, kept: _Kept) -> None:
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    new.rename(file)
