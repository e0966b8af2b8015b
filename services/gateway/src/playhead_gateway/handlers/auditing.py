"""Who did what, when, and over which channel: read from the log, newest first.

An operation is a fact that somebody made true: a person or a key. What the system itself does to executions (children,
timers, pauses that close) is none. Values that people wrote are not told here, only what was done to what.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from playhead_contracts.events import Actor, ExecutionCreated, Json, decode_envelope
from playhead_contracts.ids import EventId, ExecutionId, WorkflowId, execution_of
from playhead_eventlog import RawEvent
from playhead_eventlog.auditing import Wanted
from playhead_gateway.access import Caller
from playhead_gateway.paging import Page, cursor_at, read_number
from playhead_gateway.services import Services

_A_READ = 500
_MOST_READS = 20
"""Of one call: whoever asks for what is rare gets a short page, and where to go on."""


class Operation(StrEnum):
    """What can be done."""

    PUBLISH = "publish"
    PUBLISH_TRIGGER = "publish_trigger"
    REMOVE_TRIGGER = "remove_trigger"
    START = "start"
    RERUN = "rerun"
    CANCEL = "cancel"
    ANSWER = "answer"
    VOTE = "vote"
    DELEGATE = "delegate"
    EXTEND = "extend"
    CREATE_KEY = "create_key"
    REVOKE_KEY = "revoke_key"
    CREATE_WEBHOOK = "create_webhook"
    CHANGE_WEBHOOK = "change_webhook"
    EXPORT = "export"
    FORGET = "forget"
    ARCHIVE = "archive"


_STARTED = ExecutionCreated.type_name()
_TYPES: Mapping[Operation, str] = {
    Operation.PUBLISH: "workflow.published",
    Operation.PUBLISH_TRIGGER: "trigger.published",
    Operation.REMOVE_TRIGGER: "trigger.removed",
    Operation.START: _STARTED,
    Operation.RERUN: _STARTED,
    Operation.CANCEL: "execution.cancel_requested",
    Operation.ANSWER: "pause.resolved",
    Operation.VOTE: "pause.voted",
    Operation.DELEGATE: "pause.delegated",
    Operation.EXTEND: "pause.extended",
    Operation.CREATE_KEY: "key.created",
    Operation.REVOKE_KEY: "key.revoked",
    Operation.CREATE_WEBHOOK: "webhook.created",
    Operation.CHANGE_WEBHOOK: "webhook.changed",
    Operation.EXPORT: "log.exported",
    Operation.FORGET: "subject.forgotten",
    Operation.ARCHIVE: "execution.archived",
}
_BY_TYPE = {name: operation for operation, name in _TYPES.items() if operation is not Operation.RERUN}

_ON_PAUSE = ("pause_id", "path", "action", "on_behalf_of")
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "workflow.published": ("workflow_version", "digest"),
    "trigger.published": ("trigger_id", "trigger_version", "digest"),
    "trigger.removed": ("trigger_id",),
    _STARTED: ("workflow_version", "mode", "source", "trigger"),
    "pause.resolved": _ON_PAUSE,
    "pause.voted": _ON_PAUSE,
    "pause.delegated": ("pause_id", "path", "to"),
    "pause.extended": ("pause_id", "path", "expires_at"),
    "key.created": ("key_id", "name", "scopes", "groups"),
    "key.revoked": ("key_id", "name"),
    "webhook.created": ("name", "host", "events", "workflows"),
    "webhook.changed": ("name", "change", "delivery_id"),
    "log.exported": ("format", "to", "since", "until", "workflow_id", "executions"),
    "subject.forgotten": ("key_ids", "executions"),
    "execution.archived": ("file", "events", "digest"),
}
"""What of an event's data says what was done to what. The rest is what people wrote, and is not for this list."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Performed(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `position` is that of its event in the log, `details` are members of the event's data."""

    position: int
    event_id: EventId
    at: datetime
    operation: Operation
    type: str
    actor: Actor
    workflow_id: WorkflowId | None
    execution_id: ExecutionId | None
    details: dict[str, Json]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which operations are wanted: those that meet all that is said."""

    operation: Operation | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_operations(
    services: Services, caller: Caller, asked: Asked, cursor: str | None, limit: int
) -> Page[Performed]:
    """The operations of the caller's tenant, newest first. A page may be short, or empty, and still have a next one.

    Raises BadRequest and LogUnavailable.
    """
    types = _TYPES.values() if asked.operation is None else (_TYPES[asked.operation],)
    wanted = Wanted(tenant=caller.tenant, types=set(types), since=asked.since, until=asked.until, actor=asked.actor)
    before = read_number(cursor) or None
    found: list[Performed] = []
    for _ in range(_MOST_READS):
        events = await services.log.auditing.operations(wanted, before, _A_READ)
        for event in events:
            before = event.position
            performed = _performed(event)
            if performed is None or not _is_asked(performed, asked):
                continue
            found.append(performed)
            if len(found) == limit:
                return Page(found, cursor_at(before))
        if len(events) < _A_READ:
            return Page(found)
    return Page(found, None if before is None else cursor_at(before))


def _is_asked(performed: Performed, asked: Asked) -> bool:
    return (asked.operation in (None, performed.operation)) and (asked.actor in (None, performed.actor.name))


def _performed(event: RawEvent) -> Performed | None:
    """None for what the system did to an execution by itself."""
    envelope = decode_envelope(event.meta)
    if envelope.actor.kind == "system" and execution_of(event.stream_id) is not None:
        return None
    members = _members.decode(event.data)
    operation = Operation.RERUN if event.type == _STARTED and "source" in members else _BY_TYPE[event.type]
    names = _DETAILS.get(event.type, ())
    return Performed(
        position=event.position,
        event_id=envelope.id,
        at=envelope.recorded_at,
        operation=operation,
        type=event.type,
        actor=envelope.actor,
        workflow_id=envelope.workflow_id,
        execution_id=envelope.execution_id,
        details={name: msgspec.json.decode(members[name]) for name in names if name in members},
    )
