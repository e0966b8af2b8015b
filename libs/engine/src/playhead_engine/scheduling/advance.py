"""State -> what happens next: the scheduling rules of one execution.

A block is ready when every incoming edge is settled and at least one is active. A block whose incoming edges are all
inactive is skipped, and its own edges become inactive with it. Blocks that need nothing from outside (conditions,
responses, opening a pause) are done on the spot, so one call runs on until everything left needs a runner, a person
or time. The same rules hold in every iteration of every container, which is over when all blocks of its body have
settled.

A failure that its block does not handle stops what is around it: the iteration; the container, unless it collects
failures; and, where no container handles it either, the execution. In what is stopped nothing new starts, what is in
flight finishes, and what is left is closed. A response, a cancel and a deadline stop the execution in the same way;
the last two end also what is in flight. An execution with nothing in flight, nothing to wait for and blocks that never
settled has stalled, and that is an error, never a completion.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from heapq import heappop, heappush

import msgspec

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    ChildStarted,
    Cutoff,
    EventData,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionTimedOut,
    IterationCompleted,
    Json,
    PauseResolved,
)
from playhead_contracts.ids import BlockPath
from playhead_engine.expressions import ExpressionFailed
from playhead_engine.folding import evolve, mark_running
from playhead_engine.graph import Graph, Node
from playhead_engine.outcomes import digest_of_outcome
from playhead_engine.scheduling.activity import is_active
from playhead_engine.scheduling.blocks import Beginning, Run, begin
from playhead_engine.scheduling.containers import (
    another_follows,
    complete_container,
    complete_iteration,
    container_failure,
    inside,
    iteration_failure,
)
from playhead_engine.scheduling.failing import judge
from playhead_engine.scheduling.heeding import heed
from playhead_engine.scheduling.instance_scope import CannotBegin, Place, scope_of
from playhead_engine.state import (
    SETTLED,
    BlockState,
    BlockStatus,
    ContainerState,
    ExecutionState,
    Stop,
    container_of_scope,
    scope_of_path,
)

NewId = Callable[[], str]


class Advance(msgspec.Struct, frozen=True):
    """What follows: facts to record, in order, and what the runners are to do.

    A run with effects may only begin once `events` are in the log.
    """

    events: list[EventData]
    runs: list[Run]
    deferred: tuple[BlockPath, ...] = ()
    """Ready blocks for which there was no room (`max_concurrency`): to be looked at in the next call."""
    cancelled: tuple[BlockPath, ...] = ()
    """Blocks in flight that are to be ended now, and to fail as cancelled."""
    is_cut_off: bool = False
    """A block was taken over from the source of this fork. What it gave is in the log, so nothing can go on before the
    state has been loaded from there."""


class Moment(msgspec.Struct, frozen=True):
    """What the core may not find out by itself: the time (UTC), who is acting, and where new ids come from."""

    at: datetime
    actor: Actor
    new_id: NewId


def advance(
    graph: Graph,
    state: ExecutionState,
    moment: Moment,
    settled: Iterable[BlockPath] | None = None,
    deferred: Iterable[BlockPath] = (),
) -> Advance:
    """Decide everything that follows from what is known, and evolve `state` by it.

    `settled` names the blocks that settled since the last call, and `deferred` is from that call, so that a step costs
    the size of a block's neighbourhood; without `settled` it looks at everything, as after a load. Both give the same
    result.
    """
    return Advance([], []) if state.is_ended else _Step(graph, state, moment).run(settled, deferred)


def release(state: ExecutionState, moment: Moment) -> ExecutionPaused | None:
    """The fact that the executor lets go, if nothing is in flight and a pause or a timer is open; evolves `state`."""
    if state.is_ended or state.running:
        return None
    pauses = state.asked_pauses()
    paused = ExecutionPaused(
        epoch=state.epoch, pauses=pauses, due_at=next_due(state), parent=state.parent if pauses else None
    )
    evolve(state, paused, state.version + 1, moment.at, moment.actor)
    return paused


def next_due(state: ExecutionState) -> datetime | None:
    """When the earliest timer of the execution is due: a wait, a retry, a deadline, a pause that expires."""
    times: list[datetime | None] = [state.deadline]
    for path in state.waiting:
        block = state.blocks[path]
        times += (block.until, block.deadline)
        if block.pause_id is not None and (pause := state.pauses[block.pause_id]).status == "open":
            times += (pause.expires_at, pause.remind_at)
    times += (state.blocks[path].deadline for path in state.containers)
    return min((time for time in times if time is not None), default=None)


def has_timers(state: ExecutionState) -> bool:
    """Whether `next_due` may give a moment: cheap, for the many executions that have none."""
    return bool(state.waiting or state.containers or state.deadline is not None)


def finish(
    graph: Graph, state: ExecutionState, moment: Moment, fact: BlockCompleted | BlockFailed | ChildStarted
) -> EventData:
    """Let a runner's result be true, and evolve `state`. A failure is judged: who handles it, or when it is retried."""
    judged = judge(graph.node(fact.path), state, fact, moment.at) if isinstance(fact, BlockFailed) else fact
    evolve(state, judged, state.version + 1, moment.at, moment.actor)
    return judged


_Order = tuple[int, tuple[int, ...], BlockPath]


class _Step:
    """One call of `advance`: the queue of blocks to look at, and what has been decided so far."""

    def __init__(self, graph: Graph, state: ExecutionState, moment: Moment):
        self.graph, self.state, self.moment = graph, state, moment
        self.events: list[EventData] = []
        self.runs: list[Run] = []
        self.deferred: list[BlockPath] = []
        self.cancelled: list[BlockPath] = []
        self.queue: list[_Order] = []
        self.root = Place(graph.root, "")
        self.is_cut_off = False
        self.cause: BlockState | None = None
        """The block that stopped the execution; closing iterations may push it out of the state."""

    def run(self, settled: Iterable[BlockPath] | None, deferred: Iterable[BlockPath]) -> Advance:
        self._heed_deadline()
        if settled is None:
            self._look_at_everything()
        else:
            for path in settled:
                self._look_around(path)
            for path in deferred:
                self._look_later_at(self.graph.node(path), path)
        while self.queue and self.state.stop is None and not self.is_cut_off:
            self._look_at(heappop(self.queue)[2])
        if self.is_cut_off:
            return Advance(self.events, self.runs, tuple(self.deferred), tuple(self.cancelled), is_cut_off=True)
        if self.state.stop is not None:
            self._wind_down(self.state.stop)
        elif not self.state.running:
            if self.state.settled == len(self.graph.nodes):
                self._complete()
            elif not self.state.waiting:
                self._stall()
        return Advance(self.events, self.runs, tuple(self.deferred), tuple(self.cancelled))

    def _fail(self, failed: BlockFailed) -> None:
        """Record a failure as what it is judged to be."""
        self._record(judge(self.graph.node(failed.path), self.state, failed, self.moment.at))

    def _record(self, data: EventData) -> None:
        evolve(self.state, data, self.state.version + 1, self.moment.at, self.moment.actor)
        self.events.append(data)
        match data:
            case BlockCompleted() | BlockFailed() | BlockSkipped():
                self._look_around(data.path)
            case IterationCompleted():
                self._look_after_iteration(data.path)
            case BlockStarted() if data.container is not None:
                self._look_later_at(self.graph.node(data.path), data.path)
            case _:
                pass

    def _look_around(self, path: BlockPath) -> None:
        """Look at what a block that settled may have set going: its successors, and the iteration it is in."""
        node, scope = self.graph.node(path), scope_of_path(path)
        prefix = f"{scope}/" if scope else ""
        for target in node.successors:
            self._look_later_at(node.body.nodes[BlockPath(target)], BlockPath(prefix + target))
        if scope:
            iteration = self.state.iterations.get(scope)
            is_over = iteration is not None and len(iteration.settled) == len(node.body.nodes)
            if is_over or self._is_stopped(path):
                self._look_later_at_iteration(scope)

    def _look_later_at_iteration(self, scope: str) -> None:
        self._look_later_at(self.graph.node(scope), BlockPath(scope))

    def _look_after_iteration(self, path: BlockPath) -> None:
        """Look at the iteration that began its turn in place of one that is over, or at the container if none did."""
        container = self.state.containers[path]
        newest = f"{path}[{container.open[-1]}]" if container.open else ""
        if newest and newest not in self.state.iterations and not container.errors:
            self._look_later_at_iteration(newest)
        else:
            self._look_later_at(self.graph.node(path), path)

    def _look_later_at(self, node: Node, path: BlockPath) -> None:
        # In document order, so that what starts before a response ends the execution does not depend on which edge
        # or which call of `advance` led there.
        indexes = tuple(int(part) for part in path.replace("]", "[").split("[")[1::2]) if "[" in path else ()
        heappush(self.queue, (node.index, indexes, path))

    def _look_at_everything(self) -> None:
        for path in sorted(self.state.waiting):
            if self.state.stop is not None:
                return
            for fact in heed(self.graph.node(path), self.state, self.state.blocks[path], self.moment.at):
                self._fail(fact) if isinstance(fact, BlockFailed) else self._record(fact)
        self._look_at_body(self.root)
        for path, container in list(self.state.containers.items()):
            node = self.graph.node(path)
            self._look_later_at(node, path)
            for index in container.open:
                if f"{path}[{index}]" in self.state.iterations:
                    self._look_at_body(inside(node, self._place_of(node, path), index))

    def _look_at_body(self, place: Place) -> None:
        for block_id, node in place.body.nodes.items():
            path = place.path(block_id)
            block = self.state.blocks.get(path)
            if block is None or block.status in (BlockStatus.INTERRUPTED, BlockStatus.RETRYING):
                self._look_later_at(node, path)

    def _heed_deadline(self) -> None:
        deadline = self.state.deadline
        if deadline is not None and deadline <= self.moment.at and self.state.stop is None:
            self.state.stop = Stop(kind="timeout")

    def _place_of(self, node: Node, path: BlockPath) -> Place:
        return Place(node.body, path.removesuffix(node.id))

    def _is_stopped(self, path: BlockPath) -> bool:
        """Whether nothing new may start where this instance stands."""
        scope = scope_of_path(path)
        while scope:
            iteration = self.state.iterations.get(scope)
            container_path, _ = container_of_scope(scope)
            container = self.state.containers.get(container_path)
            if container is None or (iteration is not None and iteration.failed is not None):
                return True
            if self._failure_of(container_path, container) is not None:
                return True
            scope = scope_of_path(container_path)
        return False

    def _failure_of(self, path: BlockPath, container: ContainerState) -> BlockError | None:
        deadline = self.state.blocks[path].deadline
        return container_failure(self.graph.node(path), container, self.moment.at, deadline)

    def _look_at(self, path: BlockPath) -> None:
        node, block = self.graph.node(path), self.state.blocks.get(path)
        if path.endswith("]"):
            self._look_at_iteration(node, path)
        elif block is None:
            self._look_at_new(node, path)
        elif path in self.state.containers:
            self._tend(node, path)
        elif block.status is BlockStatus.INTERRUPTED and not self._is_stopped(path):
            if node.block.at_most_once:
                self._fail(_interrupted(block))
            else:
                self._begin(node, path, block.attempt + 1)
        elif block.status is BlockStatus.RETRYING and not self._is_stopped(path):
            assert block.until is not None
            if block.until <= self.moment.at:
                self._begin(node, path, block.attempt + 1)

    def _look_at_new(self, node: Node, path: BlockPath) -> None:
        prefix = path.removesuffix(node.id)
        active = not node.incoming
        for edge in node.incoming:
            source = self.state.blocks.get(BlockPath(prefix + edge.source))
            if source is None or source.status not in SETTLED:
                return
            active = active or is_active(edge, source)
        if prefix and self._is_stopped(path):
            return
        if not active:
            self._record(BlockSkipped(path=path, reason="no active path leads here"))
        elif not node.block.enabled:
            self._record(BlockSkipped(path=path, reason="the block is disabled", continues=True))
        elif (cutoff := self._cutoff(path)) is not None:
            self.is_cut_off = True
            reused = BlockReused(
                path=path, reference=cutoff.reference, decision=cutoff.decision, variables=cutoff.variables
            )
            self._record(reused)
        else:
            self._begin(node, path, attempt=1)

    def _cutoff(self, path: BlockPath) -> Cutoff | None:
        """What to take over in place of running a block, if all that it depends on has given the same again."""
        cutoff = self.state.cutoff.get(path)
        if cutoff is None:
            return None
        for source, digest in cutoff.after.items():
            block = self.state.blocks.get(source)
            if block is None or digest_of_outcome(block) != digest:
                return None
        return cutoff

    def _begin(self, node: Node, path: BlockPath, attempt: int) -> None:
        state, moment = self.state, self.moment
        most = state.max_concurrency
        if most is not None and len(state.running) >= most:
            self.deferred.append(path)
            return
        now = Beginning(state, self._place_of(node, path), moment.at, moment.new_id, self.graph.limits)
        for step in begin(node, now, attempt):
            if not isinstance(step, Run):
                self._fail(step) if isinstance(step, BlockFailed) else self._record(step)
                continue
            if not step.effects:
                started = BlockStarted(path=path, attempt=attempt, inputs=step.inputs)
                mark_running(state, started, moment.at)
            self.runs.append(step)

    def _tend(self, node: Node, path: BlockPath) -> None:
        """Bring an open container on: look at its iterations, or end it."""
        container = self.state.containers[path]
        if self._is_stopped(path):
            self._look_later_at_iteration(scope_of_path(path))
            return
        failure = self._failure_of(path, container)
        if failure is not None:
            because = f"{path} failed: {failure.message}"
            if self._close_iterations(node, path, because, cancel=failure.type == "timeout"):
                self._fail_container(path, failure)
        elif not container.open:
            self._record(complete_container(node, self.state, path, self.moment.at))
        else:
            for index in container.open:
                self._look_later_at_iteration(f"{path}[{index}]")

    def _look_at_iteration(self, node: Node, scope: str) -> None:
        """Begin an open iteration, complete it when it is done, or close it when a block in it failed."""
        path, index = container_of_scope(scope)
        container = self.state.containers.get(path)
        if container is None or index not in container.open:
            return
        if self._is_stopped(path) or self._failure_of(path, container) is not None:
            self._tend(node, path)
            return
        place, iteration = self._place_of(node, path), self.state.iterations.get(scope)
        within = inside(node, place, index)
        if iteration is None:
            self._enter(node, place, path, index)
        elif iteration.failed is not None:
            if self._close(within, f"{iteration.failed} failed", cancel=False):
                error = iteration_failure(self.state, path, index)
                self._record(IterationCompleted(path=path, index=index, error=error))
        elif len(iteration.settled) == len(within.body.nodes):
            self._record(complete_iteration(node, place, self.state, index))

    def _enter(self, node: Node, place: Place, path: BlockPath, index: int) -> None:
        """Begin an iteration, or end the container if no other follows."""
        try:
            if not another_follows(node, place, self.state, index, self.graph.limits):
                self._record(complete_container(node, self.state, path, self.moment.at))
                return
        except CannotBegin as cannot:
            self._fail_container(path, cannot.error)
            return
        within = inside(node, place, index)
        for entry in within.body.entries:
            self._look_later_at(entry, within.path(entry.id))

    def _fail_container(self, path: BlockPath, error: BlockError) -> None:
        block = self.state.blocks[path]
        duration_ms = 0.0
        if block.started_at is not None:
            duration_ms = (self.moment.at - block.started_at).total_seconds() * 1000
        self._fail(BlockFailed(path=path, attempt=block.attempt, error=error, duration_ms=duration_ms))

    def _close(self, place: Place, because: str, cancel: bool) -> bool:
        """Close everything at a place that has not settled; False while something is in flight there.

        `cancel`: what is in flight is ended, too.
        """
        for pause in self.state.open_pauses():
            if pause.path.startswith(place.prefix):
                closed = PauseResolved(pause_id=pause.pause_id, path=pause.path, resolution="closed", reason=because)
                self._record(closed)
        quiet = True
        for path in sorted(self.state.running):
            if path.startswith(place.prefix):
                quiet = False
                if cancel:
                    self.cancelled.append(path)
        if not quiet:
            return False
        for block_id, node in place.body.nodes.items():
            path = place.path(block_id)
            block = self.state.blocks.get(path)
            if path in self.state.containers:
                self._close_iterations(node, path, because, cancel)
                block = self.state.blocks[path]
            if block is not None and block.status is BlockStatus.INTERRUPTED:
                # Not judged: it is too late to try again, and what is around it has been stopped already.
                self._record(msgspec.structs.replace(_interrupted(block), contained=bool(place.prefix)))
            elif block is None or block.status not in SETTLED:
                self._record(self._closed(path, block, because))
        return True

    def _close_iterations(self, node: Node, path: BlockPath, because: str, cancel: bool) -> bool:
        """Close every iteration of a container that has begun; False while something is in flight in one."""
        place, quiet = self._place_of(node, path), True
        for index in list(self.state.containers[path].open):
            iteration = self.state.iterations.get(f"{path}[{index}]")
            if iteration is None:
                continue
            if not self._close(inside(node, place, index), because, cancel):
                quiet = False
                continue
            error = BlockError(type="stopped", message=because)
            if iteration.failed is not None:
                error = iteration_failure(self.state, path, index)
            self._record(IterationCompleted(path=path, index=index, error=error))
        return quiet

    def _closed(self, path: BlockPath, block: BlockState | None, because: str) -> BlockFailed | BlockSkipped:
        """How a block that never got to its end settles."""
        cause = self.cause
        if cause is not None and cause.error is not None and cause.path.startswith(f"{path}["):
            message = f"{cause.path}: {cause.error.message}"
            error = BlockError(type=cause.error.type, message=message, details={"block": cause.path})
            return BlockFailed(path=path, attempt=block.attempt if block is not None else 1, error=error)
        child = block.child if block is not None else None
        return BlockSkipped(path=path, reason=because, child=None if child is None else child.execution_id)

    def _wind_down(self, stop: Stop) -> None:
        state = self.state
        because = {
            "response": f"the response of {stop.path} ended the execution",
            "failure": f"{stop.path} failed",
            "cancel": "the execution was cancelled",
            "timeout": "the execution took too long",
        }[stop.kind]
        self.cause = None if stop.path is None else state.blocks[stop.path]
        if not self._close(self.root, because, cancel=stop.kind in ("cancel", "timeout")):
            return
        match stop.kind:
            case "response":
                self._complete()
            case "cancel":
                self._record(ExecutionCancelled(reason=stop.reason, parent=state.parent))
            case "timeout":
                assert state.deadline is not None
                self._record(ExecutionTimedOut(deadline=state.deadline, parent=state.parent))
            case "failure":
                error = self.cause.error if self.cause is not None else None
                error = error or BlockError(type="unknown", message="No error was recorded")
                self._record(ExecutionFailed(error=error, block=stop.path, parent=state.parent))

    def _complete(self) -> None:
        state, template = self.state, self.graph.output
        if self.cause is not None:
            answer: dict[str, Json] = self.cause.outputs
            self._record(ExecutionCompleted(output=answer["body"], http_status=answer["status"], parent=state.parent))
            return
        if template is None:
            ends = (state.blocks[path] for path in self.graph.terminals)
            output = {end.path: end.outputs for end in ends if end.status is BlockStatus.COMPLETED}
            self._record(ExecutionCompleted(output=output, parent=state.parent))
            return
        try:
            output = template.evaluate(scope_of(state, self.root, template.references))
            self._record(ExecutionCompleted(output=output, parent=state.parent))
        except ExpressionFailed as failed:
            error = BlockError(type="output_failed", message=f"The output of the workflow: {failed}")
            self._record(ExecutionFailed(error=error, parent=state.parent))

    def _stall(self) -> None:
        left = [path for path in self.graph.nodes if path not in self.state.blocks]
        left += list(self.state.containers)
        error = BlockError(
            type="stalled", message=f"Nothing can run, yet these blocks never settled: {', '.join(left)}"
        )
        self._record(ExecutionFailed(error=error, parent=self.state.parent))


def _interrupted(block: BlockState) -> BlockFailed:
    return BlockFailed(
        path=block.path,
        attempt=block.attempt,
        error=BlockError(
            type="interrupted",
            message="Its executor was lost while it ran; whether it acted is not known",
        ),
        child=None if block.child is None else block.child.execution_id,
    )
