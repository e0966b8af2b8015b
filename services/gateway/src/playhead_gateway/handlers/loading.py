"""Finding an execution of the caller, and adding facts to one."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Command
from playhead_contracts.events import Event, EventData, NewEvent
from playhead_contracts.ids import EventId, ExecutionId, WorkflowId, execution_stream
from playhead_engine.folding import create, evolve
from playhead_engine.state import ExecutionState
from playhead_eventlog import GENESIS, RawEvent, StreamHead
from playhead_gateway.access import Caller
from playhead_gateway.definitions import Definition
from playhead_gateway.problems import ExecutionUnknown, is_uuid
from playhead_gateway.services import Services
from playhead_runtime.bus import BusUnavailable
from playhead_runtime.ids import new_id

_SEND_SECONDS = 2.0
_PAGE = 1000


class Loaded(msgspec.Struct, frozen=True):
    """An execution as the log has it, and the head that the next append names."""

    state: ExecutionState
    head: StreamHead


async def load_execution(services: Services, caller: Caller, execution_id: str, until: int | None = None) -> Loaded:
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
    """The state at a moment, None before the first event.

    Moments are told by clocks of several machines; the order is told by versions. The first later event ends it.
    """
    state = None
    async for events, _ in pages_of(services, execution_id):
        for event in events:
            if event.recorded_at > at:
                return state
            state = _evolved(state, event)
    return state


async def _load(services: Services, execution_id: ExecutionId, until: int | None = None) -> Loaded | None:
    state, head = None, GENESIS
    async for events, end in pages_of(services, execution_id, until):
        head = end
        for event in events:
            state = _evolved(state, event)
    return None if state is None else Loaded(state, head)


def _evolved(state: ExecutionState | None, event: Event) -> ExecutionState:
    """The same state, evolved; or the first one."""
    if state is None:
        return create(event)
    evolve(state, event.data, event.version, event.recorded_at, event.envelope.actor)
    return state


async def pages_of(
    services: Services, execution_id: ExecutionId, until: int | None = None
) -> AsyncGenerator[tuple[list[Event], StreamHead]]:
    """The events of an execution, up to version `until`, in pages, each with the head that it ends in.

    However long the execution is, others get their turn between two pages, and memory holds one. Raises LogUnavailable.
    """
    version = 0
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


async def definition_of(services: Services, state: ExecutionState) -> Definition:
    """The workflow version that an execution runs. Raises LogUnavailable."""
    return await services.definitions.version(state.tenant, state.workflow_id, state.workflow_version)


def new_events(
    services: Services,
    caller: Caller,
    workflow_id: WorkflowId,
    execution_id: ExecutionId,
    facts: Sequence[EventData],
    traceparent: str | None = None,
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
            traceparent=traceparent,
        )
        for fact in facts
    ]


async def send_command(services: Services, command: Command, *, soon: bool) -> None:
    """Tell the executors. The log holds the promise: a command that is lost is sent again by the reconciler.

    `soon`: do not wait until the bus has stored it.
    """
    subject, body = subjects.command(command.tenant, command.kind()), msgspec.json.encode(command)
    try:
        if soon:
            await services.bus.send_soon(subject, body, command.id)
        else:
            await services.bus.send(subject, body, command.id, timeout_seconds=_SEND_SECONDS)
    except BusUnavailable:
        pass  # the bus logs its outages itself
