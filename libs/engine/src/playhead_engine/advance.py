"""State -> what happens next: the scheduling rules of one execution.

A block is ready when every incoming edge is settled and at least one is active. A block whose incoming edges are all
inactive is skipped, and its own edges become inactive with it. Blocks that need nothing from outside (conditions,
responses, opening a pause) are done on the spot, so one call runs on until everything left needs a runner, a person
or time. When something has stopped the execution (a failure nobody handles, the first response, a cancel) nothing new
starts; what is in flight finishes; then the end is recorded. An execution with nothing in flight, nothing to wait for
and blocks that never settled has stalled, and that is an error, never a completion.
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
    BlockSkipped,
    BlockStarted,
    EventData,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    Json,
    PauseExpired,
    PauseResolved,
)
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import ERROR, NEXT
from playhead_engine.blocks import Run, begin, scope_of
from playhead_engine.expressions import ExpressionFailed
from playhead_engine.fold import evolve, mark_running
from playhead_engine.graph import Edge, Graph, Node
from playhead_engine.state import SETTLED, BlockState, BlockStatus, ExecutionState

NewId = Callable[[], str]


class Advance(msgspec.Struct, frozen=True):
    """What follows: facts to record, in order, and blocks to hand to a runner.

    A run with effects may only begin once `events` are in the log.
    """

    events: list[EventData]
    runs: list[Run]


class Moment(msgspec.Struct, frozen=True):
    """What the core may not find out by itself: the time (UTC), who is acting, and where new ids come from."""

    at: datetime
    actor: Actor
    new_id: NewId


def advance(graph: Graph, state: ExecutionState, moment: Moment, settled: Iterable[BlockPath] | None = None) -> Advance:
    """Decide everything that follows from what is known, and evolve `state` by it.

    `settled` names the blocks that settled since the last call, so that a step costs the size of a block's
    neighbourhood; None looks at the whole graph, as after a load. Both give the same result.
    """
    return Advance([], []) if state.is_ended else _Step(graph, state, moment).run(settled)


def release(state: ExecutionState, moment: Moment) -> ExecutionPaused | None:
    """The fact that the executor lets go, if nothing is in flight and a pause or a timer is open; evolves `state`."""
    if state.is_ended or state.running:
        return None
    paused = ExecutionPaused(
        epoch=state.epoch,
        pauses=tuple(pause.pause_id for pause in state.open_pauses()),
        due_at=next_due(state),
    )
    evolve(state, paused, state.version + 1, moment.at, moment.actor)
    return paused


def next_due(state: ExecutionState) -> datetime | None:
    """When the earliest timer of the execution is due: a wait that ends, a pause that expires."""
    waits = [b.until for b in state.blocks.values() if b.status is BlockStatus.WAITING and b.until is not None]
    expiries = [pause.expires_at for pause in state.open_pauses() if pause.expires_at is not None]
    return min(waits + expiries, default=None)


def finish(graph: Graph, state: ExecutionState, moment: Moment, fact: BlockCompleted | BlockFailed) -> EventData:
    """Let a runner's result be true. Says of a failure whether an error edge takes it; evolves `state`."""
    node = graph.nodes[fact.path]
    if isinstance(fact, BlockFailed):
        fact = msgspec.structs.replace(fact, handled=node.handles_errors)
    evolve(state, fact, state.version + 1, moment.at, moment.actor)
    return fact


def is_active(edge: Edge, source: BlockState) -> bool:
    """Whether a settled source activates this edge."""
    match source.status:
        case BlockStatus.COMPLETED:
            return edge.handle == NEXT if source.decision is None else edge.handle in source.decision
        case BlockStatus.FAILED:
            return source.handled and edge.handle == ERROR
        case _:
            return False


class _Step:
    """One call of `advance`: the queue of blocks to look at, and what has been decided so far."""

    def __init__(self, graph: Graph, state: ExecutionState, moment: Moment):
        self.graph, self.state, self.moment = graph, state, moment
        self.events: list[EventData] = []
        self.runs: list[Run] = []
        self.queue: list[tuple[int, BlockPath]] = []

    def run(self, settled: Iterable[BlockPath] | None) -> Advance:
        if settled is None:
            self._look_at_everything()
        else:
            for path in settled:
                self._look_later_at(self.graph.nodes[path].successors)
        while self.queue and self.state.stop is None:
            self._look_at(heappop(self.queue)[1])
        if self.state.stop is not None:
            self._wind_down()
        elif not self.state.running and self.state.settled == len(self.graph.nodes):
            self._complete()
        elif not self.state.running and not self._is_waiting():
            self._stall()
        return Advance(self.events, self.runs)

    def _record(self, data: EventData) -> None:
        evolve(self.state, data, self.state.version + 1, self.moment.at, self.moment.actor)
        self.events.append(data)
        if isinstance(data, BlockCompleted | BlockFailed | BlockSkipped):
            self._look_later_at(self.graph.nodes[data.path].successors)

    def _look_later_at(self, paths: Iterable[BlockPath]) -> None:
        # In document order, so that what starts before a response ends the execution does not depend on which edge
        # or which call of `advance` led there.
        for path in paths:
            heappush(self.queue, (self.graph.nodes[path].index, path))

    def _look_at_everything(self) -> None:
        self._heed_time_and_answers()
        for path in self.graph.nodes:
            block = self.state.blocks.get(path)
            if block is None:
                self._look_later_at([path])
            elif block.status is BlockStatus.INTERRUPTED and self.state.stop is None:
                self._begin_again(self.graph.nodes[path], block)

    def _heed_time_and_answers(self) -> None:
        for block in list(self.state.blocks.values()):
            if self.state.stop is not None:
                return
            if block.status is BlockStatus.WAITING and block.until is not None and block.until <= self.moment.at:
                self._record(
                    BlockCompleted(
                        path=block.path,
                        attempt=block.attempt,
                        outputs={"until": block.until.isoformat().replace("+00:00", "Z")},
                        duration_ms=self._since(block.started_at),
                    )
                )
            elif block.status is BlockStatus.PAUSED and block.pause_id is not None:
                self._heed_pause(block)

    def _heed_pause(self, block: BlockState) -> None:
        assert block.pause_id is not None
        pause = self.state.pauses[block.pause_id]
        if pause.status == "answered":
            decided_by = pause.resolved_by.name if pause.resolved_by else None
            outputs = {
                "answer": pause.answer,
                "decided_by": decided_by,
                "decided_at": _text(pause.resolved_at),
            }
            self._record(BlockCompleted(path=block.path, outputs=outputs, duration_ms=self._since(block.started_at)))
        elif pause.status == "open" and pause.expires_at is not None and pause.expires_at <= self.moment.at:
            self._record(PauseExpired(pause_id=pause.pause_id, path=block.path, expired_at=pause.expires_at))
            self._record(
                BlockFailed(
                    path=block.path,
                    error=BlockError(type="pause_expired", message=f"Nobody answered by {_text(pause.expires_at)}"),
                    handled=self.graph.nodes[block.path].handles_errors,
                    duration_ms=self._since(block.started_at),
                )
            )

    def _since(self, started_at: datetime | None) -> float:
        return 0.0 if started_at is None else (self.moment.at - started_at).total_seconds() * 1000

    def _look_at(self, path: BlockPath) -> None:
        if path in self.state.blocks:
            return
        node = self.graph.nodes[path]
        active = not node.incoming
        for edge in node.incoming:
            source = self.state.blocks.get(edge.source)
            if source is None or source.status not in SETTLED:
                return
            active = active or is_active(edge, source)
        if active:
            self._begin(node, attempt=1)
        else:
            self._record(BlockSkipped(path=path, reason="no active path leads here"))

    def _begin(self, node: Node, attempt: int) -> None:
        step = begin(node, self.state, attempt, self.moment.at, self.moment.new_id)
        if not isinstance(step, Run):
            self._record(step)
            return
        started = BlockStarted(path=node.path, attempt=attempt, inputs=step.inputs)
        if node.effects:
            self._record(started)
        else:
            mark_running(self.state, started, self.moment.at)
        self.runs.append(step)

    def _begin_again(self, node: Node, block: BlockState) -> None:
        if node.block.at_most_once:
            self._record(_interrupted(block, node.handles_errors))
        else:
            self._begin(node, attempt=block.attempt + 1)

    def _is_waiting(self) -> bool:
        return any(block.status in (BlockStatus.WAITING, BlockStatus.PAUSED) for block in self.state.blocks.values())

    def _wind_down(self) -> None:
        state, stop = self.state, self.state.stop
        assert stop is not None
        because = {
            "response": f"the response of {stop.path} ended the execution",
            "failure": f"{stop.path} failed",
            "cancel": "the execution was cancelled",
        }[stop.kind]
        for pause in state.open_pauses():
            self._record(PauseResolved(pause_id=pause.pause_id, path=pause.path, resolution="closed", reason=because))
        if state.running:
            return
        for path in self.graph.nodes:
            block = state.blocks.get(path)
            if block is not None and block.status is BlockStatus.INTERRUPTED:
                self._record(_interrupted(block, handled=False))
            elif block is None or block.status not in SETTLED:
                self._record(BlockSkipped(path=path, reason=because))
        if stop.kind == "response":
            self._complete()
        elif stop.kind == "cancel":
            self._record(ExecutionCancelled(reason=stop.reason))
        else:
            assert stop.path is not None
            error = state.blocks[stop.path].error or BlockError(type="unknown", message="No error was recorded")
            self._record(ExecutionFailed(error=error, block=stop.path))

    def _complete(self) -> None:
        state = self.state
        if state.stop is not None and state.stop.path is not None:
            answer: dict[str, Json] = state.blocks[state.stop.path].outputs
            self._record(ExecutionCompleted(output=answer["body"], http_status=answer["status"]))
            return
        template = self.graph.output
        if template is None:
            ends = (state.blocks[path] for path in self.graph.terminals)
            output = {end.path: end.outputs for end in ends if end.status is BlockStatus.COMPLETED}
            self._record(ExecutionCompleted(output=output))
            return
        try:
            self._record(ExecutionCompleted(output=template.evaluate(scope_of(state, template.references))))
        except ExpressionFailed as failed:
            error = BlockError(type="output_failed", message=f"The output of the workflow: {failed}")
            self._record(ExecutionFailed(error=error))

    def _stall(self) -> None:
        left = [path for path in self.graph.nodes if path not in self.state.blocks]
        error = BlockError(
            type="stalled", message=f"Nothing can run, yet these blocks never settled: {', '.join(left)}"
        )
        self._record(ExecutionFailed(error=error))


def _interrupted(block: BlockState, handled: bool) -> BlockFailed:
    return BlockFailed(
        path=block.path,
        attempt=block.attempt,
        handled=handled,
        error=BlockError(
            type="interrupted",
            message="Its executor was lost while it ran; whether it acted is not known",
        ),
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
