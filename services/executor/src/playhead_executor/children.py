"""Starting child executions: what a `workflow` block does outside.

The child's id is in the log before the child is: starting it again, after a crash in between, finds it there. From then
on the two executions meet in the log alone: what becomes of the child is told to its parent by the courier.
"""

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Run as RunCommand
from playhead_contracts.errors import Refused, VersionConflict
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    ChildStarted,
    ExecutionCreated,
    NewEvent,
    Parent,
)
from playhead_contracts.ids import EventId, ExecutionId, WorkflowId, execution_stream
from playhead_contracts.workflow import WorkflowBlock
from playhead_engine.admission import Request, admit
from playhead_engine.graph import Node
from playhead_engine.scheduling.blocks import Run
from playhead_engine.state import ExecutionState
from playhead_eventlog import GENESIS, EventLog
from playhead_executor.definitions import Definitions
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id


class Children:
    """Where `workflow` blocks start their executions."""

    def __init__(self, log: EventLog, bus: Bus, clock: Clock, definitions: Definitions, actor: Actor):
        self._log = log
        self._bus = bus
        self._clock = clock
        self._definitions = definitions
        self._actor = actor

    async def start(
        self, node: Node, run: Run, child: ExecutionId, state: ExecutionState
    ) -> ChildStarted | BlockCompleted | BlockFailed:
        """Start the child; a child that cannot be admitted is the failure of its block. Raises LogUnavailable."""
        block = node.block
        assert isinstance(block, WorkflowBlock)
        try:
            created = await self._admitted(block, run, state)
        except Refused as refused:
            faults = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in refused.errors[:10])
            error = BlockError(
                type=refused.problem.replace("-", "_"),
                message=f"{block.workflow}: {refused.detail}" + (f" ({faults})" if faults else ""),
            )
            return BlockFailed(path=run.path, attempt=run.attempt, error=error)
        await self._begin(child, created, state)
        if block.wait:
            return ChildStarted(path=run.path, child=child)
        return BlockCompleted(path=run.path, attempt=run.attempt, outputs={"execution_id": child})

    async def _admitted(self, block: WorkflowBlock, run: Run, state: ExecutionState) -> ExecutionCreated:
        published = await self._definitions.published(state.tenant, WorkflowId(block.workflow), block.version)
        # Whoever answers for the child is answered in the way in which its parent was started.
        request = Request(input=run.inputs["input"], mode=state.mode, variables=run.inputs["variables"])
        created = admit(
            published.graph.document,
            published.version,
            published.digest,
            request,
            self._clock.now(),
            parent=Parent(execution_id=state.execution_id, path=run.path),
            depth=state.depth + 1,
        )
        return msgspec.structs.replace(created, started_by=state.starter)

    async def _begin(self, child: ExecutionId, created: ExecutionCreated, state: ExecutionState) -> None:
        event = NewEvent(
            id=EventId(new_id()),
            data=created,
            tenant=state.tenant,
            workflow_id=created.workflow_id,
            execution_id=child,
            actor=self._actor,
            recorded_at=self._clock.now(),
            causation_id=state.execution_id,
        )
        frame: str | None = None
        try:
            appended = await self._log.append(execution_stream(child), GENESIS, [event])
            frame = appended.frames[0].decode()
        except VersionConflict:
            pass  # It was started before, by us or by an executor that was lost.
        command = RunCommand(id=f"run:{child}", tenant=state.tenant, execution_id=child, created=frame)
        content = msgspec.json.encode(command)
        if len(content) > self._bus.max_payload:
            content = msgspec.json.encode(msgspec.structs.replace(command, created=None))
        await self._bus.send(subjects.command(state.tenant, RunCommand.kind()), content, command.id)
