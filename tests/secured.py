"""A nats-server with the configuration that we deploy, and its users."""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

import asyncio
import os
import signal
import subprocess
import sysconfig
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from playhead_runtime.bus import Bus, connect_bus
from playhead_runtime.embedded_nats import free_port
from playhead_runtime.server_process import ServerFailed

CONF = Path(__file__).parent.parent / "deploy" / "nats.conf"
NAMES = ("gateway", "executor", "hitl", "projector", "operator", "client", "worker", "consumer")
OUTSIDE = {"client": "client-acme", "worker": "worker-acme", "consumer": "consumer-acme"}
PREFIXES = {name: f"_INBOX_{name}" for name in NAMES} | {name: f"_INBOX_{name}.acme" for name in OUTSIDE}


def user_of(name: str) -> str:
    """What a user is called."""
    return OUTSIDE.get(name, name)


def password_of(name: str) -> str:
    """Not the same for any two."""
    return f"password-of-{name}"


class SecuredNats:
    """The server. Only place and ports are not what the file says."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """With the user and the password in it, as programs in other languages take them."""
        return f"nats://{user_of(name)}:{password_of(name)}@127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def settings(self, name: str) -> dict[str, str]:
        """What a service is told, as fields of its settings."""
        return {
            "nats_url": self.address,
            "nats_user": user_of(name),
            "nats_password": password_of(name),
            "nats_inbox_prefix": PREFIXES[name],
        }

    async def start(self) -> None:
        passwords = {f"NATS_{name.upper()}_PASSWORD": password_of(name) for name in NAMES}
        log = self._folder / "nats.log"
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        places = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(free_port()), "-sd", str(self._folder)]
        self._process = subprocess.Popen(
            [binary, "-c", CONF, *places, "-l", log], env={**os.environ, **passwords}, stderr=subprocess.DEVNULL
        )
        while "Server is ready" not in (log.read_text() if log.exists() else ""):
            if self._process.poll() is not None:
                raise ServerFailed(log.read_text() if log.exists() else "nats-server did not start")
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    @asynccontextmanager
    async def connect(self, name: str, prefix: str | None = None) -> AsyncGenerator[Bus]:
        """As this user."""
        async with connect_bus(
            self.address,
            f"test as {name}",
            user=user_of(name),
            password=password_of(name),
            inbox_prefix=prefix or PREFIXES[name],
        ) as bus:
            yield bus

    @asynccontextmanager
    async def raw(self, name: str) -> AsyncGenerator["User"]:
        """This user with a plain client, to see what the server refuses."""
        refused: list[Exception] = []

        async def on_error(error: Exception) -> None:
            refused.append(error)

        client = await nats.connect(
            self.address,
            user=user_of(name),
            password=password_of(name),
            inbox_prefix=PREFIXES[name],
            error_cb=on_error,
            allow_reconnect=False,
        )
        try:
            yield User(client, refused)
        finally:
            await client.close()


class User:
    """Somebody who tries what they may."""

    def __init__(self, client: Client, refused: list[Exception]):
        self._client = client
        self._refused = refused

    async def may_publish(self, subject: str) -> bool:
        await self._client.publish(subject, b"{}")
        return await self._is_allowed()

    async def may_listen(self, subject: str) -> bool:
        subscription = await self._client.subscribe(subject)
        allowed = await self._is_allowed()
        await subscription.unsubscribe()
        return allowed

    async def _is_allowed(self) -> bool:
        # The server refuses before it answers the ping that comes after: the second, for the first may be ahead.
        await self._client.flush()
        await self._client.flush()
        allowed = not self._refused
        self._refused.clear()
        return allowed
