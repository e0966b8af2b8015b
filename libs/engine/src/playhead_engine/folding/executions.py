"""What facts about an execution as a whole change in its state: claims, pauses, ends."""

from datetime import datetime

import msgspec

from playhead_contracts.events import (
    Actor,
    BlockError,
    ExecutionCancelled,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionDeadLettered,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionRecovered,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionTimedOut,
)
from playhead_engine.folding.settling import ImpossibleEvent
from playhead_engine.state import BlockStatus, ExecutionState, Stop


def claimed(
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


def paused(state: ExecutionState, data: ExecutionPaused, _at: datetime, _: Actor) -> None:
    state.owner, state.due_at, state.unheeded = None, data.due_at, 0
    state.asked = data.parent is not None


def _ended(state: ExecutionState, at: datetime) -> None:
    state.owner, state.ended_at, state.due_at = None, at, None


def completed(state: ExecutionState, data: ExecutionCompleted, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.output, state.http_status = data.output, data.http_status


def failed(state: ExecutionState, data: ExecutionFailed, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.error, state.failed_block = data.error, data.block


def cancelled(state: ExecutionState, data: ExecutionCancelled, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.error = BlockError(type="cancelled", message=data.reason or "The execution was cancelled")


def timed_out(state: ExecutionState, data: ExecutionTimedOut, at: datetime, _: Actor) -> None:
    _ended(state, at)
    state.stop = state.stop or Stop(kind="timeout")
    state.error = BlockError(type="timed_out", message=f"Not done by {data.deadline.isoformat()}")


def cancel_requested(state: ExecutionState, data: ExecutionCancelRequested, _at: datetime, _: Actor) -> None:
    state.stop = state.stop or Stop(kind="cancel", reason=data.reason)
    state.unheeded += 1


def dead_lettered(state: ExecutionState, data: ExecutionDeadLettered, _at: datetime, _: Actor) -> None:
    state.dead_lettered, state.idle_claims = data.error, 0
