"""What one execution is to its executor: the state it works on, and the facts that are not in the log yet.

Facts gather here and go into the log together at the next barrier. When somebody else's fact came first, the journal
starts over from the log: results of blocks are facts and are kept, decisions are thrown away and made again.
"""

from collections.abc import Callable, Iterable

import msgspec

from playhead_contracts.errors import PlayheadError, VersionConflict
from playhead_contracts.events import (
    CLAIMS,
    BlockCompleted,
    BlockFailed,
    BlockStarted,
    BlockStepCompleted,
    ChildStarted,
    EventData,
    ExecutionRecovered,
    ExecutionResumed,
    ExecutionStarted,
    NewEvent,
    PauseRequested,
)
from playhead_contracts.ids import BlockPath, EventId, StreamId, execution_stream
from playhead_engine.folding import EXECUTIONS, evolve, mark_running
from playhead_engine.graph import Graph
from playhead_engine.ownership import is_fenced
from playhead_engine.privacy import seal_of
from playhead_engine.scheduling import Advance, Moment, advance, finish, release
from playhead_engine.scheduling.blocks import Run
from playhead_engine.state import ExecutionState
from playhead_eventlog import EventLog, StreamHead
from playhead_runtime.spans import pause_requested
from playhead_runtime.tracing import current_traceparent

AnyClaim = ExecutionStarted | ExecutionResumed | ExecutionRecovered
Result = BlockCompleted | BlockFailed | ChildStarted
"""What came of a block that was in flight."""


MOST_GATHERED = 500
"""Facts of one execution that wait for a barrier at most."""


class Fenced(PlayheadError):
    """Somebody else has claimed the execution since. Nothing of it may be touched any more."""


class ClaimLost(PlayheadError):
    """Another fact came before our claim: look again whether there is still something to claim."""


class Loaded(msgspec.Struct):
    """An execution as the log has it: its state, which the holder may evolve, and the head of its stream."""

    state: ExecutionState
    head: StreamHead


class Journal:
    """State, head and unwritten facts of one claimed execution."""

    def __init__(
        self,
        log: EventLog,
        graph: Graph,
        loaded: Loaded,
        claim: AnyClaim,
        now: Callable[[], Moment],
        command: str,
    ):
        self.graph = graph
        self.state = loaded.state
        self._head = loaded.head
        self._log = log
        self._now = now
        self._command = command
        self._epoch = claim.epoch
        self.is_recovered = isinstance(claim, ExecutionRecovered)
        """Whether an executor was lost over it."""
        self._pending: list[NewEvent] = []
        self._results: list[tuple[Result | BlockStepCompleted, str | None]] = []
        self._traceparent = current_traceparent()
        self._deferred: tuple[BlockPath, ...] = ()
        self._pure_runs: dict[str, Run] = {}
        moment = now()
        evolve(self.state, claim, self.state.version + 1, moment.at, moment.actor)
        self._gather([claim], moment)

    @property
    def stream(self) -> StreamId:
        return execution_stream(self.state.execution_id)

    @property
    def is_full(self) -> bool:
        """Whether so much has gathered that it is to be written now: memory is bounded, however long a loop is."""
        return len(self._pending) >= MOST_GATHERED

    @property
    def is_clean(self) -> bool:
        """Whether everything known is in the log."""
        return not self._pending

    def advance(self, settled: Iterable[BlockPath] | None) -> Advance:
        """What follows from what is known; its events are gathered."""
        moment = self._now()
        step = advance(self.graph, self.state, moment, settled, self._deferred)
        self._deferred = step.deferred
        self._gather(step.events, moment)
        for run in step.runs:
            if not run.effects:
                self._pure_runs[run.path] = run
        return step

    def finish(self, result: Result, traceparent: str | None) -> None:
        """A block, which ran at this place in a trace, is done: let it be true."""
        moment = self._now()
        self._pure_runs.pop(result.path, None)
        self._results.append((result, traceparent))
        self._gather([finish(self.graph, self.state, moment, result)], moment, traceparent)

    def note_step(self, step: BlockStepCompleted, traceparent: str | None) -> None:
        """A step inside a block is done: let it be true."""
        moment = self._now()
        evolve(self.state, step, self.state.version + 1, moment.at, moment.actor)
        self._results.append((step, traceparent))
        self._gather([step], moment, traceparent)

    def release(self) -> bool:
        """Let go for a pause or a timer, as one more gathered fact; False when something is in flight or ended."""
        moment = self._now()
        paused = release(self.state, moment)
        if paused is not None:
            self._gather([paused], moment)
        return paused is not None

    async def commit(self) -> "tuple[bytes, ...] | None":
        """Write what has gathered; returns its frames, or None when others' facts came first: then decide anew.

        Raises Fenced, ClaimLost, LogUnavailable.
        """
        if not self._pending:
            return ()
        sent, self._pending = self._pending, []
        try:
            appended = await self._log.append(self.stream, self._head, sent)
        except VersionConflict as conflict:
            if any(isinstance(event.data, CLAIMS) for event in sent):
                raise ClaimLost(str(conflict)) from conflict
            await self.look_again()
            return None
        self._head = appended.head
        self._results.clear()
        if self._traceparent is not None:
            self._trace_pauses(sent)
        return appended.frames

    async def look_again(self) -> None:
        """Start over from the log: others' facts are folded, decisions not yet written are dropped, results kept.

        Raises Fenced.
        """
        state, head = await self._log.fold(self.stream, EXECUTIONS)
        assert state is not None
        if is_fenced(state, self._epoch):
            raise Fenced(f"{self.stream} was claimed by another executor")
        self.state, self._head, self._pending, self._deferred = state, head, [], ()
        moment = self._now()
        for run in self._pure_runs.values():
            started = BlockStarted(path=run.path, attempt=run.attempt, inputs=run.inputs)
            mark_running(self.state, started, run.started_at)
        results, self._results = self._results, []
        for result, traceparent in results:
            if isinstance(result, BlockStepCompleted):
                self.note_step(result, traceparent)
            else:
                self._results.append((result, traceparent))
                self._gather([finish(self.graph, self.state, moment, result)], moment, traceparent)

    def _trace_pauses(self, written: Iterable[NewEvent]) -> None:
        for event in written:
            if isinstance(event.data, PauseRequested):
                pause_requested(self.state.execution_id, event.data.path, event.data.pause_id)

    def _gather(self, facts: Iterable[EventData], moment: Moment, traceparent: str | None = None) -> None:
        state = self.state
        for fact in facts:
            self._pending.append(
                NewEvent(
                    id=EventId(moment.new_id()),
                    data=fact,
                    tenant=state.tenant,
                    workflow_id=state.workflow_id,
                    execution_id=state.execution_id,
                    actor=moment.actor,
                    recorded_at=moment.at,
                    causation_id=self._command,
                    seal=seal_of(state.personal, fact),
                    traceparent=traceparent or self._traceparent,
                )
            )
