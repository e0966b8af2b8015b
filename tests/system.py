"""A running system for tests: real servers, services as tasks, and the few calls that tests make on it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from playhead_contracts import subjects
from playhead_contracts.canonical import canonical_document
from playhead_contracts.commands import AnswerPause, Cancel, PauseAnswered, Rejected, Run
from playhead_contracts.events import Actor, Event, EventData, Json, NewEvent, WorkflowPublished
from playhead_contracts.ids import (
    BlockPath,
    EventId,
    ExecutionId,
    PauseId,
    TenantId,
    WorkflowId,
    execution_stream,
    workflow_stream,
)
from playhead_contracts.workflow_text import digest_of, read_document
from playhead_engine.admission import Request, admit, decide_cancel
from playhead_engine.documents import parse
from playhead_engine.folding import fold
from playhead_engine.state import BlockState, ExecutionState, PauseState
from playhead_engine.traits import BlockTraits
from playhead_eventlog import GENESIS, EventLog
from playhead_executor.app import serve as serve_executor
from playhead_executor.settings import Settings as ExecutorSettings
from playhead_hitl.app import serve as serve_hitl
from playhead_hitl.settings import Settings as HitlSettings
from playhead_projector.app import serve as serve_projector
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_runtime.bus import Bus, NobodyThere
from playhead_runtime.ids import new_id
from playhead_runtime.subscription import Subscription

TENANT = TenantId("acme")
ANN = Actor(kind="person", name="ann")
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], seconds: float = 60.0, every: float = 0.01) -> T:
    """The first value that is not None (and not False); fails the test when it does not come in time.

    It looks again after `every` seconds: less often where many look, and looking costs something.
    """
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if found is not None and found is not False:
                return found
            await asyncio.sleep(every)


class System:
    """The log and the bus of one test, with the commands of a gateway."""

    def __init__(self, log: EventLog, bus: Bus, nats_url: str):
        self.log = log
        self.bus = bus
        self.nats_url = nats_url

    async def publish(self, yaml: str, custom: dict[str, BlockTraits] | None = None) -> WorkflowId:
        """Publish a document as version 1."""
        raw = canonical_document(read_document(yaml.encode(), "yaml"))
        document = parse(raw, custom or {})
        published = WorkflowPublished(workflow_version=1, digest=digest_of(raw), document=raw)
        workflow_id = WorkflowId(document.id)
        await self.log.append(workflow_stream(TENANT, workflow_id), GENESIS, [_event(published, workflow_id, None)])
        return workflow_id

    async def start(
        self, yaml: str, input: Json = None, *, send: bool = True, custom: dict[str, BlockTraits] | None = None
    ) -> ExecutionId:
        """Create an execution of an already published document and send its command."""
        raw = canonical_document(read_document(yaml.encode(), "yaml"))
        execution_id = ExecutionId(new_id())
        created = admit(parse(raw, custom or {}), 1, digest_of(raw), Request(input=input), datetime.now(UTC))
        appended = await self.log.append(
            execution_stream(execution_id), GENESIS, [_event(created, created.workflow_id, execution_id)]
        )
        if send:
            await self.send_run(execution_id, appended.frames[0])
        return execution_id

    async def send_run(self, execution_id: ExecutionId, frame: bytes | None = None) -> None:
        """Send the command of a created execution."""
        created = None if frame is None else frame.decode()
        run = Run(id=f"run:{execution_id}", tenant=TENANT, execution_id=execution_id, created=created)
        await self.bus.send(subjects.execution_command(TENANT, "run"), msgspec.json.encode(run), run.id)

    async def live(self, execution_id: ExecutionId) -> Subscription:
        """What is said of an execution on the live bus from now on."""
        return await self.bus.subscribe(subjects.live(TENANT, execution_id))

    async def events(self, execution_id: ExecutionId) -> list[Event]:
        return await self.log.read(execution_stream(execution_id))

    async def state(self, execution_id: ExecutionId) -> ExecutionState:
        state = fold(await self.events(execution_id))
        assert state is not None
        return state

    async def ended(self, execution_id: ExecutionId, seconds: float = 60.0) -> ExecutionState:
        """The final state."""
        return await self.when(execution_id, lambda state: state.is_ended, seconds)

    async def paused(self, execution_id: ExecutionId) -> ExecutionState:
        return await self.when(execution_id, lambda state: state.status == "paused")

    async def when(
        self, execution_id: ExecutionId, holds: Callable[[ExecutionState], bool], seconds: float = 60.0
    ) -> ExecutionState:
        """The first state seen of which something holds."""

        async def look() -> ExecutionState | None:
            state = await self.state(execution_id)
            return state if holds(state) else None

        return await eventually(look, seconds)

    async def answer(
        self,
        execution_id: ExecutionId,
        pause_id: PauseId,
        answer: dict[str, Json],
        actor: Actor = ANN,
        digest: str | None = None,
        **more: Any,
    ) -> PauseAnswered | Rejected:
        """Answer a pause as the gateway would; `more` are further fields of `AnswerPause`."""
        request = AnswerPause(
            tenant=TENANT,
            execution_id=execution_id,
            pause_id=pause_id,
            answer=answer,
            actor=actor,
            digest=digest,
            **more,
        )

        async def asked() -> bytes | None:
            try:
                return await self.bus.request(subjects.ANSWER_REQUESTS, msgspec.json.encode(request), 10.0)
            except NobodyThere:
                return None  # hitl is still starting: a client is told 503, and asks again

        reply = await eventually(asked)
        if "problem" in msgspec.json.decode(reply):
            return msgspec.json.decode(reply, type=Rejected)
        return msgspec.json.decode(reply, type=PauseAnswered)

    async def cancel(self, execution_id: ExecutionId, reason: str | None = None) -> None:
        """Record and send a cancel as the gateway would."""
        events, head = await self.log.load(execution_stream(execution_id))
        state = fold(events)
        assert state is not None
        facts = decide_cancel(state, reason)
        await self.log.append(
            execution_stream(execution_id), head, [_event(f, state.workflow_id, execution_id) for f in facts]
        )
        cancel = Cancel(id=f"cancel:{execution_id}", tenant=TENANT, execution_id=execution_id)
        await self.bus.send(subjects.execution_command(TENANT, "cancel"), msgspec.json.encode(cancel), cancel.id)


@asynccontextmanager
async def executor(
    database_url: str, nats_url: str, name: str | None = None, **settings: object
) -> AsyncGenerator[asyncio.Event]:
    """An executor in this process; setting the event stops it."""
    given: dict[str, Any] = {"http_allow": ("private",), **settings}
    made = ExecutorSettings(database_url=database_url, nats_url=nats_url, executor_name=name, **given)
    async with _service(lambda stop: serve_executor(made, stop)) as stop:
        yield stop


@asynccontextmanager
async def hitl(database_url: str, nats_url: str, **settings: object) -> AsyncGenerator[asyncio.Event]:
    """A hitl service in this process."""
    given: dict[str, Any] = {"webhook_allow": ("private",), **settings}
    made = HitlSettings(database_url=database_url, nats_url=nats_url, **given)
    async with _service(lambda stop: serve_hitl(made, stop)) as stop:
        yield stop


@asynccontextmanager
async def projector(database_url: str, nats_url: str, **settings: Any) -> AsyncGenerator[asyncio.Event]:
    """A projector in this process: read models, relay and courier."""
    made = ProjectorSettings(database_url=database_url, nats_url=nats_url, **settings)
    async with _service(lambda stop: serve_projector(made, stop)) as stop:
        yield stop


@asynccontextmanager
async def _service(serve: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncGenerator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve(stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


def _event(data: EventData, workflow_id: WorkflowId, execution_id: ExecutionId | None) -> NewEvent:
    return NewEvent(
        id=EventId(new_id()),
        data=data,
        tenant=TENANT,
        workflow_id=workflow_id,
        execution_id=execution_id,
        actor=ANN,
        recorded_at=datetime.now(UTC),
    )


def block(state: ExecutionState, path: str) -> BlockState:
    """A block of a state, by its path."""
    return state.blocks[BlockPath(path)]


def only_pause(state: ExecutionState) -> PauseState:
    """The one open pause."""
    [pause] = state.open_pauses()
    return pause


def new_event(data: EventData, state: ExecutionState) -> NewEvent:
    """A fact for the stream of this execution."""
    return _event(data, state.workflow_id, state.execution_id)
