"""Finding an execution of the caller, and adding facts to one."""

from collections.abc import Sequence

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Command
from playhead_contracts.events import EventData, NewEvent
from playhead_contracts.ids import EventId, ExecutionId, WorkflowId, execution_stream
from playhead_engine.fold import fold
from playhead_engine.state import ExecutionState
from playhead_eventlog import StreamHead
from playhead_gateway.access import Caller
from playhead_gateway.definitions import Definition
from playhead_gateway.problems import ExecutionUnknown, is_uuid
from playhead_gateway.services import Services
from playhead_runtime.bus import BusUnavailable
from playhead_runtime.ids import new_id

_SEND_SECONDS = 2.0


class Loaded(msgspec.Struct, frozen=True):
    """An execution as the log has it, and the head that the next append names."""

    state: ExecutionState
    head: StreamHead


async def load_execution(services: Services, caller: Caller, execution_id: str, until: int | None = None) -> Loaded:
    """An execution of the caller's tenant, up to version `until`. Raises ExecutionUnknown and LogUnavailable."""
    if not is_uuid(execution_id):
        raise ExecutionUnknown(execution_id)
    events, head = await services.log.load(execution_stream(ExecutionId(execution_id.lower())), until)
    state = fold(events)
    if state is None or state.tenant != caller.tenant:
        raise ExecutionUnknown(execution_id)
    return Loaded(state, head)


async def asking_children(services: Services, state: ExecutionState) -> list[ExecutionState]:
    """The child executions, and theirs, that ask people something. Raises LogUnavailable."""
    asking: list[ExecutionState] = []
    children = [state.blocks[path].child for path in sorted(state.waiting)]
    for child in children:
        if child is None or not child.pauses:
            continue
        found = fold((await services.log.load(execution_stream(child.execution_id)))[0])
        if found is not None:
            asking += [found, *await asking_children(services, found)]
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
