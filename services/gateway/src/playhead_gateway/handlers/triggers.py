"""Triggers: publishing them, showing what they have done, and removing them. What they start, the projector decides."""

import re
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

import msgspec

from playhead_contracts.errors import Fault, NotFound, VersionConflict
from playhead_contracts.events import Actor, EventData, Json, NewEvent, TriggerPublished, TriggerRemoved
from playhead_contracts.ids import TOKEN_PATTERN, EventId, StreamId, WorkflowId, trigger_stream
from playhead_contracts.pointers import pointer
from playhead_contracts.triggers import TriggerDocument
from playhead_contracts.workflow_text import digest_of
from playhead_engine.schemas import faults_of
from playhead_engine.triggers import InvalidTrigger, constant_input, parse_trigger
from playhead_eventlog import GENESIS, StreamHead
from playhead_gateway.access import Caller
from playhead_gateway.definitions import Definition
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.handlers.publishing import read_written
from playhead_gateway.paging import Page, page_of, read_name
from playhead_gateway.problems import WorkflowUnknown
from playhead_gateway.read_models import TriggerCounts, TriggerRow
from playhead_gateway.services import Services
from playhead_runtime.ids import new_id
from playhead_runtime.tracing import current_traceparent

_NAME = re.compile(TOKEN_PATTERN)
_CATCH_UP_SECONDS = 0.25
"""How long a list waits to show what was recorded before it was asked for."""


class TriggerUnknown(NotFound):
    problem, title = "trigger-unknown", "There is no such trigger here"

    def __init__(self, trigger_id: str):
        super().__init__(f"there is no trigger {trigger_id[:64]}")


class PublishedTrigger(msgspec.Struct, frozen=True):
    """`warnings` do not count: it is published."""

    trigger_id: str
    version: int
    digest: str
    warnings: tuple[Fault, ...] = ()


class TriggerView(msgspec.Struct, frozen=True):
    """A trigger, who published it, and what it has done. `position` is the place in the log after which it counts."""

    trigger_id: str
    version: int
    digest: str
    published_at: datetime
    published_by: Actor
    position: int
    document: dict[str, Json]
    counts: TriggerCounts


class RemovedTrigger(msgspec.Struct, frozen=True):
    trigger_id: str
    removed: bool = True


class _Newest(msgspec.Struct, frozen=True):
    """The newest thing that was said about a trigger, if there is one."""

    head: StreamHead
    published: TriggerPublished | None = None
    at: datetime | None = None
    by: Actor | None = None
    position: int = 0


async def publish(services: Services, caller: Caller, body: bytes, content_type: str | None) -> Reply:
    """201 for a new version, 200 if the newest one is this very document. Raises InvalidTrigger and TooLarge."""
    raw = read_written(services, body, content_type)
    document = parse_trigger(raw)
    definition = await _workflow_of(services, caller, document)
    warnings = tuple(_warnings(document, definition))
    stream, digest = trigger_stream(caller.tenant, document.id), digest_of(raw)
    while True:
        newest = await _newest(services, stream)
        if newest.published is not None and newest.published.digest == digest:
            status, version = HTTPStatus.OK, newest.published.trigger_version
            break
        status, version = HTTPStatus.CREATED, newest.head.version + 1
        fact = TriggerPublished(trigger_id=document.id, trigger_version=version, digest=digest, document=raw)
        if await _append(services, caller, stream, newest.head, fact, document.workflow):
            break
    body_of_reply = PublishedTrigger(document.id, version, digest, warnings)
    return Reply(status=status, body=body_of_reply, location=f"/v1/triggers/{document.id}")


async def list_triggers(services: Services, caller: Caller, cursor: str | None, limit: int) -> Page[TriggerRow]:
    """By id. Raises BadRequest."""
    await services.read_models.triggers_reach(await services.log.last_position(), _CATCH_UP_SECONDS)
    rows = await services.read_models.triggers(caller.tenant, read_name(cursor), limit + 1)
    return page_of(rows, limit, lambda row: row.trigger_id)


async def show(services: Services, caller: Caller, trigger_id: str) -> TriggerView:
    """Raises TriggerUnknown."""
    newest = await _there(services, caller, trigger_id)
    published = newest.published
    assert published is not None
    assert newest.at is not None
    assert newest.by is not None
    return TriggerView(
        trigger_id=trigger_id,
        version=published.trigger_version,
        digest=published.digest,
        published_at=newest.at,
        published_by=newest.by,
        position=newest.position,
        document=published.document,
        counts=await services.read_models.trigger_counts(caller.tenant, trigger_id),
    )


async def remove(services: Services, caller: Caller, trigger_id: str) -> RemovedTrigger:
    """It starts nothing for events that come after this. Raises TriggerUnknown."""
    while True:
        newest = await _there(services, caller, trigger_id)
        assert newest.published is not None
        workflow = str(newest.published.document["workflow"])
        stream = trigger_stream(caller.tenant, trigger_id)
        if await _append(services, caller, stream, newest.head, TriggerRemoved(trigger_id=trigger_id), workflow):
            return RemovedTrigger(trigger_id)


async def _workflow_of(services: Services, caller: Caller, document: TriggerDocument) -> Definition:
    workflow_id = WorkflowId(document.workflow)
    try:
        if document.version is None:
            return await services.definitions.latest(caller.tenant, workflow_id)
        return await services.definitions.version(caller.tenant, workflow_id, document.version)
    except WorkflowUnknown as unknown:
        where = pointer("workflow" if document.version is None else "version")
        fault = Fault(where, unknown.detail, "publish the workflow first")
        raise InvalidTrigger(unknown.detail, errors=[fault]) from unknown


def _warnings(document: TriggerDocument, definition: Definition) -> Sequence[Fault]:
    """What will be refused when an event comes, as far as it can be told now."""
    schema, constant = definition.document.input, constant_input(document)
    faults: list[Fault] = []
    if schema is not None and constant is not None:
        faults += [
            Fault("#/input" + fault.pointer.removeprefix("#"), fault.detail) for fault in faults_of(schema, constant)
        ]
    return faults + [
        Fault(pointer("variables", name), f"{definition.workflow_id} declares no such variable")
        for name in document.variables
        if name not in definition.document.variables
    ]


async def _newest(services: Services, stream: StreamId) -> _Newest:
    raw = await services.log.newest(stream)
    if raw is None:
        return _Newest(GENESIS)
    event, head = raw.decode(), StreamHead(raw.version, raw.hash)
    if not isinstance(event.data, TriggerPublished):
        return _Newest(head)
    return _Newest(head, event.data, event.envelope.recorded_at, event.envelope.actor, event.position)


async def _there(services: Services, caller: Caller, trigger_id: str) -> _Newest:
    if not _NAME.fullmatch(trigger_id):
        raise TriggerUnknown(trigger_id)
    newest = await _newest(services, trigger_stream(caller.tenant, trigger_id))
    if newest.published is None:
        raise TriggerUnknown(trigger_id)
    return newest


async def _append(
    services: Services, caller: Caller, stream: StreamId, head: StreamHead, fact: EventData, workflow: str
) -> bool:
    """Whether the fact is the next one of the stream; not if somebody else's came first."""
    event = NewEvent(
        id=EventId(new_id()),
        data=fact,
        tenant=caller.tenant,
        workflow_id=WorkflowId(workflow),
        execution_id=None,
        actor=caller.actor,
        recorded_at=services.clock.now(),
        traceparent=current_traceparent(),
    )
    try:
        await services.log.append(stream, head, [event])
    except VersionConflict:
        return False
    return True
