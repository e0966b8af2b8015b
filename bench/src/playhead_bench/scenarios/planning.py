"""Run-from-block: how long a plan takes, and what early cutoff spares."""

import asyncio
from datetime import UTC, datetime
from itertools import count
from time import perf_counter

from playhead_bench.rig import rig
from playhead_bench.table import Figure
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    Envelope,
    Event,
    EventData,
    ExecutionStarted,
    Json,
)
from playhead_contracts.ids import EventId, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_engine.admission import Request, admit
from playhead_engine.documents import parse
from playhead_engine.folding import create, evolve
from playhead_engine.graph import Graph, build_graph
from playhead_engine.rerun import History, RerunOrder, fork_facts, plan_rerun
from playhead_engine.scheduling import Moment, advance, finish
from playhead_engine.traits import BlockTraits

_TRAITS = {"step": BlockTraits(effects=False)}
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_ACTOR = Actor(kind="system", name="bench")
_BLOCKS, _ITERATIONS = 500, 19


async def measure_plan(runs: int) -> list[Figure]:
    """Plans for a workflow of 1,000 blocks that has run 10,000 instances: half of the blocks are in a loop."""
    graph, events = await asyncio.to_thread(_ran)
    history = History()
    history.add_all(events)
    instances = len(history.inside) + len(graph.nodes)
    figures: list[Figure] = []
    for name, target in (("an outermost block", f"b{_BLOCKS // 2}"), ("a block in an iteration", "each[9]/i250")):
        order = RerunOrder(targets=(target,), input={"n": 1}, early_cutoff=True)
        facts = fork_facts(graph, plan_rerun(graph, history, order), history, order, _AT)
        times: list[float] = []
        for _ in range(runs):
            began = perf_counter()
            fork_facts(graph, plan_rerun(graph, history, order), history, order, _AT)
            times.append((perf_counter() - began) * 1000)
        note = f"{len(list(graph.all_nodes()))} blocks, {instances:,} instances, a fork of {len(facts):,} facts"
        figures.append(
            Figure(f"plan of a rerun from {name}", "ms", tuple(times), 50.0, higher_is_better=False, note=note)
        )
    return figures


async def measure_cutoff(runs: int) -> list[Figure]:
    """Blocks that run when the first of ten gives the same again, with early cutoff and without."""
    blocks: dict[str, Json] = {
        f"b{index}": {
            "type": "function",
            "inputs": {"n": "{{ input.n }}" if index == 0 else "{{ blocks.b%d.result }}" % (index - 1)},
            "code": "inputs['n'] % 2" if index == 0 else "inputs['n'] + 1",
            **({"next": f"b{index + 1}"} if index < 9 else {}),
        }
        for index in range(10)
    }
    document: dict[str, Json] = {"id": "cutoff", "blocks": blocks}
    ran: dict[bool, list[float]] = {True: [], False: []}
    async with rig() as system:
        client = await system.serve_all()
        client.post("/v1/workflows", document, 201)
        source, _ms = client.post("/v1/workflows/cutoff/executions", {"input": {"n": 1}}, 200)
        path = f"/v1/executions/{source['execution_id']}/rerun"
        for _ in range(runs):
            for cutoff in (True, False):
                order: Json = {"from_block": "b0", "input": {"n": 3}, "early_cutoff": cutoff}
                fork, _ms = client.post(path, order, 200)
                assert fork["output"] == source["output"]
                ran[cutoff].append(float(fork["metadata"]["blocks"]["run"]))
    return [
        Figure("rerun of 10 blocks, the first gives the same: with early cutoff", "blocks run", tuple(ran[True])),
        Figure("rerun of 10 blocks, the first gives the same: without", "blocks run", tuple(ran[False])),
    ]


def _ran() -> tuple[Graph, list[Event]]:
    """The definition, and the events of an execution of it, without any server."""
    inner: dict[str, Json] = {
        f"i{n}": {"type": "step", "next": [f"i{n + 1}"] if n + 1 < _BLOCKS else []} for n in range(_BLOCKS)
    }
    blocks: dict[str, Json] = {
        f"b{n}": {"type": "step", "next": [f"b{n + 1}"] if n + 2 < _BLOCKS else ["each"]} for n in range(_BLOCKS - 1)
    }
    blocks["each"] = {"type": "loop", "for": _ITERATIONS, "blocks": inner}
    graph = build_graph(parse({"id": "wide", "blocks": blocks}, _TRAITS), _TRAITS)
    created = admit(graph.document, 1, "sha256:bench", Request(input={"n": 1}), _AT)
    events: list[Event] = []
    ids = count(1)

    def record(facts: list[EventData]) -> None:
        for fact in facts:
            events.append(_event(fact, len(events) + 1))

    record([created])
    state = create(events[0])
    started = ExecutionStarted(executor="bench", epoch=1, command="run")
    evolve(state, started, 2, _AT, _ACTOR)
    record([started])
    moment = Moment(at=_AT, actor=_ACTOR, new_id=lambda: str(next(ids)))
    step = advance(graph, state, moment)
    record(step.events)
    runs = list(step.runs)
    while runs:
        run = runs.pop()
        done = BlockCompleted(path=run.path, outputs={"n": 1}, started_at=_AT, inputs=run.inputs)
        record([finish(graph, state, moment, done)])
        step = advance(graph, state, moment, [run.path])
        record(step.events)
        runs += step.runs
    assert state.is_ended
    return graph, events


def _event(fact: EventData, version: int) -> Event:
    execution_id = ExecutionId("00000000-0000-7000-8000-000000000001")
    envelope = Envelope(
        id=EventId(f"10000000-0000-7000-8000-{version:012d}"),
        type=fact.type_name(),
        schema_version=1,
        tenant=TenantId("bench"),
        stream_id=StreamId(f"execution:{execution_id}"),
        version=version,
        recorded_at=_AT,
        actor=_ACTOR,
        workflow_id=WorkflowId("wide"),
        execution_id=execution_id,
    )
    return Event(envelope=envelope, data=fact, position=version)
