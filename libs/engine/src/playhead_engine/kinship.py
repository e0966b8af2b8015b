"""What executions tell each other: a child its parent, and a parent its child.

They meet in the log alone. What a child does is told to its parent as a fact of the parent's own; a parent that no
longer waits for its child has it cancelled.
"""

from playhead_contracts.events import (
    BlockError,
    BlockFailed,
    BlockRetryScheduled,
    BlockSkipped,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    EventData,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionTimedOut,
)
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_engine.state import SETTLED, BlockStatus, ExecutionState

ChildNews = ChildPaused | ChildResumed | ChildEnded

NO_LONGER_WAITED_FOR = "its parent no longer waits for it"
"""Why a child is cancelled."""


def news_of(child: ExecutionId, data: EventData) -> tuple[ExecutionId, ChildNews] | None:
    """What an event of an execution, hydrated, is for its parent, and who that is. None if it has none to tell."""
    match data:
        case (
            ExecutionPaused()
            | ExecutionResumed()
            | ExecutionCompleted()
            | ExecutionFailed()
            | ExecutionCancelled()
            | ExecutionTimedOut()
        ) if data.parent is not None:
            return data.parent.execution_id, _told(child, data.parent.path, data)
        case _:
            return None


def _told(
    child: ExecutionId,
    path: BlockPath,
    data: ExecutionPaused
    | ExecutionResumed
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
    | ExecutionTimedOut,
) -> ChildNews:
    match data:
        case ExecutionPaused():
            return ChildPaused(path=path, child=child, pauses=data.pauses)
        case ExecutionResumed():
            return ChildResumed(path=path, child=child)
        case ExecutionCompleted():
            return ChildEnded(path=path, child=child, status="completed", outputs=data.output)
        case ExecutionFailed():
            return ChildEnded(path=path, child=child, status="failed", error=data.error)
        case ExecutionCancelled():
            error = BlockError(type="cancelled", message=data.reason or "The execution was cancelled")
            return ChildEnded(path=path, child=child, status="cancelled", error=error)
        case ExecutionTimedOut():
            error = BlockError(type="timed_out", message=f"Not done by {data.deadline.isoformat()}")
            return ChildEnded(path=path, child=child, status="timed_out", error=error)


def decide_news(parent: ExecutionState, news: ChildNews) -> list[ChildNews]:
    """The fact that its parent takes; nothing if it no longer waits for this child, or knows of its end."""
    block = None if parent.is_ended else parent.blocks.get(news.path)
    if block is None or block.status in SETTLED or block.child is None or block.child.execution_id != news.child:
        return []
    return [news] if block.child.status in ("starting", "running", "paused") else []


def given_up(data: EventData) -> ExecutionId | None:
    """The child that is no longer waited for from this event of its parent on."""
    return data.child if isinstance(data, BlockFailed | BlockRetryScheduled | BlockSkipped) else None


def is_given_up(parent: ExecutionState, path: BlockPath, child: ExecutionId) -> bool:
    """Whether a parent gave up a child, perhaps before the child was there to be told.

    An executor that was taken for lost may start a child after its block has failed, or was begun anew with another.
    """
    block = parent.blocks.get(path)
    if block is None:
        return False
    is_another = block.child is None or block.child.execution_id != child
    return is_another or block.status in (BlockStatus.FAILED, BlockStatus.SKIPPED)
