"""Wide and long executions: many branches at once, a long row of small computations, a loop of 20,000 iterations."""

from asyncio.subprocess import Process
from pathlib import Path
from time import perf_counter

from playhead_bench.rig import Rig, rig
from playhead_bench.table import Figure
from playhead_contracts.events import Json

BRANCHES = 100
BLOCKS_A_BRANCH = 10
TASKS = 400
ITERATIONS = 20_000

_FIBONACCI = """
def fibo(n):
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)
fibo(10)
"""


async def measure_parallel(runs: int) -> list[Figure]:
    """100 branches of 10 blocks each in one execution, a barrier at every block."""
    blocks: dict[str, Json] = {}
    for index in range(BLOCKS_A_BRANCH):
        before = "{{ parallel.index }}" if index == 0 else "{{ blocks.b%d.n }}" % (index - 1)
        blocks[f"b{index}"] = {"type": "bench-barrier", "config": {"n": before}}
        if index + 1 < BLOCKS_A_BRANCH:
            blocks[f"b{index}"]["next"] = f"b{index + 1}"
    document = {"id": "wide", "blocks": {"fan": {"type": "parallel", "count": BRANCHES, "blocks": blocks}}}
    async with rig() as system:
        await system.publish(document)
        await system.serve("executor")
        await system.warm_up(document)
        values = [BRANCHES * BLOCKS_A_BRANCH / await _seconds(system, document) for _ in range(runs)]
    name = f"parallel, {BRANCHES} branches of {BLOCKS_A_BRANCH}, a barrier at each"
    return [Figure(name, "blocks/s", tuple(values))]


async def measure_fibonacci(runs: int) -> list[Figure]:
    """400 sandboxed functions in a row, each computing fibo(10)."""
    blocks: dict[str, Json] = {}
    for index in range(TASKS):
        blocks[f"b{index}"] = {"type": "function", "code": _FIBONACCI}
        if index + 1 < TASKS:
            blocks[f"b{index}"]["next"] = f"b{index + 1}"
    document = {"id": "fibonacci", "blocks": blocks}
    async with rig() as system:
        await system.publish(document)
        await system.serve("executor")
        await system.warm_up(document)
        values = [await _seconds(system, document) for _ in range(runs)]
    return [Figure(f"sequence of {TASKS} functions, fibo(10)", "s", tuple(values), higher_is_better=False)]


async def measure_loop(runs: int) -> list[Figure]:
    """A loop of 20,000 iterations of one block without effects: facts a second, and what the executor takes."""
    body: dict[str, Json] = {"step": {"type": "bench-pure", "config": {"n": "{{ loop.index }}"}}}
    loop = {"type": "loop", "for": "input.count", "blocks": body, "result": "{{ blocks.step.n }}"}
    document = {"id": "long", "blocks": {"each": loop}, "output": "{{ size(blocks.each.results) }}"}
    async with rig() as system:
        await system.publish(document)
        executor = await system.serve("executor")
        await system.warm_up(document, {"count": 10})
        idle_mib = _peak_mib(executor)
        # Two facts for each iteration: the block's, and that the iteration is over.
        values = [2 * ITERATIONS / await _seconds(system, document, {"count": ITERATIONS}) for _ in range(runs)]
        peak_mib = _peak_mib(executor)
        await system.serve("projector")
        began = perf_counter()
        await system.caught_up()
        caught_up = perf_counter() - began
    note = f"executor's peak {peak_mib:.0f} MiB, {idle_mib:.0f} before; read models of {runs} runs in {caught_up:.1f} s"
    return [Figure(f"loop of {ITERATIONS:,} iterations", "events/s", tuple(values), note=note)]


async def _seconds(system: Rig, document: dict[str, Json], input: Json = None) -> float:
    [created] = await system.create(document, 1, input)
    position = await system.log.last_position()
    began = perf_counter()
    await system.command([created])
    return await system.completed(1, position) - began


def _peak_mib(process: Process) -> float:
    """The most memory that the process has had, as Linux counts it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
