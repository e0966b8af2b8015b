"""What one caller waits for, over HTTP, with everything running on the machine."""

from playhead_bench.rig import chain, rig
from playhead_bench.table import Figure, percentile_99
from playhead_contracts.events import Json

CALLS = 300

PAUSING: dict[str, Json] = {
    "id": "pausing",
    "blocks": {
        "ask": {"type": "human", "message": "?", "next": "after"},
        "after": {"type": "bench-pure", "config": {"n": "{{ blocks.ask.answer.n }}"}},
    },
    "output": {"n": "{{ blocks.after.n }}"},
}


async def measure_latency(runs: int) -> list[Figure]:
    """One execution at a time, started with mode sync: a block without effects, one with, and one in the sandbox."""
    documents = {"pure": chain(1, "bench-pure"), "a barrier": chain(1, "bench-barrier"), "function": _FUNCTION}
    figures: list[Figure] = []
    async with rig() as system:
        client = await system.serve_all()
        for name, document in documents.items():
            client.post("/v1/workflows", document, 201)
            path = f"/v1/workflows/{document['id']}/executions"
            medians: list[float] = []
            worst: list[float] = []
            for _ in range(runs):
                times = sorted(client.post(path, {"input": {"n": 1}}, 200)[1] for _ in range(CALLS))[:]
                medians.append(times[CALLS // 2])
                worst.append(percentile_99(times))
            figures.append(_figure(f"latency, one block ({name}), HTTP sync, p50", medians, worst, 5.0))
    return figures


async def measure_resume(runs: int) -> list[Figure]:
    """From sending the answer to a pause to having the final result."""
    medians: list[float] = []
    worst: list[float] = []
    async with rig() as system:
        client = await system.serve_all()
        client.post("/v1/workflows", PAUSING, 201)
        for _ in range(runs):
            times: list[float] = []
            for _ in range(CALLS):
                paused, _ms = client.post("/v1/workflows/pausing/executions", {}, 200)
                path = f"/v1/executions/{paused['execution_id']}/pauses/{paused['pauses'][0]['pause_id']}/resume"
                answer, took_ms = client.post(path, {"input": {"n": 1}}, 200)
                assert answer["output"] == {"n": 2}
                times.append(took_ms)
            medians.append(sorted(times)[CALLS // 2])
            worst.append(percentile_99(times))
    return [_figure("resume to final result, HTTP sync, p50", medians, worst, 6.0)]


async def measure_rerun(runs: int) -> list[Figure]:
    """Run from block 5 of a 10-block chain, a barrier at each, to completion."""
    document = chain(10, "bench-barrier")
    medians: list[float] = []
    worst: list[float] = []
    async with rig() as system:
        client = await system.serve_all()
        client.post("/v1/workflows", document, 201)
        source, _ms = client.post(f"/v1/workflows/{document['id']}/executions", {"input": {"n": 0}}, 200)
        path = f"/v1/executions/{source['execution_id']}/rerun"
        for _ in range(runs):
            times: list[float] = []
            for _ in range(CALLS // 3):
                answer, took_ms = client.post(path, {"from_block": "b4", "mode": "sync"}, 200)
                assert answer["output"] == {"n": 10}
                times.append(took_ms)
            medians.append(sorted(times)[len(times) // 2])
            worst.append(percentile_99(times))
    return [_figure("rerun from block 5 of 10, HTTP sync, p50", medians, worst, 10.0)]


_FUNCTION: dict[str, Json] = {
    "id": "function",
    "blocks": {"add": {"type": "function", "code": "inputs['n'] + 1", "inputs": {"n": "{{ input.n }}"}}},
}


def _figure(name: str, medians: list[float], worst: list[float], goal: float) -> Figure:
    note = f"p99 {sorted(worst)[len(worst) // 2]:.1f} ms"
    return Figure(name, "ms", tuple(medians), goal, higher_is_better=False, note=note)
