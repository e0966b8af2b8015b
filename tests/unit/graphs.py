"""Random workflow documents, and a tiny world that runs them: no servers, no clock, only the core."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

import msgspec
from hypothesis import strategies as st

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    Envelope,
    Event,
    EventData,
    ExecutionRecovered,
    ExecutionStarted,
    Json,
    PauseResolved,
    decode_data,
    encode_data,
)
from playhead_contracts.ids import EventId, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_engine.admission import Request, admit
from playhead_engine.advance import Moment, advance, finish, release
from playhead_engine.blocks import Run
from playhead_engine.documents import parse
from playhead_engine.fold import evolve, fold
from playhead_engine.graph import Graph, build_graph
from playhead_engine.state import ExecutionState, ExecutionStatus
from playhead_engine.traits import BlockTraits

EXECUTION = ExecutionId("00000000-0000-7000-8000-000000000001")
ACTOR = Actor(kind="system", name="executor")
PERSON = Actor(kind="person", name="ann")
START = datetime(2026, 1, 1, tzinfo=UTC)
TRAITS = {"act": BlockTraits(effects=True), "pure": BlockTraits(effects=False)}


class Case(msgspec.Struct, frozen=True):
    """A document, and what the outside does when its blocks run."""

    document: dict[str, Json]
    fails: frozenset[str]


@st.composite
def cases(draw: st.DrawFn, max_blocks: int = 9, failures: bool = True, responses: bool = True) -> Case:
    """Acyclic graphs of every kind of block: an edge only ever leads to a later block."""
    size = draw(st.integers(1, max_blocks))
    names = [f"b{index}" for index in range(size)]
    kinds = ["act", "act", "pure", "condition", "human", "wait"] + (["response"] if responses else [])
    blocks: dict[str, Json] = {}
    for index, name in enumerate(names):
        later = names[index + 1 :]
        kind = draw(st.sampled_from(kinds if later else [kind for kind in kinds if kind != "condition"]))
        targets = st.lists(st.sampled_from(later), max_size=3, unique=True) if later else st.just([])
        block: dict[str, Json] = {"type": kind}
        if kind == "condition":
            block["cases"] = {
                "first": draw(st.sampled_from(["true", "false"])),
                "second": draw(st.sampled_from(["true", "false"])),
            }
            nexts = {handle: draw(targets) for handle in ("first", "second", "else")}
            block["next"] = {handle: chosen for handle, chosen in nexts.items() if chosen}
        elif kind == "response":
            block["body"] = name
        else:
            block["next"] = draw(targets)
            if kind == "human":
                block["message"] = "?"
            if kind == "wait":
                block["for"] = "5s"
        if later and kind in ("act", "pure", "human") and draw(st.booleans()):
            block["on_error"] = draw(st.lists(st.sampled_from(later), min_size=1, max_size=2, unique=True))
        blocks[name] = block
    able = [name for name in names if blocks[name]["type"] in ("act", "pure")]
    fails = frozenset(draw(st.sets(st.sampled_from(able)))) if failures and able else frozenset[str]()
    return Case({"id": "random", "blocks": blocks}, fails)


class World:
    """One execution and everything around it: an in-memory stream, time that only moves when asked, random order."""

    def __init__(self, case: Case, seed: int = 0, given: Json = None):
        self.case = case
        self.graph: Graph = build_graph(parse(case.document, TRAITS), TRAITS)
        self.random = Random(seed)
        self.now = START
        self.stream: list[Event] = []
        self.runs: list[Run] = []
        self.completions: list[tuple[str, int]] = []
        self._ids = count(1)
        self._write([admit(self.graph.document, 1, "sha256:x", Request(input=given))], PERSON)
        self.state = self._folded()
        self._claim(ExecutionStarted(executor="a", epoch=1, command="run"))

    def run_to_the_end(self, after_append: Callable[["World"], bool] | None = None, limit: int = 500) -> ExecutionState:
        """Let results, people and time come in random order until the execution has ended.

        `after_append` is asked after each append whether the executor crashes there.
        """
        self._step(None)
        for _ in range(limit):
            if self.state.is_ended:
                return self.state
            if after_append is not None and after_append(self):
                self.crash()
            elif self.runs:
                self._finish_one()
            elif self.state.open_pauses() and self.random.random() < 0.7:
                self._answer_one()
            else:
                self.now += timedelta(seconds=10)
                self._step(None)
        raise AssertionError(f"never ended: {self.state}")

    def crash(self) -> None:
        """Lose everything but the log, and let another executor take over."""
        self.runs = []
        self.state = self._folded()
        if self.state.is_ended:
            return
        recovered = ExecutionRecovered(
            executor="b", epoch=self.state.epoch + 1, command="run", taken_from=self.state.owner or "?"
        )
        self._claim(recovered)
        self._step(None)

    def _finish_one(self) -> None:
        run = self.runs.pop(self.random.randrange(len(self.runs)))
        own = {} if run.effects else {"started_at": run.started_at, "inputs": run.inputs}
        result: BlockCompleted | BlockFailed
        if run.path in self.case.fails:
            error = BlockError(type="broken", message="as told")
            result = BlockFailed(path=run.path, attempt=run.attempt, error=error, **own)  # pyright: ignore[reportArgumentType]
        else:
            result = BlockCompleted(path=run.path, attempt=run.attempt, outputs={"of": run.path}, **own)  # pyright: ignore[reportArgumentType]
        self.completions.append((run.path, run.attempt))
        self._append([finish(self.graph, self.state, self._moment(), result)])
        self._step([run.path])

    def _answer_one(self) -> None:
        pause = self.random.choice(self.state.open_pauses())
        resolved = PauseResolved(pause_id=pause.pause_id, path=pause.path, resolution="answered", answer={"ok": True})
        evolve(self.state, resolved, self.state.version + 1, self.now, PERSON)
        self._write([resolved], PERSON)
        self._step(None)

    def _claim(self, claim: EventData) -> None:
        evolve(self.state, claim, self.state.version + 1, self.now, ACTOR)
        self._write([claim], ACTOR)

    def _step(self, settled: list[str] | None) -> None:
        step = advance(self.graph, self.state, self._moment(), settled)  # pyright: ignore[reportArgumentType]
        self._append(step.events)
        self.runs.extend(step.runs)

    def _append(self, facts: list[EventData]) -> None:
        self._write(facts, ACTOR)

    def _write(self, facts: list[EventData], actor: Actor) -> None:
        for fact in facts:
            self.stream.append(recorded(fact, len(self.stream) + 1, self.now, actor))

    def _moment(self) -> Moment:
        return Moment(at=self.now, actor=ACTOR, new_id=lambda: f"00000000-0000-7000-8000-{next(self._ids):012d}")

    def _folded(self) -> ExecutionState:
        state = fold(self.stream)
        assert state is not None
        return state


def recorded(fact: EventData, version: int, at: datetime = START, actor: Actor = ACTOR) -> Event:
    """A fact as the log would give it back: encoded and decoded."""
    envelope = Envelope(
        id=EventId(f"10000000-0000-7000-8000-{version:012d}"),
        type=fact.type_name(),
        schema_version=1,
        tenant=TenantId("acme"),
        stream_id=StreamId(f"execution:{EXECUTION}"),
        version=version,
        recorded_at=at,
        actor=actor,
        workflow_id=WorkflowId("random"),
        execution_id=EXECUTION,
    )
    return Event(envelope=envelope, data=decode_data(encode_data(fact)), position=version)


def outcome(state: ExecutionState) -> object:
    """What an execution came to, without when and in which order."""
    blocks = {path: (block.status, _timeless(block.outputs), block.decision) for path, block in state.blocks.items()}
    return state.status, _timeless(state.output), dict(sorted(blocks.items()))


def _timeless(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    return {name: _timeless(item) for name, item in value.items() if name not in ("decided_at", "until")}  # pyright: ignore[reportUnknownVariableType]


__all__ = ["ACTOR", "START", "TRAITS", "Case", "ExecutionStatus", "World", "cases", "outcome", "recorded", "release"]
