"""A pause that people can open: the whole system in this process, with links on."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from playhead_contracts.ids import ExecutionId, PauseId
from playhead_engine.state import PauseState
from playhead_eventlog import open_log
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from playhead_runtime.links import Link, Links
from tests.conftest import Database
from tests.door import TENANT, gateway, publish, start_async
from tests.system import System, executor, hitl, only_pause, projector

SECRET = "a secret of tests and of nothing else, as long as the longest hash would like it"


class Paused(msgspec.Struct, frozen=True):
    """An execution that waits at its only pause."""

    execution_id: ExecutionId
    pause_id: PauseId


def path_of(
    paused: Paused,
    subject: str | None = None,
    *,
    groups: Sequence[str] = (),
    lasts: timedelta = timedelta(hours=1),
    secret: str = SECRET,
    **changes: Any,
) -> str:
    """The path of a new link."""
    link = Link(
        tenant=TENANT,
        execution_id=paused.execution_id,
        pause_id=paused.pause_id,
        subject=subject,
        groups=tuple(groups),
        expires_at=datetime.now(UTC) + lasts,
        link_id=new_id(),
    )
    return "/a/" + Links(secret).issue(msgspec.structs.replace(link, **changes))


class People:
    """What operators and people do about pauses."""

    def __init__(self, client: httpx.AsyncClient, system: System):
        self.client = client
        self.system = system

    async def asked(self, document: str) -> Paused:
        """Publish a workflow and run it to its pause."""
        await publish(self.client, document)
        workflow_id = next(line.split(":")[1].strip() for line in document.splitlines() if line.startswith("id:"))
        execution_id = await start_async(self.client, workflow_id)
        return Paused(execution_id, only_pause(await self.system.paused(execution_id)).pause_id)

    async def pause(self, paused: Paused) -> PauseState:
        """The pause as the log has it."""
        return (await self.system.state(paused.execution_id)).pauses[paused.pause_id]

    async def digest(self, path: str) -> str:
        """That of the proposal which the page shows."""
        return (await self.client.get(path)).text.partition('name="digest" value="')[2].partition('"')[0]

    async def press(self, path: str, button: str, **fields: Any) -> httpx.Response:
        """Fill in the page as it is now, and press the button of an action. `f__x` is the control `f/x`."""
        named = {name.replace("__", "/"): value for name, value in fields.items()}
        return await self.client.post(path, data={"digest": await self.digest(path), "action": button} | named)


@asynccontextmanager
async def people(database: Database, bus: Bus, nats_url: str, **settings: Any) -> AsyncGenerator[People]:
    """All services, and an open gateway with links."""
    url = database.service_url
    async with (
        open_log(url) as log,
        executor(url, nats_url),
        hitl(url, nats_url),
        projector(url, nats_url),
        gateway(url, nats_url, headers=None, **{"link_secret": SECRET, **settings}) as client,
    ):
        yield People(client, System(log, bus, nats_url))
