"""Taking an event from outside into the log, where it has a place in the order of everything."""

from http import HTTPStatus

import msgspec

from playhead_contracts.errors import Conflict, VersionConflict
from playhead_contracts.events import EventReceived, NewEvent, encode_data
from playhead_contracts.ids import EventId, event_stream
from playhead_eventlog import GENESIS
from playhead_gateway.access import Caller
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.services import Services
from playhead_runtime.ids import derived_id


class EventTaken(msgspec.Struct, frozen=True):
    """The event is in the log under this id, at this position: a `wait` block can begin `from` there."""

    event_id: str
    position: int


class EventIsAnother(Conflict):
    """Source and id together name one event (CloudEvents 1.0.2, section 3.1)."""

    problem, title = "event-is-another", "Another event came with this source and id before"

    def __init__(self, event: EventReceived):
        super().__init__(f"an event {event.event_id!r} of {event.source!r} is there already, and is not this one")


async def receive_event(services: Services, caller: Caller, event: EventReceived) -> Reply:
    """202 when it is recorded, 200 when it was before. Raises EventIsAnother, LogUnavailable."""
    event_id = EventId(derived_id(event.type_name(), caller.tenant, event.source, event.event_id))
    stream = event_stream(caller.tenant, event_id)
    new = NewEvent(
        id=event_id,
        data=event,
        tenant=caller.tenant,
        workflow_id=None,
        execution_id=None,
        actor=caller.actor,
        recorded_at=services.clock.now(),
    )
    # The log takes an append that repeats another for that one, whatever it holds: so look first.
    found = await services.log.read_raw(stream, 0, 1)
    is_new = not found
    if is_new:
        try:
            await services.log.append(stream, GENESIS, [new])
        except VersionConflict:
            is_new = False
        found = await services.log.read_raw(stream, 0, 1)
    if found[0].data != encode_data(event):
        raise EventIsAnother(event)
    return Reply(
        status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK,
        body=EventTaken(event_id=event_id, position=found[0].position),
    )
