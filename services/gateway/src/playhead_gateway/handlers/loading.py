"""Finding an execution of the caller, and adding facts to one."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Command
from playhead_contracts.events import Event, EventData, ExecutionPaused, NewEvent, Personal
from playhead_contracts.ids import EventId, ExecutionId, PauseId, WorkflowId, execution_stream
from playhead_engine.folding import EXECUTIONS, create
from playhead_engine.privacy import seal_of
from playhead_engine.state import ExecutionState
from playhead_eventlog import LAST_VERSION, RawEvent, StreamHead
from playhead_gateway.access import Caller
from playhead_gateway.definitions import Definition
from playhead_gateway.problems import ExecutionUnknown, is_uuid
from playhead_gateway.services import Services
from playhead_runtime.bus import BusUnavailable
from playhead_runtime.ids import new_id
from playhead_runtime.spans import publishing
from playhead_runtime.tracing import current_traceparent

_SEND_SECONDS = 2.0
_PAGE = 1000


class Loaded(msgspec.Struct, frozen=True):
    """An execution as the log has it, and the head that the next append names."""

    state: ExecutionState
    head: StreamHead


async def load_execution(services: Services, caller: Caller, execution_id: str, until: int = LAST_VERSION) -> Loaded:
    """An execution of the caller's tenant, up to version `until`. Raises ExecutionUnknown and LogUnavailable."""
    loaded = await _load(services, ExecutionId(execution_id.lower()), until) if is_uuid(execution_id) else None
    if loaded is None or loaded.state.tenant != caller.tenant:
        raise ExecutionUnknown(execution_id)
    return loaded


async def check_execution(services: Services, caller: Caller, execution_id: str) -> ExecutionState:
    """How it began, without its large values. Raises ExecutionUnknown unless it is there and the caller's."""
    raws: list[RawEvent] = []
    if is_uuid(execution_id):
        raws = await services.log.read_raw(execution_stream(ExecutionId(execution_id.lower())), 0, 1)
    began = create(raws[0].decode()) if raws else None
    if began is None or began.tenant != caller.tenant:
        raise ExecutionUnknown(execution_id)
    return began


async def state_at(services: Services, execution_id: ExecutionId, at: datetime) -> ExecutionState | None:
    """The state at a moment, None before the first event. See `EventLog.version_at`."""
    stream = execution_stream(execution_id)
    state, _ = await services.log.fold(stream, EXECUTIONS, await services.log.version_at(stream, at))
    return state


async def _load(services: Services, execution_id: ExecutionId, until: int = LAST_VERSION) -> Loaded | None:
    state, head = await services.log.fold(execution_stream(execution_id), EXECUTIONS, until)
    return None if state is None else Loaded(state, head)


evolved = EXECUTIONS.evolve


async def pages_of(
    services: Services, execution_id: ExecutionId, until: int | None = None, after: int = 0
) -> AsyncGenerator[tuple[list[Event], StreamHead]]:
    """The events of an execution after a version, up to version `until`, in pages, each with the head that it ends in.

    However long the execution is, others get their turn between two pages, and memory holds one. Raises LogUnavailable.
    """
    version = after
    while until is None or version < until:
        limit = _PAGE if until is None else min(_PAGE, until - version)
        raws = await services.log.read_raw(execution_stream(execution_id), version, limit)
        if raws:
            version = raws[-1].version
            yield await services.log.hydrate([raw.decode() for raw in raws]), StreamHead(version, raws[-1].hash)
        if len(raws) < limit:
            return


async def asking_children(services: Services, state: ExecutionState) -> list[ExecutionState]:
    """The child executions, and theirs, that ask people something. Raises LogUnavailable."""
    asking: list[ExecutionState] = []
    children = [state.blocks[path].child for path in sorted(state.waiting)]
    for child in children:
        if child is None or not child.pauses:
            continue
        found = await _load(services, child.execution_id)
        if found is not None:
            asking += [found.state, *await asking_children(services, found.state)]
    return asking


async def children_as_told(services: Services, state: ExecutionState) -> list[ExecutionState]:
    """The child executions, and theirs, as they were when they asked what this state knows of: what came since is not
    in it, so that one state always gives the same.

    Raises LogUnavailable.
    """
    asking: list[ExecutionState] = []
    for path in sorted(state.waiting):
        child = state.blocks[path].child
        if child is not None and child.pauses:
            found = await _when_asking(services, child.execution_id, frozenset(child.pauses))
            asking += [] if found is None else [found, *await children_as_told(services, found)]
    return asking


async def _when_asking(
    services: Services, execution_id: ExecutionId, pauses: frozenset[PauseId]
) -> ExecutionState | None:
    """The first state of an execution that asks all of this."""
    state = None
    async for events, _ in pages_of(services, execution_id):
        for event in events:
            state = evolved(state, event)
            if isinstance(event.data, ExecutionPaused) and pauses.issubset(state.asked_pauses()):
                return state
    return None


async def state_until(
    services: Services, execution_id: ExecutionId, version: int, known: ExecutionState | None = None
) -> ExecutionState:
    """The state at a version that there is; of `known`, an earlier one which is the caller's to give away, if given.

    Raises LogUnavailable.
    """
    if known is None or version - known.version > _PAGE:
        state, _ = await services.log.fold(execution_stream(execution_id), EXECUTIONS, version)
    else:
        state = known
        async for events, _ in pages_of(services, execution_id, version, known.version):
            for event in events:
                state = evolved(state, event)
    assert state is not None
    return state


async def definition_of(services: Services, state: ExecutionState) -> Definition:
    """The workflow version that an execution runs. Raises LogUnavailable."""
    return await services.definitions.version(state.tenant, state.workflow_id, state.workflow_version)


def new_events(
    services: Services,
    caller: Caller,
    workflow_id: WorkflowId,
    execution_id: ExecutionId,
    facts: Sequence[EventData],
    personal: Personal | None = None,
) -> list[NewEvent]:
    """Facts that the caller makes true now."""
    now, actor = services.clock.now(), caller.actor
    return [
        NewEvent(
            id=EventId(new_id()),
            data=fact,
            tenant=caller.tenant,
            workflow_id=workflow_id,
            execution_id=execution_id,
            actor=actor,
            recorded_at=now,
            traceparent=current_traceparent(),
            seal=seal_of(personal, fact),
        )
        for fact in facts
    ]


async def send_command(services: Services, command: Command, *, soon: bool) -> None:
    """Tell the executors. The log holds the promise: a command that is lost is sent again by the reconciler.

    `soon`: do not wait until the bus has stored it.
    """
    subject = subjects.execution_command(command.tenant, command.kind())
    with publishing(subject, command.id, command.execution_id):
        body = msgspec.json.encode(msgspec.structs.replace(command, traceparent=current_traceparent()))
        try:
            if soon:
                await services.bus.send_soon(subject, body, command.id)
            else:
                await services.bus.send(subject, body, command.id, timeout_seconds=_SEND_SECONDS)
        except BusUnavailable:
            pass  # the bus logs its outages itself
