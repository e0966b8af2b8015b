"""Random but possible histories, straight into the log: many executions at once, in every state there is."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    BlockReference,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    Envelope,
    Event,
    EventData,
    ExecutionCancelled,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionDeadLettered,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionRecovered,
    ExecutionResumed,
    ExecutionStarted,
    ForkSource,
    Json,
    NewEvent,
    PauseExpired,
    PauseRequested,
    PauseResolved,
    WorkflowPublished,
)
from playhead_contracts.ids import (
    BlockPath,
    EventId,
    ExecutionId,
    PauseId,
    StreamId,
    TenantId,
    WorkflowId,
    execution_stream,
    workflow_stream,
)
from playhead_engine.folding import create, evolve
from playhead_engine.state import ExecutionState, ExecutionStatus
from playhead_eventlog import GENESIS, EventLog, StreamHead
from playhead_runtime.ids import new_id

SYSTEM = Actor(kind="system", name="executor-1")
PERSON = Actor(kind="person", name="ann", channel="web")
TENANTS = (TenantId("acme"), TenantId("globex"))
WORKFLOWS = (WorkflowId("refunds"), WorkflowId("onboarding"))
VALUES: tuple[Json, ...] = (
    {"z": 1, "a": [1.5, None, True]},
    {"text": 'nul \x00, quote ", backslash \\, ümläut, 漢字'},
    {},
    {"spent_cents": 1250},
    None,
    {"n": 12345678901234567, "nested": {"b": [], "a": {}}},
)


class Traffic:
    """Makes histories. The same seed makes the same ones, but for ids and times."""

    def __init__(self, log: EventLog, seed: int = 1):
        self._log = log
        self._random = Random(seed)
        self._completed: list[tuple[ExecutionId, int]] = []

    async def run(self, executions: int, at_once: int = 8) -> None:
        """Write this many executions, `at_once` of them side by side."""
        left = iter(range(executions))

        async def some() -> None:
            for _ in left:
                await _History(self._log, self._random, self._completed).write()

        await asyncio.gather(*(some() for _ in range(at_once)))

    async def publish(self, workflow_id: WorkflowId, version: int = 1) -> None:
        """Publish a version of a workflow; versions in order."""
        stream = workflow_stream(TENANTS[0], workflow_id)
        _, head = await self._log.load(stream)
        published = WorkflowPublished(
            workflow_version=version, digest="d" * 64, document={"name": "A \x00 name", "blocks": {"a": {}, "b": {}}}
        )
        await self._log.append(stream, head, [new_event(published, TENANTS[0], workflow_id, None)])


def new_event(
    data: EventData,
    tenant: TenantId,
    workflow_id: WorkflowId | None,
    execution_id: ExecutionId | None,
    actor: Actor = SYSTEM,
) -> NewEvent:
    """An event to append, of now."""
    return NewEvent(
        id=EventId(new_id()),
        data=data,
        tenant=tenant,
        workflow_id=workflow_id,
        execution_id=execution_id,
        actor=actor,
        recorded_at=datetime.now(UTC),
        correlation_id=f"request of {actor.name}",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


class _History:
    """One execution: steps are drawn from those that its state allows."""

    def __init__(self, log: EventLog, random: Random, completed: list[tuple[ExecutionId, int]]):
        self._log = log
        self._random = random
        self._completed = completed
        self._id = ExecutionId(new_id())
        self._tenant = random.choice(TENANTS)
        self._workflow = random.choice(WORKFLOWS)
        self._stream: StreamId = execution_stream(self._id)
        self._head: StreamHead = GENESIS
        self._pending: list[NewEvent] = []
        self._numbers = iter(range(1, 1000))

    async def write(self) -> None:
        state = self._begin()
        for _ in range(self._random.randint(0, 30)):
            if state.is_ended:
                break
            self._step(state)
            if self._random.random() < 0.6:
                await self._append()
        await self._append()

    def _begin(self) -> ExecutionState:
        source = self._random.choice(self._completed) if self._completed and self._random.random() < 0.3 else None
        created = ExecutionCreated(
            workflow_id=self._workflow,
            workflow_version=1,
            digest="d" * 64,
            input=self._value(),
            source=ForkSource(source[0], source[1], "b1") if source else None,
        )
        new = self._new(created)
        envelope = Envelope(
            id=new.id,
            type=created.type_name(),
            schema_version=1,
            tenant=new.tenant,
            stream_id=self._stream,
            version=1,
            recorded_at=new.recorded_at,
            actor=new.actor,
            execution_id=self._id,
        )
        state = create(Event(envelope=envelope, data=created))
        if source is not None:
            reference = BlockReference(source[0], source[1])
            self._record(state, BlockReused(path=self._path(), reference=reference, decision=("high", 'o"dd')))
        return state

    def _step(self, state: ExecutionState) -> None:
        match state.status:
            case ExecutionStatus.CREATED:
                self._record(state, ExecutionStarted(executor="executor-1", epoch=1, command=new_id()))
            case ExecutionStatus.PAUSED:
                self._answer_or_resume(state)
            case _:
                self._work(state)

    def _answer_or_resume(self, state: ExecutionState) -> None:
        pauses = state.open_pauses()
        if pauses and self._random.random() < 0.7:
            answered = PauseResolved(
                pause_id=pauses[0].pause_id, path=pauses[0].path, resolution="answered", answer={"ok": self._value()}
            )
            self._record(state, answered, PERSON)
        elif self._random.random() < 0.2:
            self._record(state, ExecutionCancelRequested(reason="no \x00 more"), PERSON)
        else:
            self._record(state, ExecutionResumed(executor="executor-2", epoch=state.epoch + 1, command=new_id()))

    def _work(self, state: ExecutionState) -> None:
        running = sorted(path for path in state.running)
        waiting = [block.path for block in state.blocks.values() if block.status in ("paused", "interrupted")]
        match self._random.randrange(13):
            case 0 | 1 | 2 | 3:
                self._record(state, BlockStarted(path=self._path(), inputs={"v": self._value()}))
            case 4 | 5 | 6 if running:
                completed = BlockCompleted(path=running[0], outputs=self._value(), duration_ms=1.5)
                self._record(state, completed)
                self._completed.append((self._id, state.version))
            case 7 if running:
                error = BlockError(type="odd", message="it \x00 broke", details={"why": self._value()})
                self._record(state, BlockFailed(path=running[-1], error=error, handled=True, duration_ms=0.5))
            case 8:
                self._record(state, BlockSkipped(path=self._path(), reason="no active path leads here"))
            case 9:
                self._pause(state)
            case 10 if not running and waiting:
                due = datetime.now(UTC) + timedelta(hours=1) if self._random.random() < 0.5 else None
                self._record(state, ExecutionPaused(epoch=state.epoch, due_at=due))
            case 11:
                assert state.owner is not None
                recovered = ExecutionRecovered(
                    executor="executor-3", epoch=state.epoch + 1, command=new_id(), taken_from=state.owner
                )
                self._record(state, recovered)
            case 12 if self._random.random() < 0.6:
                self._end(state)
            case _:
                settled = waiting or running
                if settled:
                    self._record(state, BlockCompleted(path=settled[0], outputs=self._value()))
                    self._completed.append((self._id, state.version))

    def _pause(self, state: ExecutionState) -> None:
        pause_id, path = PauseId(new_id()), self._path()
        requested = PauseRequested(
            pause_id=pause_id,
            path=path,
            message="Pay \x00 this?",
            digest="e" * 64,
            form={"type": "object"},
            show={"v": self._value()},
            assignees=("ann", 'o"dd\\one'),
        )
        self._record(state, requested)
        match self._random.randrange(4):
            case 0:
                self._record(state, PauseExpired(pause_id=pause_id, path=path, expired_at=datetime.now(UTC)))
            case 1:
                closed = PauseResolved(pause_id=pause_id, path=path, resolution="closed", reason="it failed")
                self._record(state, closed)
            case _:
                pass

    def _end(self, state: ExecutionState) -> None:
        match self._random.randrange(4):
            case 0:
                self._record(
                    state, ExecutionFailed(error=BlockError(type="odd", message="broken"), block=BlockPath("b1"))
                )
            case 1:
                self._record(state, ExecutionCancelled(reason="enough"))
            case 2:
                self._record(state, ExecutionDeadLettered(command="c", failures=5, error="boom"))
            case _:
                self._record(state, ExecutionCompleted(output=self._value(), http_status=200))

    def _record(self, state: ExecutionState, data: EventData, actor: Actor = SYSTEM) -> None:
        new = self._new(data, actor)
        evolve(state, data, state.version + 1, new.recorded_at, actor)

    def _new(self, data: EventData, actor: Actor = SYSTEM) -> NewEvent:
        new = new_event(data, self._tenant, self._workflow, self._id, actor)
        self._pending.append(new)
        return new

    async def _append(self) -> None:
        if self._pending:
            events, self._pending = self._pending, []
            self._head = (await self._log.append(self._stream, self._head, events)).head

    def _value(self) -> Json:
        return self._random.choice(VALUES)

    def _path(self) -> BlockPath:
        return BlockPath(f"b{next(self._numbers)}")
