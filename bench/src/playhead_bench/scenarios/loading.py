"""How long it takes to have the state of a long execution: from its snapshots, and from all of its events."""

from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter

from playhead_bench.rig import Rig, rig
from playhead_bench.table import Figure
from playhead_contracts.events import Json
from playhead_contracts.ids import StreamId, execution_stream
from playhead_engine.folding import EXECUTIONS, fold
from playhead_engine.state import ExecutionState

EVENTS = 100_000
LOADS = 20
GOAL_MS = 50


async def measure_load(runs: int) -> list[Figure]:
    """One execution of 100,000 events, a loop: its state at the head and in the middle."""
    async with rig() as system:
        stream = await _long_execution(system)
        head = (await system.log.heads(stream))[stream].version
        middle = head // 2
        rows = [("at the head", head, GOAL_MS), ("in the middle", middle, None)]
        figures: list[Figure] = []
        for where, version, goal in rows:
            kept = [await _p50_ms(lambda v=version: _from_snapshot(system, stream, v), LOADS) for _ in range(runs)]
            cold = [await _p50_ms(lambda v=version: _from_events(system, stream, v), 1) for _ in range(min(runs, 3))]
            note = f"version {version:,} of {head:,}"
            name = f"state {where}, p50"
            figures.append(Figure(f"{name}, snapshot and tail", "ms", tuple(kept), goal, False, note))
            figures.append(Figure(f"{name}, folded cold", "ms", tuple(cold), None, False, note))
    return figures


async def _long_execution(system: Rig) -> StreamId:
    body: dict[str, Json] = {"step": {"type": "bench-pure", "config": {"n": "{{ loop.index }}"}}}
    # Two facts for each iteration: the block's, and that the iteration is over.
    loop = {"type": "loop", "for": EVENTS // 2, "blocks": body, "result": "{{ blocks.step.n }}"}
    document = {"id": "long", "blocks": {"each": loop}, "output": "{{ size(blocks.each.results) }}"}
    await system.publish(document)
    await system.serve("projector")
    executor = await system.serve("executor")
    position = await system.log.last_position()
    [created] = await system.create(document, 1)
    await system.command([created])
    await system.completed(1, position)
    await system.caught_up()
    await system.stop(executor)
    return execution_stream(created.execution_id)


async def _p50_ms(load: Callable[[], Awaitable[ExecutionState]], times: int) -> float:
    took: list[float] = []
    for _ in range(times):
        began = perf_counter()
        await load()
        took.append(1000 * (perf_counter() - began))
    return median(took)


async def _from_snapshot(system: Rig, stream: StreamId, version: int) -> ExecutionState:
    state, _ = await system.log.fold(stream, EXECUTIONS, version)
    assert state is not None
    assert state.version == version
    return state


async def _from_events(system: Rig, stream: StreamId, version: int) -> ExecutionState:
    events, _ = await system.log.load(stream, version)
    state = fold(events)
    assert state is not None
    assert state.version == version
    return state
