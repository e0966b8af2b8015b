"""Blocks a second, and one long row of them."""

from time import perf_counter

from playhead_bench.rig import Rig, chain, rig
from playhead_bench.scenarios.log import append_limit
from playhead_bench.table import Figure
from playhead_contracts.events import Json

EXECUTIONS = 1000
IN_FLIGHT = 100


async def measure_chain10(runs: int, pure: bool) -> list[Figure]:
    """10-block chains, 100 executions in flight, one executor; the log alone, then with read models and bus copy."""
    kind = "pure" if pure else "barrier"
    goal_log, goal_all = (10_000, None) if pure else (4_500, 3_000)
    async with rig() as bare:
        limit = await append_limit(bare)
    async with rig() as system:
        await system.serve("executor", max_executions=IN_FLIGHT)
        document = chain(10, f"bench-{kind}")
        to_log = [(await blocks_per_second(system, document, caught_up=False)) for _ in range(runs)]
        await system.serve("projector")
        await system.caught_up()
        to_all = [(await blocks_per_second(system, document, caught_up=True)) for _ in range(runs)]
    note = f"raw append in this run: {limit:,.0f} events/s"
    return [
        Figure(f"chain10 {kind}, into the log", "blocks/s", tuple(to_log), goal_log, note=note),
        Figure(f"chain10 {kind}, all caught up", "blocks/s", tuple(to_all), goal_all, note="read models and bus copy"),
    ]


async def measure_sequence(runs: int) -> list[Figure]:
    """One execution of 400 blocks in a row, a barrier at each."""
    document = chain(400, "bench-barrier")
    async with rig() as system:
        await system.publish(document)
        await system.serve("executor")
        await system.warm_up(document, {"n": 0})
        seconds: list[float] = []
        for _ in range(runs):
            [created] = await system.create(document, 1, {"n": 0})
            position = await system.log.last_position()
            began = perf_counter()
            await system.command([created])
            seconds.append(await system.completed(1, position) - began)
    return [Figure("sequence of 400, a barrier at each", "s", tuple(seconds), 0.45, higher_is_better=False)]


async def blocks_per_second(system: Rig, document: dict[str, Json], caught_up: bool) -> float:
    """Of chains of 10 blocks, from the first command to the end of the last execution."""
    if not await system.is_published(document):
        await system.publish(document)
    await system.warm_up(document, {"n": 0})
    executions = await system.create(document, EXECUTIONS, {"n": 0})
    if caught_up:
        await system.caught_up()
    position = await system.log.last_position()
    began = perf_counter()
    await system.command(executions)
    ended = await system.completed(EXECUTIONS, position)
    if caught_up:
        ended = await system.caught_up()
    return EXECUTIONS * 10 / (ended - began)
