"""Events -> state. Folding needs no definition: all that was decided is in the events.

`evolve` changes the state it is given, which its caller owns; copying it for every event would make a fold
quadratic. `fold` starts from a copy, so that what it was given stays as it was.
"""

from collections.abc import Callable, Iterable
from copy import copy
from datetime import datetime
from typing import Any, cast

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    Event,
    EventData,
    ExecutionCancelled,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionDeadLettered,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionRecovered,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionTimedOut,
    PauseExpired,
    PauseRequested,
    PauseResolved,
)
from playhead_engine.state import (
    SETTLED,
    BlockState,
    BlockStatus,
    ExecutionState,
    ExecutionStatus,
    PauseState,
    Stop,
)

_CREATED, _RUNNING, _PAUSED = ExecutionStatus.CREATED, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED
_ANY_OPEN = frozenset({_CREATED, _RUNNING, _PAUSED})

TRANSITIONS: dict[type[EventData], tuple[frozenset[ExecutionStatus], ExecutionStatus | None]] = {
    # event                    may come in                        leads to (None: stays)
    ExecutionStarted: (frozenset({_CREATED}), _RUNNING),
    ExecutionResumed: (frozenset({_PAUSED}), _RUNNING),
    ExecutionRecovered: (frozenset({_RUNNING}), _RUNNING),
    ExecutionPaused: (frozenset({_RUNNING}), _PAUSED),
    ExecutionCompleted: (frozenset({_RUNNING}), ExecutionStatus.COMPLETED),
    ExecutionFailed: (frozenset({_RUNNING}), ExecutionStatus.FAILED),
    ExecutionCancelled: (frozenset({_RUNNING}), ExecutionStatus.CANCELLED),
    ExecutionTimedOut: (frozenset({_RUNNING}), ExecutionStatus.TIMED_OUT),
    ExecutionCancelRequested: (_ANY_OPEN, None),
    ExecutionDeadLettered: (_ANY_OPEN, None),
    BlockStarted: (frozenset({_RUNNING}), None),
    BlockCompleted: (frozenset({_RUNNING}), None),
    BlockFailed: (frozenset({_RUNNING}), None),
    BlockSkipped: (frozenset({_RUNNING}), None),
    BlockReused: (frozenset({_CREATED}), None),
    PauseRequested: (frozenset({_RUNNING}), None),
    PauseResolved: (frozenset({_RUNNING, _PAUSED}), None),
    PauseExpired: (frozenset({_RUNNING}), None),
}
"""The state machine of an execution: (status, event) -> status. What is not here cannot have happened."""


class ImpossibleEvent(Corrupt):
    """The log holds an event that cannot follow what came before it."""

    def __init__(self, data: EventData, state: ExecutionState | None):
        where = "an empty stream" if state is None else f"{state.execution_id} which is {state.status}"
        super().__init__(f"{data.type_name()} cannot happen to {where}")


def fold(events: Iterable[Event], state: ExecutionState | None = None) -> ExecutionState | None:
    """The state after `events`, which follow `state` (None: from the beginning). None if there are none at all.

    Raises ImpossibleEvent when the events are not those of an execution, in order.
    """
    if state is not None:
        state = own_copy(state)
    for event in events:
        envelope = event.envelope
        if state is None:
            state = create(event)
        else:
            evolve(state, event.data, envelope.version, envelope.recorded_at, envelope.actor)
    return state


def own_copy(state: ExecutionState) -> ExecutionState:
    """A copy that can be evolved while the original stays as it is."""
    clone = copy(state)
    clone.blocks, clone.pauses, clone.running = dict(state.blocks), dict(state.pauses), set(state.running)
    return clone


def create(event: Event) -> ExecutionState:
    """The state after the first event of an execution. Raises ImpossibleEvent for any other event."""
    envelope, data = event.envelope, event.data
    if not isinstance(data, ExecutionCreated) or envelope.execution_id is None:
        raise ImpossibleEvent(data, None)
    return ExecutionState(
        execution_id=envelope.execution_id,
        tenant=envelope.tenant,
        workflow_id=data.workflow_id,
        workflow_version=data.workflow_version,
        digest=data.digest,
        status=_CREATED,
        version=envelope.version,
        created_at=envelope.recorded_at,
        updated_at=envelope.recorded_at,
        created_by=envelope.actor,
        mode=data.mode,
        input=data.input,
        variables=data.variables,
        outputs_asked=data.outputs,
        source=data.source,
        plan=data.plan,
        fingerprint=data.fingerprint,
    )


def evolve(state: ExecutionState, data: EventData, version: int, at: datetime, actor: Actor) -> None:
    """Let one more event be true. `version` must follow the state's. Raises ImpossibleEvent."""
    kind = type(data)
    allowed = TRANSITIONS.get(kind)
    if allowed is None or state.status not in allowed[0] or version != state.version + 1:
        raise ImpossibleEvent(data, state)
    state.version = version
    state.updated_at = at
    if allowed[1] is not None:
        state.status = allowed[1]
    _EVOLVE[kind](state, data, at, actor)


def mark_running(state: ExecutionState, started: BlockStarted, at: datetime) -> None:
    """Note in a working copy that a block without effects is in flight. Not a fact: the log does not know it."""
    _block_started(state, started, at)


def _settle(state: ExecutionState, block: BlockState) -> None:
    before = state.blocks.get(block.path)
    if before is not None and before.status in SETTLED:
        raise Corrupt(f"{block.path} of {state.execution_id} is {before.status} and cannot become {block.status}")
    state.blocks[block.path] = block
    state.running.discard(block.path)
    state.settled += 1
    state.idle_claims = 0


def _claimed(
    state: ExecutionState,
    data: ExecutionStarted | ExecutionResumed | ExecutionRecovered,
    at: datetime,
    _: Actor,
) -> None:
    if data.epoch != state.epoch + 1:
        raise ImpossibleEvent(data, state)
    state.epoch, state.owner, state.claim_command = data.epoch, data.executor, data.command
    state.started_at = state.started_at or at
    state.due_at, state.dead_lettered, state.unheeded = None, None, 0
    if isinstance(data, ExecutionRecovered):
        state.idle_claims += 1
    for path in state.running:
        state.blocks[path] = msgspec.structs.replace(state.blocks[path], status=BlockStatus.INTERRUPTED)
    state.running.clear()


def _paused(state: ExecutionState, data: ExecutionPaused, _at: datetime, _: Actor) -> None:
    state.owner, state.due_at, state.unheeded = None, data.due_at, 0


def _ended(state: ExecutionState, at: datetime) -> None:
    state.owner, state.ended_at, state.due_at = None, at, None


def _completed(state: ExecutionState, data: ExecutionCompleted, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.output, state.http_status = data.output, data.http_status


def _failed(state: ExecutionState, data: ExecutionFailed, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.error, state.failed_block = data.error, data.block


def _cancelled(state: ExecutionState, data: ExecutionCancelled, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.error = BlockError(type="cancelled", message=data.reason or "The execution was cancelled")


def _timed_out(state: ExecutionState, data: ExecutionTimedOut, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.error = BlockError(type="timed_out", message=f"Not done by {data.deadline.isoformat()}")


def _cancel_requested(state: ExecutionState, data: ExecutionCancelRequested, _at: datetime, _: Actor) -> None:
    state.stop = state.stop or Stop(kind="cancel", reason=data.reason)
    state.unheeded += 1


def _dead_lettered(state: ExecutionState, data: ExecutionDeadLettered, _at: datetime, _: Actor) -> None:
    state.dead_lettered, state.idle_claims = data.error, 0


def _block_started(state: ExecutionState, data: BlockStarted, at: datetime, _: Actor | None = None) -> None:
    waits = data.until is not None
    state.blocks[data.path] = BlockState(
        path=data.path,
        status=BlockStatus.WAITING if waits else BlockStatus.RUNNING,
        attempt=data.attempt,
        inputs=data.inputs,
        started_at=at,
        until=data.until,
        version=state.version,
    )
    if not waits:
        state.running.add(data.path)


def _block_completed(state: ExecutionState, data: BlockCompleted, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.COMPLETED,
            attempt=data.attempt,
            inputs=data.inputs if data.inputs is not None or before is None else before.inputs,
            outputs=data.outputs,
            decision=data.decision,
            started_at=data.started_at or (before.started_at if before else at),
            ended_at=at,
            duration_ms=data.duration_ms,
            pause_id=before.pause_id if before else None,
            version=state.version,
        ),
    )
    if data.locks and state.stop is None:
        state.stop = Stop(kind="response", path=data.path)


def _block_failed(state: ExecutionState, data: BlockFailed, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.FAILED,
            attempt=data.attempt,
            inputs=data.inputs if data.inputs is not None or before is None else before.inputs,
            error=data.error,
            handled=data.handled,
            started_at=data.started_at or (before.started_at if before else at),
            ended_at=at,
            duration_ms=data.duration_ms,
            pause_id=before.pause_id if before else None,
            version=state.version,
        ),
    )
    if not data.handled and state.stop is None:
        state.stop = Stop(kind="failure", path=data.path)


def _block_skipped(state: ExecutionState, data: BlockSkipped, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.SKIPPED,
            reason=data.reason,
            inputs=before.inputs if before else None,
            started_at=before.started_at if before else None,
            ended_at=at,
            pause_id=before.pause_id if before else None,
            version=state.version,
        ),
    )


def _block_reused(state: ExecutionState, data: BlockReused, at: datetime, _: Actor) -> None:
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.COMPLETED,
            outputs=data.outputs,
            decision=data.decision,
            ended_at=at,
            reused_from=data.reference,
            version=state.version,
        ),
    )


def _pause_requested(state: ExecutionState, data: PauseRequested, at: datetime, _: Actor) -> None:
    state.pauses[data.pause_id] = PauseState(
        pause_id=data.pause_id,
        path=data.path,
        status="open",
        message=data.message,
        digest=data.digest,
        requested_at=at,
        form=data.form,
        show=data.show,
        assignees=data.assignees,
        expires_at=data.expires_at,
    )
    state.blocks[data.path] = BlockState(
        path=data.path,
        status=BlockStatus.PAUSED,
        started_at=at,
        pause_id=data.pause_id,
        version=state.version,
    )


def _open_pause(state: ExecutionState, data: PauseResolved | PauseExpired) -> PauseState:
    pause = state.pauses.get(data.pause_id)
    if pause is None or pause.status != "open":
        raise ImpossibleEvent(data, state)
    return pause


def _pause_resolved(state: ExecutionState, data: PauseResolved, at: datetime, actor: Actor) -> None:
    state.pauses[data.pause_id] = msgspec.structs.replace(
        _open_pause(state, data),
        status=data.resolution,
        answer=data.answer,
        reason=data.reason,
        resolved_by=actor,
        resolved_at=at,
        resolved_version=state.version,
    )
    if data.resolution == "answered":
        state.unheeded += 1


def _pause_expired(state: ExecutionState, data: PauseExpired, at: datetime, actor: Actor) -> None:
    state.pauses[data.pause_id] = msgspec.structs.replace(
        _open_pause(state, data),
        status="expired",
        resolved_by=actor,
        resolved_at=at,
        resolved_version=state.version,
    )


_Evolve = Callable[[ExecutionState, Any, datetime, Actor], None]

_EVOLVE = cast(
    dict[type[EventData], _Evolve],
    {
        ExecutionStarted: _claimed,
        ExecutionResumed: _claimed,
        ExecutionRecovered: _claimed,
        ExecutionPaused: _paused,
        ExecutionCompleted: _completed,
        ExecutionFailed: _failed,
        ExecutionCancelled: _cancelled,
        ExecutionTimedOut: _timed_out,
        ExecutionCancelRequested: _cancel_requested,
        ExecutionDeadLettered: _dead_lettered,
        BlockStarted: _block_started,
        BlockCompleted: _block_completed,
        BlockFailed: _block_failed,
        BlockSkipped: _block_skipped,
        BlockReused: _block_reused,
        PauseRequested: _pause_requested,
        PauseResolved: _pause_resolved,
        PauseExpired: _pause_expired,
    },
)
