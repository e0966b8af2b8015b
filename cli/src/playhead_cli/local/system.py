"""Servers and services of one data directory, started in order and stopped in order.

Every service is a process of its own, as in production: a crash of one is no crash of another. They talk over the same
bus and the same log as anywhere else; nothing in here is a short cut.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from playhead_cli.local.child import Child, Say, StartFailed
from playhead_cli.operator import operator
from playhead_cli.servers import ARCHIVE, CHECKPOINTS, SIGNING_KEY, make_signing_key
from playhead_contracts.errors import PlayheadError
from playhead_eventlog import migrate
from playhead_gateway.access import ADMIN, create_key, list_keys
from playhead_gateway.settings import is_loopback
from playhead_runtime.embedded import Servers, embedded_servers
from playhead_runtime.embedded_postgres import SERVICE

TENANT = "default"
_KEY_NAME = "dev"
_BEHIND = ("executor", "hitl", "projector")
_DOOR = "gateway"
_READY_SECONDS = 30.0

# What a shell may have set for servers elsewhere must not reach services that run on ours.
_OURS = (
    "PLAYHEAD_NATS_",
    "PLAYHEAD_DATABASE_",
    "PLAYHEAD_HEALTH_",
    "PLAYHEAD_HOST",
    "PLAYHEAD_PORT",
    "PLAYHEAD_OPEN_TENANT",
    "PLAYHEAD_LINK_SECRET",
    "PLAYHEAD_CHECKPOINT_DIR",
    "PLAYHEAD_SIGNING_KEY",
    "PLAYHEAD_ARCHIVE_URL",
)


class PortTaken(PlayheadError):
    """Something else listens where the gateway should."""

    def __init__(self, host: str, port: int, cause: OSError):
        super().__init__(f"nothing can listen on {host}:{port} ({cause.strerror}); choose another with --port")


class Address(msgspec.Struct, frozen=True):
    """Where the gateway listens."""

    host: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether only this machine can reach it, so that it needs no key."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """How this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class LocalSystem(msgspec.Struct, frozen=True):
    """A running system. `new_key` is an API key that was made just now, and cannot be seen again.

    `nats_url` is for workers and consumers on the bus, with a password that is of this data directory alone.
    """

    url: str
    nats_url: str
    data: Path
    new_key: str | None


@asynccontextmanager
async def local_system(data: Path, address: Address, say: Say) -> AsyncGenerator[LocalSystem]:
    """The whole system on `data`, ready when this yields; `say` gets what people should hear meanwhile.

    Raises AlreadyRunning, PortTaken, ServerFailed and StartFailed.
    """
    async with embedded_servers(data) as servers:
        # After the lock: a second start on the same data is told that, and not that its port is taken.
        _check_port(address)
        logs = _prepare(data)
        await migrate(servers.owner_database_url, SERVICE)
        new_key = None if address.is_open else await _first_key(servers.database_url)
        async with _services(logs, _environ(servers, address) | _beside(data), say):
            await _gateway_ready(address.url)
            yield LocalSystem(address.url, servers.nats_url, data, new_key)


@asynccontextmanager
async def _services(logs: Path, environ: Mapping[str, str], say: Say) -> AsyncGenerator[None]:
    children = [Child(service, logs, environ, say) for service in (*_BEHIND, _DOOR)]
    *behind, door = children
    keepers: list[asyncio.Task[None]] = []
    try:
        for child in children:
            child.start()
        await asyncio.gather(*(child.ready() for child in children))
        keepers = [asyncio.create_task(child.keep_running(), name=child.service) for child in children]
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        # The door first: nothing new comes in while the others finish what they hold.
        await asyncio.shield(_stop(door, behind))


async def _stop(door: Child, behind: list[Child]) -> None:
    await asyncio.to_thread(door.stop)
    await asyncio.gather(*(asyncio.to_thread(child.stop) for child in behind))


def _prepare(data: Path) -> Path:
    """The folder of the services' logs."""
    # Passwords stand in there.
    (data / ".gitignore").write_text("*\n")
    logs = data / "logs"
    logs.mkdir(exist_ok=True, mode=0o700)
    return logs


def _beside(data: Path) -> dict[str, str]:
    """Where checkpoints and archived executions go, and what they are signed with. A key beside them proves little: in
    production it is kept elsewhere.
    """
    folder = data.resolve() / CHECKPOINTS
    if not (folder / SIGNING_KEY).exists():
        make_signing_key(folder)
    return {
        "PLAYHEAD_CHECKPOINT_DIR": str(folder),
        "PLAYHEAD_SIGNING_KEY": str(folder / SIGNING_KEY),
        "PLAYHEAD_ARCHIVE_URL": str(data.resolve() / ARCHIVE),
    }


def _environ(servers: Servers, address: Address) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environ |= {
        "PLAYHEAD_NATS_URL": servers.nats_url,
        "PLAYHEAD_DATABASE_URL": servers.database_url,
        "PLAYHEAD_HOST": address.host,
        "PLAYHEAD_PORT": str(address.port),
        "PLAYHEAD_LINK_SECRET": servers.link_secret,
    }
    if address.is_open:
        environ["PLAYHEAD_OPEN_TENANT"] = TENANT
    # Whoever leads people here by another way, such as a tunnel, says so.
    environ.setdefault("PLAYHEAD_PUBLIC_URL", address.url)
    # On one's own machine blocks talk to what runs there; in production nothing private is reached unless it is said.
    environ.setdefault("PLAYHEAD_HTTP_ALLOW", "private")
    environ.setdefault("PLAYHEAD_WEBHOOK_ALLOW", "private")
    # That it is ready is said at INFO.
    if environ.get("PLAYHEAD_LOG_LEVEL", "").upper() != "DEBUG":
        environ["PLAYHEAD_LOG_LEVEL"] = "INFO"
    return environ


async def _first_key(database_url: str) -> str | None:
    keys = await list_keys(database_url, TENANT)
    if any(key.name == _KEY_NAME and key.revoked_at is None for key in keys):
        return None
    return (await create_key(database_url, TENANT, _KEY_NAME, [ADMIN], by=operator())).key


async def _gateway_ready(url: str) -> None:
    last = "no answer"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while True:
                    try:
                        answer = await client.get("/health/ready")
                    except httpx.TransportError as error:
                        last = str(error)
                    else:
                        if answer.is_success:
                            return
                        last = answer.text
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise StartFailed(f"the gateway at {url} is not ready after {_READY_SECONDS:g} s: {last}") from error


def _check_port(address: Address) -> None:
    # The gateway would say so, too, but after everything else was started.
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise PortTaken(address.host, address.port, error) from error
