"""From events of the log to what they start, with the triggers as they were when each happened."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec

from playhead_contracts.events import (
    Event,
    ExecutionCreated,
    Json,
    TriggeredBy,
    TriggerPublished,
    TriggerRemoved,
)
from playhead_contracts.ids import EventId, ExecutionId, TenantId, WorkflowId, execution_stream
from playhead_contracts.requests import TriggeredRun
from playhead_engine.triggers import (
    MAX_DEPTH,
    Firing,
    Trigger,
    TriggerFailed,
    compile_trigger,
    depth_after,
)
from playhead_eventlog import EventLog, RawEvent
from playhead_projector.triggering.store import FiringId, NewFiring, Published

_REMEMBERED = 20_000
_REGISTRY = (TriggerPublished.type_name(), TriggerRemoved.type_name())


class Found(msgspec.Struct):
    """What a batch of the log holds for triggers."""

    published: list[Published] = []
    firings: list[NewFiring] = []


class Matching:
    """The triggers of all tenants, and what they make of events, which must be shown in the order of the log."""

    def __init__(self, log: EventLog, documents: Iterable[tuple[TenantId, dict[str, Json]]]):
        self._log = log
        self._triggers: dict[TenantId, dict[str, Trigger]] = {}
        self._wanted: dict[str, bool] = {}
        self._depths: OrderedDict[ExecutionId, int] = OrderedDict()
        for tenant, document in documents:
            self._put(tenant, compile_trigger(document))

    async def look_at(self, batch: Sequence[RawEvent]) -> Found:
        """What these events start, and how the triggers change. Raises LogUnavailable."""
        found = Found()
        events: list[Event] = []
        for raw in batch:
            if self._is_wanted(raw.type):
                events.append(raw.decode())
            if raw.type in _REGISTRY:
                # A trigger is for what comes after it: what came before is for those that were there then.
                await self._match(events, found)
                events = []
                found.published.append(self._changed(raw.decode()))
        await self._match(events, found)
        return found

    def _is_wanted(self, log_type: str) -> bool:
        """Whether any trigger may want events of this type. Most events need not even be decoded."""
        known = self._wanted.get(log_type)
        if known is None:
            triggers = (trigger for each in self._triggers.values() for trigger in each.values())
            known = self._wanted[log_type] = any(trigger.may_want(log_type) for trigger in triggers)
        return known

    def _changed(self, event: Event) -> Published:
        envelope, data = event.envelope, event.data
        assert isinstance(data, TriggerPublished | TriggerRemoved)
        self._wanted.clear()
        if isinstance(data, TriggerRemoved):
            self._triggers.get(envelope.tenant, {}).pop(data.trigger_id, None)
            return Published(
                tenant=envelope.tenant, trigger_id=data.trigger_id, at=envelope.recorded_at, position=event.position
            )
        self._put(envelope.tenant, compile_trigger(data.document))
        return Published(
            tenant=envelope.tenant,
            trigger_id=data.trigger_id,
            version=data.trigger_version,
            digest=data.digest,
            document=data.document,
            at=envelope.recorded_at,
            position=event.position,
        )

    def _put(self, tenant: TenantId, trigger: Trigger) -> None:
        self._triggers.setdefault(tenant, {})[trigger.id] = trigger

    async def _match(self, events: list[Event], found: Found) -> None:
        if not events:
            return
        for event in await self._log.hydrate(events):
            for trigger in self._triggers.get(event.envelope.tenant, {}).values():
                if trigger.may_want(event.envelope.type):
                    firing = await self._fired(trigger, event)
                    found.firings += [] if firing is None else [firing]

    async def _fired(self, trigger: Trigger, event: Event) -> NewFiring | None:
        """The command that a trigger sends for an event, or the dead letter that says why it cannot be."""
        envelope = event.envelope
        depth = depth_after(event.data, await self._depth_of(envelope.execution_id))
        try:
            firing = trigger.fire(event)
            if firing is None:
                return None
            if depth > MAX_DEPTH:
                raise TriggerFailed(
                    f"this would be the {depth}th trigger in a row, each started by what the one before it started; "
                    f"{MAX_DEPTH} are the most"
                )
        except TriggerFailed as failed:
            what = {"trigger": trigger.id, "event": envelope.id, "type": envelope.type, "position": event.position}
            return NewFiring(
                id=FiringId(envelope.tenant, trigger.id, f"failed:{envelope.id}"),
                event_id=envelope.id,
                position=event.position,
                depth=depth,
                message=msgspec.json.encode(what).decode(),
                error=f"trigger {trigger.id}: {failed}",
            )
        return NewFiring(
            id=FiringId(envelope.tenant, trigger.id, firing.key),
            event_id=envelope.id,
            position=event.position,
            depth=depth,
            message=_message(_order(trigger, firing, event, depth), envelope.traceparent),
        )

    async def _depth_of(self, execution_id: ExecutionId | None) -> int:
        """How many triggers led to an execution, through its parents as well."""
        if execution_id is None:
            return 0
        if (known := self._depths.get(execution_id)) is not None:
            self._depths.move_to_end(execution_id)
            return known
        depth = 0
        raws = await self._log.read_raw(execution_stream(execution_id), 0, 1)
        created = raws[0].decode().data if raws else None
        if isinstance(created, ExecutionCreated):
            if created.trigger is not None:
                depth = created.trigger.depth
            elif created.parent is not None:
                depth = await self._depth_of(created.parent.execution_id)
        self._depths[execution_id] = depth
        if len(self._depths) > _REMEMBERED:
            self._depths.popitem(last=False)
        return depth


def _message(order: TriggeredRun, traceparent: str | None) -> str:
    """A command as it is kept until it is sent, and where in a trace the event was that it is for."""
    traced = {} if traceparent is None else {"traceparent": traceparent}
    return msgspec.json.encode({**msgspec.to_builtins(order), **traced}).decode()


def _order(trigger: Trigger, firing: Firing, event: Event, depth: int) -> TriggeredRun:
    by = TriggeredBy(trigger_id=trigger.id, event_id=EventId(event.envelope.id), position=event.position, depth=depth)
    return TriggeredRun(
        workflow_id=WorkflowId(firing.workflow),
        version=firing.version,
        input=firing.input,
        variables=firing.variables,
        trigger=by,
        reply="receipt",
    )
