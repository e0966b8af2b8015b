"""Starting child executions: what a `workflow` block does outside.

The child's id is in the log before the child is: starting it again, after a crash in between, finds it there. From then
on the two executions meet in the log alone: what becomes of the child is told to its parent by the courier.
"""

from collections.abc import Sequence

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Run as RunCommand
from playhead_contracts.errors import Refused, VersionConflict
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    ChildFork,
    ChildStarted,
    EventData,
    ExecutionCreated,
    ForkSource,
    NewEvent,
    Parent,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, WorkflowId, execution_stream
from playhead_contracts.workflow import WorkflowBlock
from playhead_engine.admission import Request, admit, forked
from playhead_engine.graph import Node
from playhead_engine.privacy import inherited, seal_of
from playhead_engine.rerun import History, RerunOrder, child_forks, fork_facts, plan_rerun
from playhead_engine.scheduling.blocks import Run
from playhead_engine.state import ExecutionState
from playhead_eventlog import GENESIS, EventLog
from playhead_executor.definitions import Definitions, Published
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.spans import publishing
from playhead_runtime.tracing import current_traceparent


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
            created, published = await self._admitted(block, run, state)
            facts: list[EventData] = [created]
            if (fork := state.child_forks.get(run.path)) is not None:
                facts = await self._forked(fork, created, published, state, run.path)
        except Refused as refused:
            faults = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in refused.errors[:10])
            error = BlockError(
                type=refused.problem.replace("-", "_"),
                message=f"{block.workflow}: {refused.detail}" + (f" ({faults})" if faults else ""),
            )
            return BlockFailed(path=run.path, attempt=run.attempt, error=error)
        await self._begin(child, facts, state)
        if block.wait:
            return ChildStarted(path=run.path, child=child)
        return BlockCompleted(path=run.path, attempt=run.attempt, outputs={"execution_id": child})

    async def _admitted(
        self, block: WorkflowBlock, run: Run, state: ExecutionState
    ) -> tuple[ExecutionCreated, Published]:
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
        personal = inherited(published.graph, state.personal, run.path, created)
        return msgspec.structs.replace(created, started_by=state.starter, personal=personal), published

    async def _forked(
        self, fork: ChildFork, created: ExecutionCreated, published: Published, state: ExecutionState, path: BlockPath
    ) -> list[EventData]:
        """How the child begins that is run again from within, in place of being started anew. Raises RerunRefused."""
        events, _ = await self._log.load(execution_stream(fork.execution_id))
        history = History()
        history.add_all(events)
        source = history.state
        before = None
        if source.workflow_version != published.version:
            before = (await self._definitions.graph_of(source)).document.blocks
        order = RerunOrder(targets=(fork.from_block,), input=created.input, variables=created.variables)
        plan = plan_rerun(published.graph, history, order, before, published.version)
        origin = ForkSource(execution_id=source.execution_id, version=source.version, from_block=plan.from_block)
        begun = forked(created, origin, msgspec.to_builtins(plan))
        personal = inherited(published.graph, state.personal, path, created, source.personal)
        begun = msgspec.structs.replace(begun, child_forks=child_forks(plan, history), personal=personal)
        return [begun, *fork_facts(published.graph, plan, history, order, self._clock.now())]

    async def _begin(self, child: ExecutionId, facts: Sequence[EventData], state: ExecutionState) -> None:
        created = facts[0]
        assert isinstance(created, ExecutionCreated)
        events = [
            NewEvent(
                id=EventId(new_id()),
                data=fact,
                tenant=state.tenant,
                workflow_id=created.workflow_id,
                execution_id=child,
                actor=self._actor,
                recorded_at=self._clock.now(),
                causation_id=state.execution_id,
                seal=seal_of(created.personal, fact),
                traceparent=current_traceparent(),
            )
            for fact in facts
        ]
        frame: str | None = None
        try:
            appended = await self._log.append(execution_stream(child), GENESIS, events)
            frame = appended.frames[0].decode() if len(events) == 1 else None
        except VersionConflict:
            pass  # It was started before, by us or by an executor that was lost.
        run_id, subject = f"run:{child}", subjects.execution_command(state.tenant, RunCommand.kind())
        with publishing(subject, run_id, child):
            command = RunCommand(
                id=run_id,
                tenant=state.tenant,
                execution_id=child,
                created=frame,
                traceparent=current_traceparent(),
            )
            content = msgspec.json.encode(command)
            if len(content) > self._bus.max_payload:
                content = msgspec.json.encode(msgspec.structs.replace(command, created=None))
            await self._bus.send(subject, content, command.id)
