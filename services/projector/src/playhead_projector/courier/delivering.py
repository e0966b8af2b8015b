"""Bringing facts to the executions they are for: load, fold, decide, append; only then tell anybody.

The id of a fact follows from its cause, so a fact that is brought again is found in the log, and only the telling is
repeated. What the execution no longer wants is dropped: it has ended, or its block is not waiting any more.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Cancel, Wake
from playhead_contracts.errors import Corrupt, VersionConflict
from playhead_contracts.events import Actor, EventData, EventMatched, ExecutionCancelRequested, NewEvent
from playhead_contracts.ids import EventId, ExecutionId, execution_stream
from playhead_engine.admission import ExecutionHasEnded, decide_cancel
from playhead_engine.folding import evolve, fold, own_copy
from playhead_engine.kinship import ChildNews, decide_news
from playhead_engine.privacy import seal_of
from playhead_engine.state import ExecutionState
from playhead_engine.watching import decide_match
from playhead_eventlog import GENESIS, EventLog, StreamHead
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.live import nudge_owner, tell

log = logging.getLogger("playhead.projector.courier")

ACTOR = Actor(kind="system", name="courier")
AT_ONCE = 16
"""How many executions get their facts side by side; their appends share commits."""
KEPT_STATES = 200


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become true in an execution, if it wants it, and the event that it follows from."""

    id: EventId
    target: ExecutionId
    data: ChildNews | EventMatched | ExecutionCancelRequested
    cause: EventId
    block_version: int = 0
    """For a match: the version with which the block began to wait."""
    traceparent: str | None = None
    """Where in a trace the cause was made true."""


class _Target(msgspec.Struct, frozen=True):
    state: ExecutionState
    head: StreamHead


class Deliveries:
    """Facts on their way. States are kept, so that a parent of a thousand children is not read a thousand times."""

    def __init__(self, event_log: EventLog, bus: Bus, clock: Clock):
        self._log = event_log
        self._bus = bus
        self._clock = clock
        self._kept: OrderedDict[ExecutionId, _Target] = OrderedDict()

    def forget(self) -> None:
        self._kept.clear()

    async def deliver(self, facts: Sequence[Fact]) -> None:
        """Bring facts to their executions, to each of them in order. Raises LogUnavailable; some may be there then."""
        if not facts:
            return
        recorded = await self._log.recorded([fact.id for fact in facts])
        of: dict[ExecutionId, list[Fact]] = {}
        for fact in facts:
            of.setdefault(fact.target, []).append(fact)
        room = asyncio.Semaphore(AT_ONCE)

        async def bring(target: ExecutionId, its: list[Fact]) -> None:
            async with room:
                await self._bring(target, its, recorded)

        # All of them come to an end before the first error is told, so that none is left at work.
        for outcome in await asyncio.gather(*(bring(*each) for each in of.items()), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def state_of(self, execution_id: ExecutionId) -> ExecutionState | None:
        """The execution as it is now; None if there is none, or what is stored of it is broken. Not to be changed."""
        target, _ = await self._load(execution_id)
        return None if target is None else target.state

    async def _bring(self, execution_id: ExecutionId, facts: list[Fact], recorded: set[EventId]) -> None:
        while True:
            target, ids = await self._load(execution_id)
            if target is None:
                log.debug("facts for an execution that is not there", extra={"execution_id": execution_id})
                return
            new = self._decide(target.state, [fact for fact in facts if fact.id not in recorded | ids])
            if new:
                try:
                    appended = await self._log.append(execution_stream(execution_id), target.head, new)
                except VersionConflict:
                    continue  # somebody else's fact came first: fold it, decide again
                self._keep(execution_id, _Target(_evolved(target.state, new), appended.head))
                await tell(self._bus, target.state.tenant, execution_id, appended.frames)
            there = recorded | ids | {event.id for event in new}
            await self._set_going(target.state, [fact for fact in facts if fact.id in there])
            return

    def _decide(self, state: ExecutionState, facts: list[Fact]) -> list[NewEvent]:
        new: list[NewEvent] = []
        for fact in facts:
            decided = _wanted(state, fact)
            if not decided:
                about = {"execution_id": state.execution_id, "fact": fact.data.type_name(), "cause": fact.cause}
                log.debug("fact not wanted", extra=about)
                continue
            event = self._new(decided[0], fact, state)
            new.append(event)
            if fact is not facts[-1]:
                state = _evolved(state, [event])
        return new

    def _new(self, data: EventData, fact: Fact, state: ExecutionState) -> NewEvent:
        return NewEvent(
            id=fact.id,
            data=data,
            tenant=state.tenant,
            workflow_id=state.workflow_id,
            execution_id=state.execution_id,
            actor=ACTOR,
            recorded_at=self._clock.now(),
            causation_id=fact.cause,
            traceparent=fact.traceparent,
            seal=seal_of(state.personal, data),
        )

    async def _load(self, execution_id: ExecutionId) -> tuple[_Target | None, set[EventId]]:
        """The execution, and the ids of the events that were read to know it."""
        kept = self._kept.get(execution_id)
        head = GENESIS if kept is None else kept.head
        raws = await self._log.read_raw(execution_stream(execution_id), head.version)
        # Not hydrated: nothing is decided by values that are stored apart.
        events = [raw.decode() for raw in raws]
        try:
            state = fold(events, None if kept is None else kept.state)
        except Corrupt:
            self._kept.pop(execution_id, None)
            log.exception("facts for a broken execution are dropped", extra={"execution_id": execution_id})
            return None, set()
        if state is None:
            return None, set()
        target = _Target(state, StreamHead(raws[-1].version, raws[-1].hash) if raws else head)
        self._keep(execution_id, target)
        return target, {event.envelope.id for event in events}

    def _keep(self, execution_id: ExecutionId, target: _Target) -> None:
        if target.state.is_ended:
            self._kept.pop(execution_id, None)
            return
        self._kept[execution_id] = target
        self._kept.move_to_end(execution_id)
        if len(self._kept) > KEPT_STATES:
            self._kept.popitem(last=False)

    async def _set_going(self, state: ExecutionState, facts: list[Fact]) -> None:
        """Nudge whoever is to go on. Not waited for: the log holds the facts, and the reconciler finds what is due."""
        if state.is_ended or not facts:
            return
        last = facts[-1]
        if any(isinstance(fact.data, ExecutionCancelRequested) for fact in facts):
            command = Cancel(id=f"cancel:{state.execution_id}", tenant=state.tenant, execution_id=state.execution_id)
        else:
            command = Wake(id=f"wake:{last.id}", tenant=state.tenant, execution_id=state.execution_id)
        command = msgspec.structs.replace(command, traceparent=last.traceparent)
        await nudge_owner(self._bus, state.owner, state.execution_id)
        await self._bus.send_soon(
            subjects.execution_command(state.tenant, command.kind()), msgspec.json.encode(command), command.id
        )


def _wanted(state: ExecutionState, fact: Fact) -> Sequence[EventData]:
    match fact.data:
        case EventMatched():
            return decide_match(state, fact.data, fact.block_version)
        case ExecutionCancelRequested():
            try:
                return decide_cancel(state, fact.data.reason)
            except ExecutionHasEnded:
                return []
        case _:
            return decide_news(state, fact.data)


def _evolved(state: ExecutionState, events: Sequence[NewEvent]) -> ExecutionState:
    state = own_copy(state)
    for event in events:
        evolve(state, event.data, state.version + 1, event.recorded_at, event.actor)
    return state
