"""Giving work to remote workers: a task on the bus for each `block.dispatched` that is in the log.

The task's id is the message's id, so that sending it again, after a crash in between, is harmless for as long as the
bus remembers; after that a worker may do the work a second time, and its second result is refused.
"""

from collections.abc import Iterable

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Task
from playhead_contracts.events import BlockDispatched
from playhead_engine.state import ExecutionState
from playhead_runtime.bus import Bus
from playhead_runtime.ids import derived_id
from playhead_runtime.spans import publishing
from playhead_runtime.tracing import current_traceparent


def dispatched_in(state: ExecutionState) -> list[BlockDispatched]:
    """The tasks of an execution that no worker has answered yet, as they were given out."""
    return [
        BlockDispatched(
            path=block.path,
            attempt=block.attempt,
            task_id=block.task.task_id,
            task=block.task.task,
            inputs=block.inputs or {},
            deadline=block.deadline,
        )
        for block in map(state.blocks.__getitem__, sorted(state.waiting))
        if block.task is not None and not block.task.is_answered
    ]


async def send_tasks(bus: Bus, state: ExecutionState, tasks: Iterable[BlockDispatched]) -> None:
    """Put tasks on the bus. Raises BusUnavailable."""
    for task in tasks:
        subject = subjects.task(state.tenant, task.task)
        with publishing(subject, task.task_id, state.execution_id):
            content = _content(state, task)
            # Clients that know OpenTelemetry look for it among the headers.
            headers = {"traceparent": content.traceparent} if content.traceparent else None
            await bus.send(subject, msgspec.json.encode(content), task.task_id, headers)


def _content(state: ExecutionState, task: BlockDispatched) -> Task:
    return Task(
        task_id=task.task_id,
        task=task.task,
        tenant=state.tenant,
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        path=task.path,
        attempt=task.attempt,
        inputs=task.inputs,
        idempotency_key=derived_id(state.execution_id, task.path),
        deadline=task.deadline,
        # A task that is given out again later belongs to nobody's work.
        traceparent=current_traceparent() or state.traceparent,
    )
