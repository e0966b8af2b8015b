"""Events -> state. Folding needs no definition: all that was decided is in the events.

`evolve` changes the state it is given, which its caller owns; copying it for every event would make a fold
quadratic. `fold` starts from a copy, so that what it was given stays as it was.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from datetime import datetime
from typing import Any, cast

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockDispatched,
    BlockError,
    BlockFailed,
    BlockRetryScheduled,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    BlockStepCompleted,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    ChildStarted,
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
    Json,
    PauseExpired,
    PauseRequested,
    PauseResolved,
    TaskAnswered,
)
from playhead_contracts.ids import BlockPath
from playhead_engine.state import (
    KEPT_INSTANCES,
    SETTLED,
    BlockState,
    BlockStatus,
    ChildState,
    ContainerState,
    Counts,
    ExecutionState,
    ExecutionStatus,
    IterationState,
    PauseState,
    Stop,
    TaskState,
    container_of_scope,
    scope_of_path,
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
    BlockSkipped: (frozenset({_RUNNING}), None),
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
    _block_started(state, started, at)


def _iteration_of(state: ExecutionState, path: BlockPath) -> IterationState | None:
    """The open iteration that an instance is in, noted from now on; None for a block of the outermost graph."""
    scope = scope_of_path(path)
    if not scope:
        return None
    iteration = state.iterations.get(scope)
    if iteration is None:
        iteration = state.iterations[scope] = IterationState()
    return iteration


def _hold(state: ExecutionState, block: BlockState) -> None:
    """Note an instance that is neither in flight nor settled."""
    state.blocks[block.path] = block
    state.running.discard(block.path)
    state.waiting.add(block.path)
    _iteration_of(state, block.path)


def _settle(state: ExecutionState, block: BlockState) -> IterationState | None:
    """Note how an instance ended; gives the iteration that it is in."""
    before = state.blocks.get(block.path)
    if before is not None:
        if before.status in SETTLED:
            raise Corrupt(f"{block.path} of {state.execution_id} is {before.status} and cannot become {block.status}")
        state.containers.pop(block.path, None)
    state.blocks[block.path] = block
    state.running.discard(block.path)
    state.waiting.discard(block.path)
    state.idle_claims = 0
    iteration = _iteration_of(state, block.path)
    if iteration is None:
        state.settled += 1
    else:
        iteration.settled.append(block.path)
    return iteration


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
    state.due_at, state.dead_lettered, state.unheeded, state.asked = None, None, 0, False
    if isinstance(data, ExecutionRecovered):
        state.idle_claims += 1
    for path in state.running:
        state.blocks[path] = msgspec.structs.replace(state.blocks[path], status=BlockStatus.INTERRUPTED)
    state.running.clear()


def _paused(state: ExecutionState, data: ExecutionPaused, _at: datetime, _: Actor) -> None:
    state.owner, state.due_at, state.unheeded = None, data.due_at, 0
    state.asked = data.parent is not None


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
    state.stop = state.stop or Stop(kind="timeout")
    state.error = BlockError(type="timed_out", message=f"Not done by {data.deadline.isoformat()}")


def _cancel_requested(state: ExecutionState, data: ExecutionCancelRequested, _at: datetime, _: Actor) -> None:
    state.stop = state.stop or Stop(kind="cancel", reason=data.reason)
    state.unheeded += 1


def _dead_lettered(state: ExecutionState, data: ExecutionDeadLettered, _at: datetime, _: Actor) -> None:
    state.dead_lettered, state.idle_claims = data.error, 0


def _block_started(state: ExecutionState, data: BlockStarted, at: datetime, _: Actor | None = None) -> None:
    before = state.blocks.get(data.path)
    waits = data.until is not None or data.watch is not None
    block = BlockState(
        path=data.path,
        status=BlockStatus.WAITING if waits else BlockStatus.RUNNING,
        attempt=data.attempt,
        retries=before.retries if before else 0,
        inputs=data.inputs,
        started_at=at,
        until=data.until,
        deadline=data.deadline,
        watch=data.watch,
        child=None if data.child is None else ChildState(execution_id=data.child),
        steps=before.steps if before else {},
        version=state.version,
    )
    if waits:
        _hold(state, block)
        return
    state.blocks[data.path] = block
    state.waiting.discard(data.path)
    _iteration_of(state, data.path)
    if data.container is None:
        state.running.add(data.path)
        return
    start = data.container
    begun = min(start.concurrency, start.concurrency if start.count is None else start.count)
    state.containers[data.path] = ContainerState(
        kind=start.kind,
        count=start.count,
        concurrency=start.concurrency,
        begun=begun,
        open=list(range(begun)),
        results=[None] * (start.count or 0) if start.kind == "parallel" else [],
    )


def _settled_task(before: BlockState | None) -> TaskState | None:
    """What stays known of a task: its result is that of the block."""
    task = before.task if before is not None else None
    if task is None:
        return None
    return TaskState(task_id=task.task_id, task=task.task, is_answered=task.is_answered, worker=task.worker)


def _block_completed(state: ExecutionState, data: BlockCompleted, at: datetime, _: Actor) -> None:
    before, container = state.blocks.get(data.path), state.containers.get(data.path)
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.COMPLETED,
            attempt=data.attempt,
            retries=before.retries if before else 0,
            inputs=data.inputs if data.inputs is not None or before is None else before.inputs,
            outputs=data.outputs,
            decision=data.decision,
            variables=data.variables if container is None else container.variables or None,
            started_at=data.started_at or (before.started_at if before else at),
            ended_at=at,
            duration_ms=data.duration_ms,
            pause_id=before.pause_id if before else None,
            task=_settled_task(before),
            child=before.child if before else None,
            version=state.version,
        ),
    )
    state.counts.run += 1
    if data.variables:
        _set_variables(state, data.path, data.variables)
    if data.locks and state.stop is None:
        state.stop = Stop(kind="response", path=data.path)


def _set_variables(state: ExecutionState, path: BlockPath, values: Mapping[str, Json]) -> None:
    """Set variables, and note at the containers around that they were set inside: see `rerun`."""
    state.variables.update(values)
    while scope := scope_of_path(path):
        path, _ = container_of_scope(scope)
        state.containers[path].variables.update(values)


def _block_failed(state: ExecutionState, data: BlockFailed, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    iteration = _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.FAILED,
            attempt=data.attempt,
            retries=before.retries if before else 0,
            inputs=data.inputs if data.inputs is not None or before is None else before.inputs,
            error=data.error,
            handled=data.handled,
            continues=data.continues,
            started_at=data.started_at or (before.started_at if before else at),
            ended_at=at,
            duration_ms=data.duration_ms,
            pause_id=before.pause_id if before else None,
            task=_settled_task(before),
            child=before.child if before else None,
            version=state.version,
        ),
    )
    state.counts.failed += 1
    if data.handled:
        return
    if iteration is not None and iteration.failed is None:
        iteration.failed = data.path
    if not data.contained and state.stop is None:
        state.stop = Stop(kind="failure", path=data.path)


def _block_retry_scheduled(state: ExecutionState, data: BlockRetryScheduled, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    _hold(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.RETRYING,
            attempt=data.attempt,
            retries=(before.retries if before else 0) + 1,
            inputs=data.inputs if data.inputs is not None or before is None else before.inputs,
            error=data.error,
            started_at=data.started_at or (before.started_at if before else at),
            until=data.due_at,
            steps=before.steps if before else {},
            version=state.version,
        ),
    )


def _block_skipped(state: ExecutionState, data: BlockSkipped, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.SKIPPED,
            reason=data.reason,
            continues=data.continues,
            inputs=before.inputs if before else None,
            started_at=before.started_at if before else None,
            ended_at=at,
            pause_id=before.pause_id if before else None,
            task=_settled_task(before),
            child=before.child if before else None,
            version=state.version,
        ),
    )
    state.counts.skipped += 1


def _known(state: ExecutionState, data: Any) -> BlockState:
    """The instance that a fact is about, which has begun and not settled."""
    block = state.blocks.get(data.path)
    if block is None or block.status in SETTLED:
        raise ImpossibleEvent(data, state)
    return block


def _block_step_completed(state: ExecutionState, data: BlockStepCompleted, _at: datetime, _: Actor) -> None:
    block = _known(state, data)
    steps: dict[str, Json] = {**block.steps, data.name: data.outputs}
    state.blocks[data.path] = msgspec.structs.replace(block, steps=steps)


def _block_dispatched(state: ExecutionState, data: BlockDispatched, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    _hold(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.DISPATCHED,
            attempt=data.attempt,
            retries=before.retries if before else 0,
            inputs=data.inputs,
            started_at=at,
            deadline=data.deadline,
            task=TaskState(task_id=data.task_id, task=data.task),
            version=state.version,
        ),
    )


def _task_answered(state: ExecutionState, data: TaskAnswered, _at: datetime, _: Actor) -> None:
    block = _known(state, data)
    if block.task is None or block.task.task_id != data.task_id or block.task.is_answered:
        raise ImpossibleEvent(data, state)
    task = msgspec.structs.replace(
        block.task, is_answered=True, outputs=data.outputs, error=data.error, worker=data.worker
    )
    state.blocks[data.path] = msgspec.structs.replace(block, task=task)
    state.unheeded += 1


def _event_matched(state: ExecutionState, data: EventMatched, _at: datetime, _: Actor) -> None:
    block = _known(state, data)
    if block.watch is None:
        raise ImpossibleEvent(data, state)
    state.blocks[data.path] = msgspec.structs.replace(block, matched=(*block.matched, data.event))
    state.unheeded += 1


def _event_published(_state: ExecutionState, _data: EventPublished, _at: datetime, _: Actor) -> None:
    """What a block tells the outside changes nothing here."""


def _child_of(state: ExecutionState, data: ChildStarted | ChildPaused | ChildResumed | ChildEnded) -> ChildState:
    child = _known(state, data).child
    if child is None or child.execution_id != data.child:
        raise ImpossibleEvent(data, state)
    return child


def _child_started(state: ExecutionState, data: ChildStarted, _at: datetime, _: Actor) -> None:
    child = _child_of(state, data)
    if child.status == "starting":
        child = msgspec.structs.replace(child, status="running")
    block = msgspec.structs.replace(state.blocks[data.path], status=BlockStatus.WAITING, child=child)
    _hold(state, block)


def _child_told(state: ExecutionState, data: ChildPaused | ChildResumed | ChildEnded, _at: datetime, _: Actor) -> None:
    child = _child_of(state, data)
    match data:
        case ChildPaused():
            child = msgspec.structs.replace(child, status="paused", pauses=data.pauses)
        case ChildResumed():
            child = msgspec.structs.replace(child, status="running", pauses=())
        case ChildEnded():
            child = ChildState(execution_id=data.child, status=data.status, outputs=data.outputs, error=data.error)
    state.blocks[data.path] = msgspec.structs.replace(state.blocks[data.path], child=child)
    state.unheeded += 1


def _iteration_completed(state: ExecutionState, data: IterationCompleted, _at: datetime, _: Actor) -> None:
    container = state.containers.get(data.path)
    if container is None or data.index not in container.open:
        raise ImpossibleEvent(data, state)
    iteration = state.iterations.pop(f"{data.path}[{data.index}]", None)
    if iteration is not None:
        _forget_oldest(state, iteration.settled)
    container.open.remove(data.index)
    if container.kind == "loop":
        container.results.append(data.outputs)
    else:
        container.results[data.index] = data.outputs
    if data.error is not None:
        container.errors[data.index] = data.error
    container.closing = container.closing or data.last
    if not container.closing and (container.count is None or container.begun < container.count):
        container.open.append(container.begun)
        container.begun += 1


def _forget_oldest(state: ExecutionState, finished: list[BlockPath]) -> None:
    state.finished += finished
    surplus = len(state.finished) - KEPT_INSTANCES
    if surplus > 0:
        for path in state.finished[:surplus]:
            del state.blocks[path]
        del state.finished[:surplus]
        state.forgotten += surplus


def _block_reused(state: ExecutionState, data: BlockReused, at: datetime, _: Actor) -> None:
    _settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.COMPLETED,
            outputs=data.outputs,
            decision=data.decision,
            variables=data.variables,
            ended_at=at,
            reused_from=data.reference,
            version=state.version,
        ),
    )
    state.counts.reused += 1
    if data.variables:
        state.variables.update(data.variables)


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
    _hold(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.PAUSED,
            started_at=at,
            pause_id=data.pause_id,
            version=state.version,
        ),
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
        BlockRetryScheduled: _block_retry_scheduled,
        BlockSkipped: _block_skipped,
        BlockStepCompleted: _block_step_completed,
        BlockDispatched: _block_dispatched,
        IterationCompleted: _iteration_completed,
        TaskAnswered: _task_answered,
        EventMatched: _event_matched,
        EventPublished: _event_published,
        ChildStarted: _child_started,
        ChildPaused: _child_told,
        ChildResumed: _child_told,
        ChildEnded: _child_told,
        BlockReused: _block_reused,
        PauseRequested: _pause_requested,
        PauseResolved: _pause_resolved,
        PauseExpired: _pause_expired,
    },
)
