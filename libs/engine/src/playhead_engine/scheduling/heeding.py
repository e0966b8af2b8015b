"""What a block that waits comes to: an answer, time that is over, a worker's result, an event, a child's end."""

from datetime import datetime

import msgspec

from playhead_contracts.events import BlockCompleted, BlockError, BlockFailed, EventData, Json, PauseExpired
from playhead_contracts.fields import NEXT
from playhead_engine.graph import Node
from playhead_engine.pauses.heeding import expire, outputs_of, remind, unanswered
from playhead_engine.state import BlockState, BlockStatus, ChildState, ExecutionState, PauseState, TaskState


def heed(node: Node, state: ExecutionState, block: BlockState, at: datetime) -> list[EventData]:
    """The facts that follow, at the moment `at`, for a block that waits; nothing while it has to go on waiting.

    A failure among them is not judged yet. A retry that is due is not for here: its block begins again.
    """
    found: list[EventData] = []
    if block.status is BlockStatus.PAUSED:
        found = _heed_pause(node, state, block, at)
    elif block.task is not None:
        found = _heed_task(block, block.task, at)
    elif block.child is not None:
        found = _heed_child(block, block.child, at)
    elif block.watch is not None:
        found = _heed_events(block, at)
    elif block.status is BlockStatus.WAITING and block.until is not None and block.until <= at:
        return [_completed(block, {"until": _text(block.until)}, at)]
    if not found and block.deadline is not None and block.deadline <= at:
        return [_late(block, block.deadline, at)]
    return found


def _heed_pause(node: Node, state: ExecutionState, block: BlockState, at: datetime) -> list[EventData]:
    assert block.pause_id is not None
    pause = state.pauses[block.pause_id]
    if pause.status == "answered":
        return [_decided(node, block, pause, at)]
    if pause.status != "open":
        return []
    over = expire(pause, at)
    if isinstance(over, PauseExpired):
        if over.outcome == "failed":
            return [over, _failed(block, unanswered(pause), at)]
        decided = msgspec.structs.replace(
            pause, status="expired", answer=over.answer, action=over.action, resolved_at=pause.expires_at
        )
        return [over, _decided(node, block, decided, at)]
    if over is not None:
        return [over]
    reminder = remind(pause, at)
    return [] if reminder is None else [reminder]


def _decided(node: Node, block: BlockState, pause: PauseState, at: datetime) -> BlockCompleted:
    """What was decided; its branch is chosen where the block has one for each action."""
    decision = None if pause.action is None or NEXT in node.handles else (pause.action,)
    return msgspec.structs.replace(_completed(block, outputs_of(pause), at), decision=decision)


def _heed_task(block: BlockState, task: TaskState, at: datetime) -> list[EventData]:
    if not task.is_answered:
        return []
    return [_completed(block, task.outputs, at) if task.error is None else _failed(block, task.error, at)]


def _heed_child(block: BlockState, child: ChildState, at: datetime) -> list[EventData]:
    match child.status:
        case "completed":
            outputs = {"execution_id": child.execution_id, "status": child.status, "output": child.outputs}
            return [_completed(block, outputs, at)]
        case "failed" | "cancelled" | "timed_out":
            cause = child.error or BlockError(type=child.status, message=f"It is {child.status}")
            error = BlockError(
                type=f"child_{child.status}",
                message=f"Child execution {child.execution_id}: {cause.message}",
                retryable=cause.retryable,
                details={"execution_id": child.execution_id, "error": msgspec.to_builtins(cause)},
            )
            return [_failed(block, error, at)]
        case _:
            return []


def _heed_events(block: BlockState, at: datetime) -> list[EventData]:
    assert block.watch is not None
    missing = len(block.watch.events) - len(block.matched)
    if not block.matched or (block.watch.need == "all" and missing > 0):
        return []
    in_order = sorted(block.matched, key=lambda event: event.number)
    outputs = {
        "event": msgspec.to_builtins(block.matched[-1]),
        "events": [msgspec.to_builtins(event) for event in in_order],
    }
    return [_completed(block, outputs, at)]


def _late(block: BlockState, deadline: datetime, at: datetime) -> BlockFailed:
    error = BlockError(type="timeout", message=f"It was not done by {_text(deadline)}", retryable=True)
    failed = _failed(block, error, at)
    return failed if block.child is None else msgspec.structs.replace(failed, child=block.child.execution_id)


def _completed(block: BlockState, outputs: Json, at: datetime) -> BlockCompleted:
    return BlockCompleted(path=block.path, attempt=block.attempt, outputs=outputs, duration_ms=_since(block, at))


def _failed(block: BlockState, error: BlockError, at: datetime) -> BlockFailed:
    return BlockFailed(path=block.path, attempt=block.attempt, error=error, duration_ms=_since(block, at))


def _since(block: BlockState, at: datetime) -> float:
    return 0.0 if block.started_at is None else (at - block.started_at).total_seconds() * 1000


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
