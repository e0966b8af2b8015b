"""Whether the result of a remote worker counts.

A task is known by its id, which is new for every attempt. The first result for the task that its block waits for is
taken; the very same result again is no error; any other is refused, and the worker is told why.
"""

from playhead_contracts.commands import TaskResult
from playhead_contracts.errors import Conflict
from playhead_contracts.events import TaskAnswered
from playhead_engine.state import SETTLED, BlockState, BlockStatus, ExecutionState


class ResultRefused(Conflict):
    problem, title = "result-refused", "The result of this task does not count"


def decide_task_result(state: ExecutionState | None, result: TaskResult) -> list[TaskAnswered]:
    """What a worker's result makes true: one `task.answered`, or nothing if this very result was taken before.

    Raises ResultRefused, whose text says why.
    """
    if state is None:
        raise ResultRefused(f"there is no execution {result.execution_id}")
    block = state.blocks.get(result.path)
    task = block.task if block is not None else None
    if block is None or task is None or task.task_id != result.task_id:
        if block is not None and task is not None:
            raise ResultRefused(f"task {result.task_id} is over: {result.path} is at another attempt")
        if state.is_ended:
            raise ResultRefused(f"execution {state.execution_id} is {state.status}")
        raise ResultRefused(f"{result.path} of execution {state.execution_id} waits for no task {result.task_id}")
    if task.is_answered:
        if _is_the_same(block, result):
            return []
        raise ResultRefused(f"task {result.task_id} was answered before, and that answer stands")
    if block.status in SETTLED or state.is_ended or state.stop is not None:
        why = block.reason or (block.error.message if block.error is not None else f"the execution is {state.status}")
        raise ResultRefused(f"task {result.task_id} is over: {why}")
    return [
        TaskAnswered(
            path=result.path,
            task_id=result.task_id,
            outputs=result.outputs,
            error=result.error,
            worker=result.worker,
        )
    ]


def _is_the_same(block: BlockState, result: TaskResult) -> bool:
    assert block.task is not None
    if block.status is BlockStatus.DISPATCHED:
        return block.task.outputs == result.outputs and block.task.error == result.error
    return block.outputs == result.outputs and block.error == result.error
