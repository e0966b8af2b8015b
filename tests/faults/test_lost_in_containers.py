"""Executors killed with SIGKILL in the middle of loops, branches and retries."""

import asyncio
from pathlib import Path

import pytest

from playhead_contracts.events import (
    BlockCompleted,
    BlockRetryScheduled,
    BlockStepCompleted,
    ChildEnded,
    IterationCompleted,
)
from playhead_contracts.ids import ExecutionId
from playhead_engine.traits import BlockTraits
from playhead_runtime.extensions import custom_block_types
from tests.outside import OutsideServer
from tests.processes import Processes
from tests.system import System, block, eventually


async def completions(client: System, execution_id: ExecutionId) -> list[str]:
    return [e.data.path for e in await client.events(execution_id) if isinstance(e.data, BlockCompleted)]


async def asked(server: OutsideServer, count: int) -> None:
    """Wait until so many requests have come."""

    async def look() -> bool:
        return len(server.requests) >= count

    await eventually(look)


async def test_a_loop_goes_on_in_the_iteration_in_which_its_executor_was_lost(
    client: System, services: Processes
) -> None:
    document = """
id: looping
blocks:
  each:
    type: loop
    for: 4
    blocks:
      call: {type: http, url: "{{ input.url }}/{{ loop.index }}", next: after}
      after: {type: function, inputs: {n: "{{ blocks.call.body.n }}"}, code: "inputs['n'] * 10"}
    result: "{{ blocks.after.result }}"
"""
    await client.publish(document)
    async with OutsideServer() as server:
        for index in range(4):
            if index == 2:
                server.respond(f"/{index}", 200, {"n": index}, until=asyncio.Event())
            server.respond(f"/{index}", 200, {"n": index})
        first = await services.start("executor", lease_seconds=1)
        execution_id = await client.start(document, {"url": server.url})
        await asked(server, 3)
        await first.kill()
        await services.start("executor", lease_seconds=1)
        state = await client.ended(execution_id)
        assert [request.path for request in server.requests] == ["/0", "/1", "/2", "/2", "/3"]
        keys = [request.headers["idempotency-key"] for request in server.requests]
        assert len(set(keys)) == 4, "each iteration has a key of its own, and keeps it"
    assert block(state, "each").outputs == {"results": [0, 10, 20, 30], "iterations": 4}
    done = await completions(client, execution_id)
    assert len(done) == len(set(done)) == 9
    iterations = [e.data.index for e in await client.events(execution_id) if isinstance(e.data, IterationCompleted)]
    assert iterations == [0, 1, 2, 3]


async def test_branches_that_were_done_do_not_run_again(client: System, services: Processes) -> None:
    document = """
id: branching
blocks:
  fan:
    type: parallel
    count: 6
    max_concurrency: 3
    blocks: {call: {type: http, url: "{{ input.url }}/{{ parallel.index }}"}}
output: "{{ blocks.fan.results.map(r, r.body.n) }}"
"""
    await client.publish(document)
    async with OutsideServer() as server:
        for index in range(6):
            if index in (1, 4):
                server.respond(f"/{index}", 200, {"n": index}, until=asyncio.Event())
            server.respond(f"/{index}", 200, {"n": index})
        first = await services.start("executor", lease_seconds=1)
        execution_id = await client.start(document, {"url": server.url})
        # Branches 1 and 4 hang; the others are done when the last of them is in the log.
        await client.when(execution_id, lambda state: "fan[5]/call" in state.blocks and len(state.running) == 2)
        await first.kill()
        await services.start("executor", lease_seconds=1)
        state = await client.ended(execution_id)
        paths = sorted(request.path for request in server.requests)
    assert state.output == [0, 1, 2, 3, 4, 5]
    assert paths == ["/0", "/1", "/1", "/2", "/3", "/4", "/4", "/5"]


async def test_a_retry_comes_in_its_time_though_nobody_lived_in_between(client: System, services: Processes) -> None:
    document = """
id: retrying
blocks:
  call:
    type: http
    url: "{{ input.url }}/busy"
    retry: {attempts: 3, backoff: 1s, strategy: constant, jitter: 0}
"""
    await client.publish(document)
    async with OutsideServer() as server:
        server.respond("/busy", 503)
        server.respond("/busy", 200, {"done": True})
        first = await services.start("executor", lease_seconds=1)
        execution_id = await client.start(document, {"url": server.url})
        await client.when(execution_id, lambda state: any(b.status == "retrying" for b in state.blocks.values()))
        await first.kill()
        await services.start("executor", lease_seconds=1)
        state = await client.ended(execution_id)
        assert len(server.requests) == 2
    [scheduled] = [e.data for e in await client.events(execution_id) if isinstance(e.data, BlockRetryScheduled)]
    again = block(state, "call")
    assert again.started_at is not None
    assert again.started_at >= scheduled.due_at
    assert (again.status, again.attempt, again.retries) == ("completed", 2, 1)


async def test_a_durable_step_that_was_finished_does_not_run_again(client: System, services: Processes) -> None:
    kinds = {
        kind: BlockTraits(effects=found.effects, config_schema=found.config_schema)
        for kind, found in custom_block_types().items()
    }
    document = (Path(__file__).parents[2] / "examples" / "blocks-python" / "ship-order.yaml").read_text()
    await client.publish(document, kinds)
    async with OutsideServer() as server:
        server.respond("/reserve", 200, {"id": "r-1"})
        server.respond("/ship", 200, {}, until=asyncio.Event())
        server.respond("/ship", 200, {"tracking": "t-1"})
        first = await services.start("executor", lease_seconds=1)
        given = {"warehouse": server.url, "order": "o-1", "items": ["book"]}
        execution_id = await client.start(document, given, custom=kinds)
        await asked(server, 2)
        await first.kill()
        await services.start("executor", lease_seconds=1)
        state = await client.ended(execution_id)
        asked_for = [(request.path, request.headers["idempotency-key"]) for request in server.requests]
    assert state.output == {"tracking": "t-1"}
    assert [path for path, _ in asked_for] == ["/reserve", "/ship", "/ship"]
    assert asked_for[1] == asked_for[2], "the step in flight runs again, with the same key"
    steps = [e.data.name for e in await client.events(execution_id) if isinstance(e.data, BlockStepCompleted)]
    assert steps == ["reserve", "ship"]


@pytest.mark.parametrize("doomed", ["executor", "projector"])
async def test_a_child_and_its_parent_survive_whoever_is_lost(client: System, services: Processes, doomed: str) -> None:
    child = 'id: child\nblocks: {call: {type: http, url: "{{ input }}/child"}}\noutput: "{{ blocks.call.body.n }}"'
    parent = """
id: parent
blocks:
  before: {type: http, url: "{{ input.url }}/before", next: call}
  call: {type: workflow, workflow: child, input: "{{ input.url }}", next: after}
  after: {type: http, url: "{{ input.url }}/after"}
output: "{{ blocks.call.output }}"
"""
    await client.publish(child)
    await client.publish(parent)
    async with OutsideServer() as server:
        server.respond("/before", 200, {})
        server.respond("/after", 200, {})
        answered = asyncio.Event()
        if doomed == "executor":
            server.respond("/child", 200, {}, until=asyncio.Event())
            server.respond("/child", 200, {"n": 7})
        else:
            server.respond("/child", 200, {"n": 7}, until=answered)
        running = {name: await services.start(name, lease_seconds=1) for name in ("executor", "projector")}
        execution_id = await client.start(parent, {"url": server.url})
        await asked(server, 2)
        await running[doomed].kill()
        answered.set()
        await services.start(doomed, lease_seconds=1)
        state = await client.ended(execution_id)
        paths = [request.path for request in server.requests]
    assert (state.status, state.output) == ("completed", 7)
    assert paths == ["/before", *["/child"] * (2 if doomed == "executor" else 1), "/after"]
    ended = [e for e in await client.events(execution_id) if isinstance(e.data, ChildEnded)]
    assert len(ended) == 1
