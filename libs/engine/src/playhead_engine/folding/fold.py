"""Events -> state. Folding needs no definition: all that was decided is in the events.

`evolve` changes the state it is given, which its caller owns; copying it for every event would make a fold
quadratic. `fold` starts from a copy, so that what it was given stays as it was.
"""

from collections.abc import Callable, Iterable
from copy import copy
from datetime import datetime
from typing import Any, cast

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockDispatched,
    BlockFailed,
    BlockOverridden,
    BlockRetryScheduled,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    BlockStepCompleted,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    ChildStarted,
    ContainerReused,
    Event,
    EventData,
    EventMatched,
    EventPublished,
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
    IterationCompleted,
    IterationReused,
    PauseDelegated,
    PauseEscalated,
    PauseExpired,
    PauseExtended,
    PauseNotified,
    PauseReminded,
    PauseRequested,
    PauseResolved,
    PauseVoted,
    TaskAnswered,
)
from playhead_engine.folding.blocks import (
    block_completed,
    block_failed,
    block_overridden,
    block_retry_scheduled,
    block_reused,
    block_skipped,
    block_started,
    block_step_completed,
    container_reused,
    iteration_completed,
    iteration_reused,
)
from playhead_engine.folding.executions import (
    cancel_requested,
    cancelled,
    claimed,
    completed,
    dead_lettered,
    failed,
    paused,
    timed_out,
)
from playhead_engine.folding.pauses import (
    pause_delegated,
    pause_escalated,
    pause_expired,
    pause_extended,
    pause_notified,
    pause_reminded,
    pause_requested,
    pause_resolved,
    pause_voted,
)
from playhead_engine.folding.settling import ImpossibleEvent
from playhead_engine.folding.waits import (
    block_dispatched,
    child_started,
    child_told,
    event_matched,
    event_published,
    task_answered,
)
from playhead_engine.state import (
    ContainerState,
    Counts,
    ExecutionState,
    ExecutionStatus,
    IterationState,
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
    BlockRetryScheduled: (frozenset({_RUNNING}), None),
    BlockSkipped: (frozenset({_CREATED, _RUNNING}), None),
    BlockStepCompleted: (frozenset({_RUNNING}), None),
    BlockDispatched: (frozenset({_RUNNING}), None),
    IterationCompleted: (frozenset({_RUNNING}), None),
    EventPublished: (frozenset({_RUNNING}), None),
    ChildStarted: (frozenset({_RUNNING}), None),
    ChildPaused: (frozenset({_RUNNING, _PAUSED}), None),
    ChildResumed: (frozenset({_RUNNING, _PAUSED}), None),
    ChildEnded: (frozenset({_RUNNING, _PAUSED}), None),
    TaskAnswered: (frozenset({_RUNNING, _PAUSED}), None),
    EventMatched: (frozenset({_RUNNING, _PAUSED}), None),
    BlockReused: (frozenset({_CREATED, _RUNNING}), None),
    BlockOverridden: (frozenset({_CREATED}), None),
    ContainerReused: (frozenset({_CREATED}), None),
    IterationReused: (frozenset({_CREATED}), None),
    PauseRequested: (frozenset({_RUNNING}), None),
    PauseVoted: (frozenset({_RUNNING, _PAUSED}), None),
    PauseResolved: (frozenset({_RUNNING, _PAUSED}), None),
    PauseExtended: (frozenset({_RUNNING, _PAUSED}), None),
    PauseDelegated: (frozenset({_RUNNING, _PAUSED}), None),
    PauseNotified: (frozenset({_RUNNING, _PAUSED}), None),
    PauseReminded: (frozenset({_RUNNING}), None),
    PauseEscalated: (frozenset({_RUNNING}), None),
    PauseExpired: (frozenset({_RUNNING}), None),
}
"""The state machine of an execution: (status, event) -> status. What is not here cannot have happened."""


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
    clone.blocks, clone.pauses = dict(state.blocks), dict(state.pauses)
    clone.running, clone.waiting, clone.finished = set(state.running), set(state.waiting), list(state.finished)
    clone.variables, clone.counts = dict(state.variables), copy(state.counts)
    clone.containers = {path: _own_container(container) for path, container in state.containers.items()}
    clone.iterations = {
        scope: IterationState(settled=list(iteration.settled), failed=iteration.failed)
        for scope, iteration in state.iterations.items()
    }
    return clone


def _own_container(container: ContainerState) -> ContainerState:
    clone = copy(container)
    clone.open, clone.results = list(container.open), list(container.results)
    clone.errors, clone.variables = dict(container.errors), dict(container.variables)
    clone.reused = list(container.reused)
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
        variables=dict(data.variables),
        initial_variables=data.variables,
        outputs_asked=data.outputs,
        source=data.source,
        plan=data.plan,
        fingerprint=data.fingerprint,
        deadline=data.deadline,
        max_concurrency=data.max_concurrency,
        parent=data.parent,
        depth=data.depth,
        started_by=data.started_by,
        traceparent=envelope.traceparent,
        cutoff=data.cutoff,
        child_forks=data.child_forks,
        personal=data.personal,
        counts=Counts(),
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
    block_started(state, started, at)


_Evolve = Callable[[ExecutionState, Any, datetime, Actor], None]

_EVOLVE = cast(
    dict[type[EventData], _Evolve],
    {
        ExecutionStarted: claimed,
        ExecutionResumed: claimed,
        ExecutionRecovered: claimed,
        ExecutionPaused: paused,
        ExecutionCompleted: completed,
        ExecutionFailed: failed,
        ExecutionCancelled: cancelled,
        ExecutionTimedOut: timed_out,
        ExecutionCancelRequested: cancel_requested,
        ExecutionDeadLettered: dead_lettered,
        BlockStarted: block_started,
        BlockCompleted: block_completed,
        BlockFailed: block_failed,
        BlockRetryScheduled: block_retry_scheduled,
        BlockSkipped: block_skipped,
        BlockStepCompleted: block_step_completed,
        BlockDispatched: block_dispatched,
        IterationCompleted: iteration_completed,
        TaskAnswered: task_answered,
        EventMatched: event_matched,
        EventPublished: event_published,
        ChildStarted: child_started,
        ChildPaused: child_told,
        ChildResumed: child_told,
        ChildEnded: child_told,
        BlockReused: block_reused,
        BlockOverridden: block_overridden,
        ContainerReused: container_reused,
        IterationReused: iteration_reused,
        PauseRequested: pause_requested,
        PauseVoted: pause_voted,
        PauseResolved: pause_resolved,
        PauseExpired: pause_expired,
        PauseEscalated: pause_escalated,
        PauseReminded: pause_reminded,
        PauseExtended: pause_extended,
        PauseDelegated: pause_delegated,
        PauseNotified: pause_notified,
    },
)
