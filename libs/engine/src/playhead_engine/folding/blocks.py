"""What facts about blocks and iterations change in the state of their execution."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockFailed,
    BlockOverridden,
    BlockRetryScheduled,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    BlockStepCompleted,
    ContainerReused,
    IterationCompleted,
    IterationReused,
    Json,
)
from playhead_contracts.ids import BlockPath
from playhead_engine.folding.settling import ImpossibleEvent, hold, iteration_of, known, settle
from playhead_engine.state import (
    KEPT_INSTANCES,
    BlockState,
    BlockStatus,
    ChildState,
    ContainerState,
    ExecutionState,
    Stop,
    TaskState,
    container_of_scope,
    scope_of_path,
)


def block_started(state: ExecutionState, data: BlockStarted, at: datetime, _: Actor | None = None) -> None:
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
        hold(state, block)
        return
    state.blocks[data.path] = block
    state.waiting.discard(data.path)
    iteration_of(state, data.path)
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


def block_completed(state: ExecutionState, data: BlockCompleted, at: datetime, _: Actor) -> None:
    before, container = state.blocks.get(data.path), state.containers.get(data.path)
    settle(
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


def block_failed(state: ExecutionState, data: BlockFailed, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    iteration = settle(
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


def block_retry_scheduled(state: ExecutionState, data: BlockRetryScheduled, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    hold(
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


def block_skipped(state: ExecutionState, data: BlockSkipped, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    settle(
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


def block_step_completed(state: ExecutionState, data: BlockStepCompleted, _at: datetime, _: Actor) -> None:
    block = known(state, data)
    steps: dict[str, Json] = {**block.steps, data.name: data.outputs}
    state.blocks[data.path] = msgspec.structs.replace(block, steps=steps)


def iteration_completed(state: ExecutionState, data: IterationCompleted, _at: datetime, _: Actor) -> None:
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
    if not container.closing:
        container.open_next()


def _forget_oldest(state: ExecutionState, finished: list[BlockPath]) -> None:
    state.finished += finished
    surplus = len(state.finished) - KEPT_INSTANCES
    if surplus > 0:
        for path in state.finished[:surplus]:
            del state.blocks[path]
        del state.finished[:surplus]
        state.forgotten += surplus


def block_reused(state: ExecutionState, data: BlockReused, at: datetime, _: Actor) -> None:
    settle(
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
        _set_variables(state, data.path, data.variables)


def block_overridden(state: ExecutionState, data: BlockOverridden, at: datetime, _: Actor) -> None:
    settle(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.COMPLETED,
            outputs=data.outputs,
            decision=data.decision,
            ended_at=at,
            overridden=True,
            version=state.version,
        ),
    )
    state.counts.reused += 1


def container_reused(state: ExecutionState, data: ContainerReused, at: datetime, _: Actor) -> None:
    state.blocks[data.path] = BlockState(
        path=data.path,
        status=BlockStatus.RUNNING,
        inputs=data.inputs,
        started_at=at,
        deadline=data.deadline,
        reused_from=data.reference,
        version=state.version,
    )
    iteration_of(state, data.path)
    start = data.container
    if start is None:
        # Only what is in the log says of itself that it was not filled in: see `playhead_eventlog`.
        raise ImpossibleEvent(data, state)
    container = state.containers[data.path] = ContainerState(
        kind=start.kind,
        count=start.count,
        concurrency=start.concurrency,
        results=[None] * (start.count or 0) if start.kind == "parallel" else [],
        reused=sorted(data.iterations),
    )
    for _each in range(start.concurrency):
        container.open_next()


def iteration_reused(state: ExecutionState, data: IterationReused, _at: datetime, _: Actor) -> None:
    container = state.containers.get(data.path)
    if container is None or data.index not in container.reused:
        raise ImpossibleEvent(data, state)
    if container.kind == "loop":
        container.results.append(data.outputs)
    else:
        container.results[data.index] = data.outputs
    if data.error is not None:
        container.errors[data.index] = data.error
    if data.variables:
        container.variables.update(data.variables)
        _set_variables(state, data.path, data.variables)
