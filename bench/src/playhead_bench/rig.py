"""A system to measure: embedded servers on a fresh directory, services as processes, and a client's few calls."""

import asyncio
import base64
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import msgspec
import psycopg

from playhead_bench.client import Client
from playhead_contracts import subjects
from playhead_contracts.commands import Run
from playhead_contracts.events import Actor, EventData, ExecutionCompleted, Json, NewEvent, WorkflowPublished
from playhead_contracts.ids import EventId, ExecutionId, TenantId, WorkflowId, execution_stream, workflow_stream
from playhead_contracts.workflow_text import digest_of
from playhead_engine.admission import Request, admit
from playhead_engine.documents import parse
from playhead_engine.graph import build_graph
from playhead_engine.privacy import personal_of, seal_of
from playhead_engine.traits import BlockTraits
from playhead_eventlog import GENESIS, EventLog, migrate, open_log
from playhead_runtime.bus import Bus, connect_bus
from playhead_runtime.embedded import Servers, embedded_servers
from playhead_runtime.embedded_nats import free_port
from playhead_runtime.extensions import custom_block_types
from playhead_runtime.ids import new_id
from playhead_runtime.provision import provision

TENANT = TenantId("bench")
ACTOR = Actor(kind="system", name="bench")
SERVICE_LOGIN = "playhead"

# The relay notes its own checkpoint only now and then; the stream itself says how far it is.
_READ_MODELS_AT = "select min(position) from read.checkpoints where projection <> 'relay'"


class Created(msgspec.Struct, frozen=True):
    """An execution in the log whose command was not sent yet."""

    execution_id: ExecutionId
    frame: str


class Copied(msgspec.Struct, frozen=True):
    """How far the bus copy was, and when that was seen."""

    position: int
    at: float

    def since(self, earlier: "Copied") -> float:
        """Seconds."""
        return self.at - earlier.at


class Rig:
    """Servers, log and bus of one measurement."""

    def __init__(self, servers: Servers, log: EventLog, bus: Bus, stack: AsyncExitStack, folder: Path):
        self.servers = servers
        self.log = log
        self.bus = bus
        self._stack = stack
        self._folder = folder
        self._traits = {
            kind: BlockTraits(effects=extension.effects) for kind, extension in custom_block_types().items()
        }

    async def serve(self, service: str, **settings: object) -> asyncio.subprocess.Process:
        """Start one service as a process of its own; it is stopped with the rig."""
        environ = {
            **os.environ,
            "PLAYHEAD_NATS_URL": self.servers.nats_url,
            "PLAYHEAD_DATABASE_URL": self.servers.database_url,
            "PLAYHEAD_LOG_LEVEL": "WARNING",
            **{f"PLAYHEAD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with (self._folder / f"{service}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"playhead_{service}", env=environ, stdout=log, stderr=log
            )
        self._stack.push_async_callback(_stopped, process)
        return process

    async def publish(self, document: dict[str, Json]) -> WorkflowId:
        """Put a definition into the log."""
        parsed = parse(document, self._traits)
        published = WorkflowPublished(workflow_version=1, digest=digest_of(document), document=document)
        workflow_id = WorkflowId(parsed.id)
        await self.log.append(workflow_stream(TENANT, workflow_id), GENESIS, [_event(published, workflow_id, None)])
        return workflow_id

    def event(self, fact: EventData, execution_id: ExecutionId) -> NewEvent:
        """A fact of an execution, as the benchmark writes it."""
        return _event(fact, WorkflowId("bench"), execution_id)

    async def create(self, document: dict[str, Json], count: int, input: Json = None) -> list[Created]:
        """Put executions into the log, without their commands; each is about somebody else, if that is asked."""
        parsed = parse(document, self._traits)
        created = admit(parsed, 1, digest_of(document), Request(input=input), datetime.now(UTC))
        graph = build_graph(parsed, self._traits)

        async def one() -> Created:
            execution_id = ExecutionId(new_id())
            event = _event(created, created.workflow_id, execution_id)
            if parsed.personal is not None:
                personal = personal_of(graph, await self.log.vault.key_for(TENANT, execution_id))
                begun = msgspec.structs.replace(created, personal=personal)
                event = msgspec.structs.replace(event, data=begun, seal=seal_of(personal, begun))
            appended = await self.log.append(execution_stream(execution_id), GENESIS, [event])
            return Created(execution_id, appended.frames[0].decode())

        return list(await asyncio.gather(*(one() for _ in range(count))))

    async def command(self, executions: Iterable[Created]) -> None:
        """Send the `run` commands, pipelined."""

        async def one(created: Created) -> None:
            run = Run(
                id=f"run:{created.execution_id}",
                tenant=TENANT,
                execution_id=created.execution_id,
                created=created.frame,
            )
            await self.bus.send(subjects.execution_command(TENANT, "run"), msgspec.json.encode(run), run.id)

        await asyncio.gather(*(one(created) for created in executions))

    async def completed(self, count: int, after: int) -> float:
        """Wait until the log holds `count` completions after position `after`; the moment the last one was seen."""
        seen = 0
        while seen < count:
            raws = await self.log.read_log(after, 10_000)
            seen += sum(raw.type == ExecutionCompleted.type_name() for raw in raws)
            after = raws[-1].position if raws else after
            if not raws:
                await asyncio.sleep(0.005)
        return perf_counter()

    async def stop(self, process: asyncio.subprocess.Process) -> None:
        """End a service before the rig does."""
        await _stopped(process)

    async def serve_all(self) -> Client:
        """All four services; returns when the gateway is ready."""
        port = free_port()
        for service in ("executor", "hitl", "projector"):
            await self.serve(service)
        await self.serve("gateway", host="127.0.0.1", port=port, open_tenant=TENANT)
        client = Client(port)
        while not client.is_ready():  # noqa: ASYNC110 - another process: there is no event to wait for
            await asyncio.sleep(0.05)
        return client

    async def is_published(self, document: dict[str, Json]) -> bool:
        return bool(await self.log.read(workflow_stream(TENANT, WorkflowId(document["id"]))))

    async def caught_up(self) -> float:
        """Wait until read models and bus copy are where the log is; the moment at which they were."""
        position = await self.log.last_position()
        async with await psycopg.AsyncConnection.connect(self.servers.database_url, autocommit=True) as connection:
            while True:
                try:
                    rows = await (await connection.execute(_READ_MODELS_AT)).fetchall()
                except psycopg.errors.UndefinedTable:
                    rows = []
                if rows and rows[0][0] is not None and int(rows[0][0]) >= position:
                    break
                await asyncio.sleep(0.005)
        await self.copied(position)
        return perf_counter()

    async def copied(self, position: int) -> Copied:
        """Wait until the bus copy has reached a position of the log; how far it was then."""
        while True:
            answer = await self.bus.api(
                f"STREAM.MSG.GET.{subjects.EVENTS_STREAM}", b'{"last_by_subj":"%b"}' % subjects.EVENTS_FILTER.encode()
            )
            message = msgspec.json.decode(answer).get("message")
            if message is not None:
                headers = base64.b64decode(message["hdrs"]).decode().lower()
                reached = int(headers.split("playhead-position:")[1].split("\r\n")[0])
                if reached >= position:
                    return Copied(reached, perf_counter())
            await asyncio.sleep(0.005)

    async def warm_up(self, document: dict[str, Json], input: Json = None) -> None:
        """Run one execution to its end, so that processes are up and definitions are read."""
        position = await self.log.last_position()
        await self.command(await self.create(document, 1, input))
        await self.completed(1, position)


@asynccontextmanager
async def rig() -> AsyncGenerator[Rig]:
    """A fresh system. Everything is gone afterwards."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playhead-bench-")))
        servers = await stack.enter_async_context(embedded_servers(folder / "data"))
        await migrate(servers.owner_database_url, SERVICE_LOGIN)
        log = await stack.enter_async_context(open_log(servers.database_url))
        bus = await stack.enter_async_context(connect_bus(servers.nats_url, "bench"))
        await provision(bus)
        processes = await stack.enter_async_context(AsyncExitStack())
        yield Rig(servers, log, bus, processes, folder)


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()


def _event(data: EventData, workflow_id: WorkflowId, execution_id: ExecutionId | None) -> NewEvent:
    return NewEvent(
        id=EventId(new_id()),
        data=data,
        tenant=TENANT,
        workflow_id=workflow_id,
        execution_id=execution_id,
        actor=ACTOR,
        recorded_at=datetime.now(UTC),
    )


def chain(length: int, kind: str) -> dict[str, Json]:
    """A document of `length` blocks in a row."""
    blocks: dict[str, Json] = {}
    for index in range(length):
        before = "{{ input.n }}" if index == 0 else "{{ blocks.b%d.n }}" % (index - 1)
        blocks[f"b{index}"] = {"type": kind, "config": {"n": before}}
        if index + 1 < length:
            blocks[f"b{index}"]["next"] = f"b{index + 1}"
    return {"id": f"{kind}-{length}", "blocks": blocks, "output": {"n": "{{ blocks.b%d.n }}" % (length - 1)}}
