"""Taking an event from outside into the log, where it has a place in the order of everything."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from msgspec import structs

from playhead_contracts.errors import Conflict, VersionConflict
from playhead_contracts.events import EventData, EventReceived, NewEvent, encode_data
from playhead_contracts.ids import EventId, event_stream
from playhead_eventlog import GENESIS
from playhead_gateway.access import Caller
from playhead_gateway.cloud_events import as_text
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.services import Services
from playhead_runtime.ids import derived_id
from playhead_runtime.tracing import current_traceparent, here, valid_traceparent


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
    # Where its author was, as the extension of CloudEvents for distributed tracing has it.
    author = event.attributes.get("traceparent")
    author = valid_traceparent(author if isinstance(author, str) else None)
    if (span := here()) is not None:
        span.link(author)
    new = NewEvent(
        id=event_id,
        data=event,
        tenant=caller.tenant,
        workflow_id=None,
        execution_id=None,
        actor=caller.actor,
        recorded_at=services.clock.now(),
        traceparent=current_traceparent() or author,
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
    if _said(found[0].decode().data) != _said(event):
        raise EventIsAnother(event)
    return Reply(
        status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK,
        body=EventTaken(event_id=event_id, position=found[0].position),
    )


async def receive_batch(services: Services, caller: Caller, events: Sequence[EventReceived]) -> Reply:
    """Take events one after another, so that they stand in the log in their order; as `receive_event` for each.

    When one is refused those before it are recorded, and the same batch again goes on from there.
    """
    replies = [await receive_event(services, caller, event) for event in events]
    is_new = any(reply.status == HTTPStatus.ACCEPTED for reply in replies)
    return Reply(status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK, body=[reply.body for reply in replies])


def _said(event: EventData) -> bytes:
    """What an event says, however it came: in binary mode every attribute is text (CloudEvents 1.0.2, section 3.1)."""
    assert isinstance(event, EventReceived)
    attributes: dict[str, str | int | bool] = {name: as_text(value) for name, value in event.attributes.items()}
    return encode_data(structs.replace(event, attributes=attributes))
