"""Random workflow documents, and a tiny world that runs them: no servers, no clock, only the core."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from zlib import crc32

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockError,
    BlockFailed,
    BlockOverridden,
    BlockReused,
    BlockStarted,
    ContainerReused,
    Envelope,
    Event,
    EventData,
    ExecutionCreated,
    ExecutionRecovered,
    ExecutionStarted,
    IterationCompleted,
    IterationReused,
    Json,
    PauseResolved,
    decode_data,
    encode_data,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_engine.admission import Request, admit
from playhead_engine.documents import parse
from playhead_engine.folding import evolve, fold, mark_running
from playhead_engine.graph import Graph, build_graph
from playhead_engine.rerun import History, Plan, RerunOrder, cutoffs, fork_facts, plan_rerun
from playhead_engine.scheduling import Moment, advance, finish, release
from playhead_engine.scheduling.blocks import Run
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
    """Blocks that fail, by their path in the document or by that of one instance, at their first attempts."""
    failures: int = 1_000_000
    """How many attempts of each of those fail."""


@st.composite
def cases(
    draw: st.DrawFn, max_blocks: int = 9, failures: bool = True, responses: bool = True, nested: bool = True
) -> Case:
    """Acyclic graphs of every kind of block, containers within containers too: an edge only leads to a later block."""
    names: list[str] = []
    blocks = draw(_bodies("", max_blocks, 2 if nested else 0, responses, failures, names))
    document: dict[str, Json] = {"id": "random", "blocks": blocks, "variables": {"n": 0}}
    if draw(st.booleans()):
        document["max_concurrency"] = draw(st.integers(1, 3))
    fails = frozenset(draw(st.sets(st.sampled_from(names), max_size=3))) if failures and names else frozenset[str]()
    return Case(document, fails, draw(st.sampled_from([1, 2, 1_000_000])))


@st.composite
def _bodies(
    draw: st.DrawFn, prefix: str, max_blocks: int, depth: int, responses: bool, failures: bool, able: list[str]
) -> dict[str, Json]:
    """The blocks of one body. `able` gets the paths of those that a runner runs."""
    size = draw(st.integers(1, max_blocks))
    level = prefix.count("/")
    names = [f"{'bcdefg'[level]}{index}" for index in range(size)]
    kinds = ["act", "act", "pure", "condition", "router", "human", "wait", "off"]
    kinds += ["response"] if responses else []
    kinds += ["loop", "parallel"] if depth else []
    blocks: dict[str, Json] = {}
    for index, name in enumerate(names):
        later = names[index + 1 :]
        choosing = ("condition", "router")
        kind = draw(st.sampled_from(kinds if later else [kind for kind in kinds if kind not in choosing]))
        targets = st.lists(st.sampled_from(later), max_size=3, unique=True) if later else st.just([])
        block: dict[str, Json] = {"type": kind}
        match kind:
            case "condition":
                booleans = st.sampled_from(["true", "false"])
                block["cases"] = {"first": draw(booleans), "second": draw(booleans)}
                nexts = {handle: draw(targets) for handle in ("first", "second", "else")}
                block["next"] = {handle: chosen for handle, chosen in nexts.items() if chosen}
            case "router":
                block["route"] = draw(st.sampled_from(["'one'", "['one', 'two']", "[]", "'none of them'"]))
                block["next"] = {handle: draw(targets) for handle in ("one", "two", "else")}
            case "response":
                block["body"] = name
            case "loop" | "parallel":
                block |= draw(_containers(f"{prefix}{name}", kind, depth, responses, failures, able))
            case "human":
                block["message"] = "?"
            case "wait":
                block["for"] = "5s"
            case "off":
                block |= {"type": "act", "enabled": False}
            case _:
                able.append(prefix + name)
                if draw(st.integers(0, 3)) == 0:
                    block["retry"] = {"attempts": draw(st.integers(2, 3)), "backoff": "5s", "errors": ["broken"]}
        if kind not in ("condition", "router", "response"):
            block["next"] = draw(targets)
        if failures and kind in ("act", "pure", "human", "loop", "parallel"):
            handled = draw(st.sampled_from(["", "", "edge", "continue"]))
            if handled == "continue":
                block["continue_on_error"] = True
            elif handled == "edge" and later:
                block["on_error"] = draw(st.lists(st.sampled_from(later), min_size=1, max_size=2, unique=True))
        blocks[name] = block
    return blocks


@st.composite
def _containers(
    draw: st.DrawFn, path: str, kind: str, depth: int, responses: bool, failures: bool, able: list[str]
) -> dict[str, Json]:
    block: dict[str, Json] = {"blocks": draw(_bodies(f"{path}/", 3, depth - 1, responses, failures, able))}
    count = draw(st.integers(0, 3))
    if kind == "parallel":
        block |= draw(st.sampled_from([{"count": count}, {"collection": ["x"] * count}, {"collection": {"k": 1}}]))
        if draw(st.booleans()):
            block["max_concurrency"] = draw(st.integers(1, 2))
        if failures:
            block["on_branch_error"] = draw(st.sampled_from(["fail", "collect"]))
        return block
    loops: list[dict[str, Json]] = [
        {"for": count},
        {"for_each": ["x"] * count, "result": "{{ [loop.index, loop.item, loop.previous] }}"},
        {"while": f"loop.index < {count}"},
        {"do_while": f"loop.index < {count}"},
        {"for": 3, "break_when": f"loop.index == {count}"},
    ]
    return block | draw(st.sampled_from(loops))


class World:
    """One execution and everything around it: an in-memory stream, time that only moves when asked, random order."""

    def __init__(self, case: Case, seed: int = 0, given: Json = None, is_telling: bool = False):
        self.case = case
        self.is_telling = is_telling
        """Whether what a block gives follows from what it was given."""
        self.others: dict[ExecutionId, list[Event]] = {}
        """The streams of executions that this one takes something over from."""
        self.graph: Graph = build_graph(parse(case.document, TRAITS), TRAITS)
        self.random = Random(seed)
        self.now = START
        self.execution_id = EXECUTION
        self.stream: list[Event] = []
        self.runs: list[Run] = []
        self.deferred: tuple[BlockPath, ...] = ()
        self.completions: list[tuple[str, int]] = []
        self._ids = count(1)
        created = admit(self.graph.document, 1, "sha256:x", Request(input=given), START)
        self._write([created], PERSON)
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
        self.runs, self.deferred = [], ()
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
        block = self.state.blocks[run.path]
        if {run.path, self.graph.node(run.path).path} & self.case.fails and block.retries < self.case.failures:
            error = BlockError(type="broken", message="as told")
            result = BlockFailed(path=run.path, attempt=run.attempt, error=error, **own)  # pyright: ignore[reportArgumentType]
        else:
            outputs: Json = {"of": run.path}
            if self.is_telling:
                outputs["n"] = crc32(msgspec.json.encode(run.inputs, order="sorted")) % 3
            result = BlockCompleted(path=run.path, attempt=run.attempt, outputs=outputs, **own)  # pyright: ignore[reportArgumentType]
        self.completions.append((run.path, run.attempt))
        self._append([finish(self.graph, self.state, self._moment(), result)])
        self._step([run.path])

    def _end(self, path: BlockPath) -> None:
        """What a runner does with a block in flight that is to be ended."""
        error = BlockError(type="cancelled", message="ended")
        for run in [run for run in self.runs if run.path == path]:
            self.runs.remove(run)
            result = BlockFailed(path=run.path, attempt=run.attempt, error=error)
            self._append([finish(self.graph, self.state, self._moment(), result)])
            self._step([path])

    def _answer_one(self) -> None:
        pause = self.random.choice(self.state.open_pauses())
        resolved = PauseResolved(pause_id=pause.pause_id, path=pause.path, resolution="answered", answer={"ok": True})
        evolve(self.state, resolved, self.state.version + 1, self.now, PERSON)
        self._write([resolved], PERSON)
        self._step(None)

    def _claim(self, claim: EventData) -> None:
        evolve(self.state, claim, self.state.version + 1, self.now, ACTOR)
        self._write([claim], ACTOR)

    def _step(self, settled: list[BlockPath] | None) -> None:
        step = advance(self.graph, self.state, self._moment(), settled, self.deferred)
        self.deferred = step.deferred
        self._append(step.events)
        self.runs.extend(step.runs)
        for path in step.cancelled:
            self._end(path)
        if step.is_cut_off:
            in_flight = self.runs
            self.state = self._folded()
            for run in in_flight:
                if not run.effects:
                    mark_running(
                        self.state, BlockStarted(path=run.path, attempt=run.attempt, inputs=run.inputs), run.started_at
                    )
            self._step(None)

    def _append(self, facts: list[EventData]) -> None:
        self._write(facts, ACTOR)

    def _write(self, facts: list[EventData], actor: Actor) -> None:
        for fact in facts:
            self.stream.append(recorded(fact, len(self.stream) + 1, self.now, actor, self.execution_id))

    def _moment(self) -> Moment:
        return Moment(at=self.now, actor=ACTOR, new_id=lambda: f"00000000-0000-7000-8000-{next(self._ids):012d}")

    def _folded(self) -> ExecutionState:
        state = fold(self.hydrated())
        assert state is not None
        return state

    def hydrated(self) -> list[Event]:
        """The stream, with what it has taken over filled in, as the log does."""
        return [replace(event, data=self._filled(event.data)) for event in self.stream]

    def _filled(self, data: EventData) -> EventData:
        if not isinstance(data, BlockReused | IterationReused | ContainerReused):
            return data
        original = self.others[data.reference.execution_id][data.reference.version - 1].data
        match data, original:
            case BlockReused(), BlockCompleted() | BlockOverridden():
                return replace(data, outputs=original.outputs)
            case IterationReused(), IterationCompleted():
                return replace(data, outputs=original.outputs, error=original.error)
            case ContainerReused(), BlockStarted():
                return replace(data, container=original.container, inputs=original.inputs)
            case _:
                raise AssertionError(f"{data} refers to {original}")

    def history(self) -> History:
        """Everything that has happened, for a rerun."""
        history = History()
        history.add_all(self.hydrated())
        return history

    def rerun(
        self, order: RerunOrder, document: dict[str, Json] | None = None, seed: int = 0, fork: str = "f"
    ) -> "tuple[Plan, World]":
        """The plan, and the fork as it is before anything has run."""
        case = replace(self.case, document=document or self.case.document)
        made = World.__new__(World)
        made.__dict__.update(World(case, seed, order.input, self.is_telling).__dict__)
        before = None if document is None else self.graph.document.blocks
        history = self.history()
        plan = plan_rerun(made.graph, history, order, before)
        made.execution_id = ExecutionId(fork)
        made.others = {**self.others, self.execution_id: self.stream, made.execution_id: made.stream}
        created = made.stream[0].data
        assert isinstance(created, ExecutionCreated)
        made.stream.clear()
        made.completions = []
        variables = order.variables or self.graph.document.variables
        created = replace(created, cutoff=cutoffs(made.graph, plan, history), variables=variables, input=order.input)
        made._write([created, *fork_facts(made.graph, plan, history, order, self.now)], PERSON)
        made.state = made._folded()
        made._claim(ExecutionStarted(executor="a", epoch=1, command="run"))
        return plan, made


def recorded(
    fact: EventData, version: int, at: datetime = START, actor: Actor = ACTOR, execution_id: ExecutionId = EXECUTION
) -> Event:
    """A fact as the log would give it back: encoded and decoded."""
    envelope = Envelope(
        id=EventId(f"10000000-0000-7000-8000-{version:012d}"),
        type=fact.type_name(),
        schema_version=1,
        tenant=TenantId("acme"),
        stream_id=StreamId(f"execution:{execution_id}"),
        version=version,
        recorded_at=at,
        actor=actor,
        workflow_id=WorkflowId("random"),
        execution_id=execution_id,
    )
    return Event(envelope=envelope, data=decode_data(encode_data(fact)), position=version)


def outcome(state: ExecutionState) -> object:
    """What an execution came to, without when and in which order."""
    blocks = {path: (block.status, _timeless(block.outputs), block.decision) for path, block in state.blocks.items()}
    return state.status, _timeless(state.output), dict(sorted(blocks.items()))


def _timeless(value: Json) -> Json:
    match value:
        case dict():
            return {name: _timeless(item) for name, item in value.items() if name not in ("decided_at", "until")}  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [_timeless(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


__all__ = ["ACTOR", "START", "TRAITS", "Case", "ExecutionStatus", "World", "cases", "outcome", "recorded", "release"]
