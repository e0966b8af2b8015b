"""What facts about those who are waited for change: remote workers, events, child executions."""

from datetime import datetime

import msgspec

from playhead_contracts.events import (
    Actor,
    BlockDispatched,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    ChildStarted,
    EventMatched,
    EventPublished,
    TaskAnswered,
)
from playhead_engine.folding.settling import ImpossibleEvent, hold, known
from playhead_engine.state import BlockState, BlockStatus, ChildState, ExecutionState, TaskState


def block_dispatched(state: ExecutionState, data: BlockDispatched, at: datetime, _: Actor) -> None:
    before = state.blocks.get(data.path)
    hold(
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


def task_answered(state: ExecutionState, data: TaskAnswered, _at: datetime, _: Actor) -> None:
    block = known(state, data)
    if block.task is None or block.task.task_id != data.task_id or block.task.is_answered:
        raise ImpossibleEvent(data, state)
    task = msgspec.structs.replace(
        block.task, is_answered=True, outputs=data.outputs, error=data.error, worker=data.worker
    )
    state.blocks[data.path] = msgspec.structs.replace(block, task=task)
    state.unheeded += 1


def event_matched(state: ExecutionState, data: EventMatched, _at: datetime, _: Actor) -> None:
    block = known(state, data)
    if block.watch is None:
        raise ImpossibleEvent(data, state)
    state.blocks[data.path] = msgspec.structs.replace(block, matched=(*block.matched, data.event))
    state.unheeded += 1


def event_published(_state: ExecutionState, _data: EventPublished, _at: datetime, _: Actor) -> None:
    """What a block tells the outside changes nothing here."""


def _child_of(state: ExecutionState, data: ChildStarted | ChildPaused | ChildResumed | ChildEnded) -> ChildState:
    child = known(state, data).child
    if child is None or child.execution_id != data.child:
        raise ImpossibleEvent(data, state)
    return child


def child_started(state: ExecutionState, data: ChildStarted, _at: datetime, _: Actor) -> None:
    child = _child_of(state, data)
    if child.status == "starting":
        child = msgspec.structs.replace(child, status="running")
    block = msgspec.structs.replace(state.blocks[data.path], status=BlockStatus.WAITING, child=child)
    hold(state, block)


def child_told(state: ExecutionState, data: ChildPaused | ChildResumed | ChildEnded, _at: datetime, _: Actor) -> None:
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
