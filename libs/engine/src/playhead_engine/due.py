"""When somebody must be acting on an execution at the latest: what a reconciler compares with the clock."""

from datetime import datetime

from playhead_engine.state import ExecutionState, ExecutionStatus


def due_at(state: ExecutionState) -> datetime | None:
    """The moment from which work is due, or None while nothing but a person can move the execution.

    Running work is due from its last event on: as long as its executor lives, newer events keep moving that moment.
    A dead-lettered execution waits for an operator.
    """
    if state.is_ended or state.dead_lettered is not None:
        return None
    if state.status is ExecutionStatus.PAUSED and not state.unheeded:
        return state.due_at
    return state.updated_at
