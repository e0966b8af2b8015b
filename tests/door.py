"""The gateway for tests: the real server on a real port, and a pen that writes what executors would write."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from playhead_contracts import subjects
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    EventData,
    ExecutionCompleted,
    ExecutionPaused,
    ExecutionStarted,
    NewEvent,
    PauseRequested,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, PauseId, TenantId, execution_stream
from playhead_engine.folding import fold
from playhead_engine.state import ExecutionState
from playhead_eventlog import Appended, EventLog
from playhead_gateway.app import serve
from playhead_gateway.settings import Settings
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_nats import free_port
from playhead_runtime.ids import derived_id, new_id
from tests.system import eventually

TENANT = TenantId("acme")
YAML = {"content-type": "application/yaml"}

TWO_BLOCKS = """
id: two
input: {type: object, required: [amount], properties: {amount: {type: number}}}
blocks:
  first: {type: function, code: "{'a': 1}", next: second}
  second: {type: function, code: "{'b': 2}"}
"""

ASKING = """
id: asking
blocks:
  ask:
    type: human
    message: "Pay?"
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: pay
  pay: {type: function, code: "{'paid': True}"}
"""


class SentEvent(msgspec.Struct, frozen=True):
    """One server-sent event as it came."""

    id: int | None
    event: str
    data: str


@asynccontextmanager
async def gateway(
    database_url: str, nats_url: str, *, headers: dict[str, str] | None = None, **settings: Any
) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a gateway that runs in this process; an open one, unless `open_tenant=None` is said."""
    settings = {"open_tenant": TENANT, "port": free_port()} | settings
    stop = asyncio.Event()
    made = Settings(database_url=database_url, nats_url=nats_url, **settings)
    serving = asyncio.create_task(serve(made, stop))
    base_url = f"http://{made.host}:{made.port}"
    limits = httpx.Limits(max_connections=200)
    try:
        async with httpx.AsyncClient(base_url=base_url, timeout=30, limits=limits, headers=headers) as client:

            async def lives() -> bool | None:
                if serving.done():
                    serving.result()
                try:
                    return (await client.get("/health/live")).status_code == 200
                except httpx.TransportError:
                    return None

            await eventually(lives)
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(serving, 30)


class Pen:
    """Writes facts about executions as executors do: append first, live then."""

    def __init__(self, log: EventLog, bus: Bus):
        self.log = log
        self.bus = bus

    async def write(self, execution_id: ExecutionId, *facts: EventData, live: bool = True) -> Appended:
        """Append facts. Not `live`: their message on the bus is lost."""
        state, head = await self._load(execution_id)
        events = [
            NewEvent(
                id=EventId(new_id()),
                data=fact,
                tenant=state.tenant,
                workflow_id=state.workflow_id,
                execution_id=execution_id,
                actor=Actor(kind="system", name="pen"),
                recorded_at=datetime.now(UTC),
            )
            for fact in facts
        ]
        appended = await self.log.append(execution_stream(execution_id), head, events)
        if live:
            await self.bus.publish(subjects.live(state.tenant, execution_id), b"\n".join(appended.frames))
        return appended

    async def created(self, execution_id: ExecutionId) -> ExecutionState:
        """The execution, once it is in the log."""

        async def look() -> ExecutionState | None:
            events, _ = await self.log.load(execution_stream(execution_id))
            return fold(events)

        return await eventually(look)

    async def frames(self, execution_id: ExecutionId) -> list[str]:
        """Its facts, as they are stored."""
        return [raw.frame().decode() for raw in await self.log.read_raw(execution_stream(execution_id))]

    async def run_two(self, execution_id: ExecutionId, *, live: bool = True) -> None:
        """Run `TWO_BLOCKS` to its end."""
        await self.created(execution_id)
        await self.write(execution_id, started(), done("first", {"a": 1}), live=live)
        await self.write(execution_id, done("second", {"b": 2}), ExecutionCompleted(output={"b": 2}), live=live)

    async def pause(self, execution_id: ExecutionId) -> PauseId:
        """Run `ASKING` to its pause."""
        await self.created(execution_id)
        pause_id = PauseId(new_id())
        form = {"type": "object", "required": ["approved"], "properties": {"approved": {"type": "boolean"}}}
        asked = PauseRequested(pause_id=pause_id, path=BlockPath("ask"), message="Pay?", digest="sha256:0", form=form)
        await self.write(execution_id, started(), asked, ExecutionPaused(epoch=1, pauses=(pause_id,)))
        return pause_id

    async def _load(self, execution_id: ExecutionId) -> tuple[ExecutionState, Any]:
        events, head = await self.log.load(execution_stream(execution_id))
        state = fold(events)
        assert state is not None
        return state, head


def started() -> ExecutionStarted:
    return ExecutionStarted(executor="pen", epoch=1, command="run")


def done(path: str, outputs: Any) -> BlockCompleted:
    return BlockCompleted(path=BlockPath(path), outputs=outputs, inputs={}, started_at=datetime.now(UTC))


def keyed(workflow_id: str, key: str) -> ExecutionId:
    """The id of the execution that an idempotency key makes."""
    return ExecutionId(derived_id(TENANT, workflow_id, key))


async def publish(client: httpx.AsyncClient, document: str) -> int:
    """Publish YAML; returns the version."""
    response = await client.post("/v1/workflows", content=document, headers=YAML)
    assert response.status_code in (200, 201), response.text
    return response.json()["version"]


async def start_async(client: httpx.AsyncClient, workflow_id: str, body: dict[str, Any] | None = None) -> ExecutionId:
    """Start without waiting."""
    response = await client.post(f"/v1/workflows/{workflow_id}/executions", json={"mode": "async"} | (body or {}))
    assert response.status_code == 202, response.text
    return ExecutionId(response.json()["execution_id"])


async def sent_events(response: httpx.Response) -> AsyncIterator[SentEvent]:
    """The server-sent events of a response, comments left out."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "event" in fields:
            number = fields.get("id")
            yield SentEvent(None if number is None else int(number), fields["event"], fields["data"])
        fields = {}


def assert_problem(response: httpx.Response, status: int, kind: str | None = None) -> dict[str, Any]:
    """The problem document of a response, which has this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:playhead:problem:")
    assert problem["title"]
    if kind is not None:
        assert problem["type"] == f"urn:playhead:problem:{kind}"
    return problem
