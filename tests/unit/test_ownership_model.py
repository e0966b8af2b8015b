"""Two executors on one execution, in any interleaving of their steps: a model of claims, commits and fencing.

The log is what the real one promises and nothing else: an append names the version it follows, and holds or not. An
executor may be frozen between any two steps, and may think at any moment that the other is gone.
"""

from collections.abc import Iterable
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.events import (
    CLAIMS,
    Actor,
    BlockCompleted,
    BlockFailed,
    BlockStarted,
    Event,
    EventData,
    ExecutionDeadLettered,
    PauseResolved,
)
from playhead_contracts.ids import BlockPath
from playhead_engine.admission import Request, admit
from playhead_engine.documents import parse
from playhead_engine.folding import evolve, fold, mark_running
from playhead_engine.graph import build_graph
from playhead_engine.ownership import Claim, Poisoned, decide_claim, is_fenced
from playhead_engine.scheduling import Moment, advance, finish, release
from playhead_engine.scheduling.blocks import Run
from playhead_engine.state import ExecutionState
from tests.unit.graphs import PERSON, START, TRAITS, Case, cases, recorded

Result = BlockCompleted | BlockFailed


class ModelLog:
    """One stream. Facts go in at the version they follow, or not at all."""

    def __init__(self, first: EventData):
        self.stream: list[Event] = [recorded(first, 1, START, PERSON)]

    def append(self, after: int, facts: Iterable[EventData], actor: Actor) -> bool:
        if after != len(self.stream):
            return False
        for fact in facts:
            self.stream.append(recorded(fact, len(self.stream) + 1, START, actor))
        return True


class ModelExecutor:
    """What a journal and a runner do, one step at a time."""

    def __init__(self, name: str, case: Case, log: ModelLog, ids: Iterable[int]):
        self.actor = Actor(kind="system", name=name)
        self.log = log
        self.graph = build_graph(parse(case.document, TRAITS), TRAITS)
        self.ids = iter(ids)
        self.crash()

    def crash(self) -> None:
        self.state: ExecutionState | None = None
        self.pending: list[EventData] = []
        self.results: list[Result] = []
        self.pure: dict[str, Run] = {}
        self.waiting_runs: list[Run] = []
        self.runs: list[Run] = []
        self.deferred: tuple[BlockPath, ...] = ()
        self.epoch = self.head = 0

    def step(self, action: str, pick: int) -> None:
        match action:
            case "crash":
                self.crash()
            case "claim" if self.state is None:
                self._claim()
            case "work" if self.state is not None and self.runs:
                self._work(self.runs.pop(pick % len(self.runs)))
            case "commit" if self.state is not None:
                self._commit()
            case _:
                pass

    def _moment(self) -> Moment:
        return Moment(START, self.actor, lambda: f"00000000-0000-7000-8000-{next(self.ids):012d}")

    def _claim(self) -> None:
        state = folded(self.log.stream)
        # The worst that a lost lease can do: the owner is held to be gone whether it is or not.
        decision = decide_claim(state, self.actor.name, "run", owner_is_gone=True)
        if isinstance(decision, Claim):
            self.state, self.head, self.epoch = state, state.version, decision.event.epoch
            self._gather(decision.event)
            self._advance(None)
        elif isinstance(decision, Poisoned):
            # It is put aside, and an operator lets it go on.
            aside = ExecutionDeadLettered(command="run", failures=decision.failures, error="lost too often")
            self.log.append(state.version, [aside], PERSON)

    def _gather(self, fact: EventData) -> None:
        assert self.state is not None
        evolve(self.state, fact, self.state.version + 1, START, self.actor)
        self.pending.append(fact)

    def _advance(self, settled: list[BlockPath] | None) -> None:
        assert self.state is not None
        step = advance(self.graph, self.state, self._moment(), settled, self.deferred)
        self.deferred = step.deferred
        self.pending += step.events
        for run in step.runs:
            if run.effects:
                self.waiting_runs.append(run)
            else:
                self.pure[run.path] = run
                self.runs.append(run)

    def _work(self, run: Run) -> None:
        assert self.state is not None
        own = {} if run.effects else {"started_at": run.started_at, "inputs": run.inputs}
        result = BlockCompleted(path=run.path, attempt=run.attempt, outputs=self.actor.name, **own)  # pyright: ignore[reportArgumentType]
        self.pure.pop(run.path, None)
        self.results.append(result)
        self.pending.append(finish(self.graph, self.state, self._moment(), result))
        self._advance([run.path])

    def _commit(self) -> None:
        assert self.state is not None
        if not self.state.is_ended and (paused := release(self.state, self._moment())):
            self.pending.append(paused)
        sent, self.pending = self.pending, []
        if self.log.append(self.head, sent, self.actor):
            self.head += len(sent)
            self.results.clear()
            self.runs, self.waiting_runs = self.runs + self.waiting_runs, []
            if self.state.is_ended or self.state.owner is None:
                self.crash()  # it lets go, and forgets
        elif any(isinstance(fact, CLAIMS) for fact in sent) or is_fenced(folded(self.log.stream), self.epoch):
            self.crash()
        else:
            self._look_again()

    def _look_again(self) -> None:
        state = folded(self.log.stream)
        self.state, self.head, self.pending, self.waiting_runs = state, state.version, [], []
        self.deferred = ()
        for run in self.pure.values():
            mark_running(state, BlockStarted(path=run.path, attempt=run.attempt, inputs=run.inputs), START)
        for result in self.results:
            self.pending.append(finish(self.graph, state, self._moment(), result))
        self._advance(None)


STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["claim", "work", "commit", "claim", "work", "commit", "crash"]),
    st.integers(0, 5),
)


@given(
    cases(max_blocks=4, failures=False, responses=False),
    st.lists(STEPS, min_size=30, max_size=80),
    st.sets(st.integers(0, 59)),
)
@settings(max_examples=300, deadline=None)
def test_no_interleaving_of_two_executors_records_anything_twice_or_by_a_fenced_one(
    case: Case, steps: list[tuple[int, str, int]], answers: set[int]
) -> None:
    ids = count(1)
    graph = build_graph(parse(case.document, TRAITS), TRAITS)
    log = ModelLog(admit(graph.document, 1, "sha256:x", Request(), START))
    executors = [ModelExecutor(name, case, log, ids) for name in ("a", "b")]
    for number, (which, action, pick) in enumerate(steps):
        executors[which].step(action, pick)
        if number in answers:
            _answer_one(log)
    _check(log)
    state = _run_to_the_end(executors[0], log)
    _check(log)
    assert state.error is None


def folded(stream: list[Event]) -> ExecutionState:
    state = fold(stream)
    assert state is not None
    return state


def _answer_one(log: ModelLog) -> None:
    """Somebody else's fact, which both executors have to make room for."""
    state = folded(log.stream)
    for pause in state.open_pauses()[:1]:
        log.append(
            len(log.stream),
            [PauseResolved(pause_id=pause.pause_id, path=pause.path, resolution="answered", answer={"ok": True})],
            PERSON,
        )


def _check(log: ModelLog) -> None:
    fold(log.stream)  # raises for anything that cannot follow what came before it
    done = [e.data.path for e in log.stream if isinstance(e.data, BlockCompleted | BlockFailed)]
    assert len(done) == len(set(done))
    started = [(e.data.path, e.data.attempt) for e in log.stream if isinstance(e.data, BlockStarted)]
    assert len(started) == len(set(started))
    owner = None
    for event in log.stream[1:]:
        if isinstance(event.data, CLAIMS):
            owner = event.data.executor
        if event.envelope.actor != PERSON:
            assert event.envelope.actor.name == owner, "a fenced executor's fact is in the log"


def _run_to_the_end(executor: ModelExecutor, log: ModelLog) -> ExecutionState:
    """One of them, alone, with everything answered and no timer left open."""
    executor.crash()
    for _ in range(400):
        state = folded(log.stream)
        if state.is_ended or (state.due_at is not None and not state.open_pauses()):
            return state
        _answer_one(log)
        for action in ("claim", "work", "commit"):
            executor.step(action, 0)
    raise AssertionError("never done")
