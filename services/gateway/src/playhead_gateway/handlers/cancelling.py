"""Asking an execution to stop."""

from http import HTTPStatus

import msgspec

from playhead_contracts.commands import Cancel
from playhead_contracts.errors import VersionConflict
from playhead_contracts.ids import execution_stream
from playhead_engine.admission import decide_cancel
from playhead_engine.state import ExecutionState
from playhead_gateway.access import Caller
from playhead_gateway.handlers.listening import Reply, links_of
from playhead_gateway.handlers.loading import load_execution, new_events, send_command
from playhead_gateway.services import Services
from playhead_runtime.live import nudge_owner, tell
from playhead_runtime.spans import about


class CancelRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """The request is recorded; the execution ends once what is in flight has ended."""

    execution_id: str
    status: str
    cancel_requested: bool = True
    links: dict[str, str]


async def cancel_execution(services: Services, caller: Caller, execution_id: str, reason: str | None) -> Reply:
    """Record the wish to stop, and tell the executors. Raises ExecutionHasEnded, ExecutionUnknown, LogUnavailable."""
    while True:
        loaded = await load_execution(services, caller, execution_id)
        state = loaded.state
        about(state)
        facts = decide_cancel(state, reason)
        events = new_events(services, caller, state.workflow_id, state.execution_id, facts)
        try:
            if events:
                appended = await services.log.append(execution_stream(state.execution_id), loaded.head, events)
                await tell(services.bus, state.tenant, state.execution_id, appended.frames)
        except VersionConflict:
            continue  # the execution went on: look at what it is now
        command = Cancel(id=f"cancel:{state.execution_id}", tenant=state.tenant, execution_id=state.execution_id)
        await nudge_owner(services.bus, state.owner, state.execution_id)
        await send_command(services, command, soon=False)
        return cancel_recorded(state)


def cancel_recorded(state: ExecutionState) -> Reply:
    """202 for a wish to stop that is recorded."""
    links = links_of(state.execution_id)
    body = CancelRecorded(execution_id=state.execution_id, status=state.status, links=links)
    return Reply(status=HTTPStatus.ACCEPTED, body=body, location=links["self"])
