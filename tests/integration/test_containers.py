"""Loops, parallels, retries, deadlines and limits at a real executor."""

from playhead_contracts.events import BlockRetryScheduled, BlockStarted, ExecutionPaused, IterationCompleted
from playhead_engine.state import KEPT_INSTANCES
from tests.outside import OutsideServer
from tests.system import System, block

NESTED = """
id: nested
variables: {total: 0}
blocks:
  each:
    type: loop
    for_each: input.rows
    blocks:
      cells:
        type: parallel
        collection: "{{ loop.item }}"
        max_concurrency: 2
        blocks:
          square:
            type: function
            inputs: {x: "{{ parallel.item }}", row: "{{ blocks.each.index }}"}
            code: "inputs['row'] * 100 + inputs['x'] ** 2"
        result: "{{ blocks.square.result }}"
        next: sum
      sum: {type: variables, set: {total: "{{ vars.total + size(blocks.cells.results) }}"}}
    result: "{{ blocks.cells.results }}"
    next: done
  done: {type: response, body: {cells: "{{ blocks.each.results }}", total: "{{ vars.total }}"}}
"""


async def test_a_parallel_in_a_loop_gives_its_results_in_order(system: System) -> None:
    await system.publish(NESTED)
    state = await system.ended(await system.start(NESTED, {"rows": [[1, 2, 3], [], [4]]}))
    assert state.error is None
    assert state.output == {"cells": [[1, 4, 9], [], [216]], "total": 4}
    assert block(state, "each[2]/cells[0]/square").outputs == {"result": 216}


async def test_a_missing_collection_is_a_failure_that_names_it(system: System) -> None:
    document = 'id: w\nblocks: {each: {type: loop, for_each: input.rows, blocks: {a: {type: function, code: "1"}}}}'
    await system.publish(document)
    missing = await system.ended(await system.start(document, {}))
    assert missing.error is not None
    assert (missing.error.type, missing.failed_block) == ("expression_failed", "each")
    wrong = await system.ended(await system.start(document, {"rows": 5}))
    assert wrong.error is not None
    assert wrong.error.type == "collection_invalid"


async def test_a_retry_is_a_durable_timer_and_heeds_retry_after(system: System) -> None:
    document = """
id: retried
blocks:
  call: {type: http, url: "{{ input.url }}/busy", retry: {attempts: 3, backoff: 10ms}}
"""
    await system.publish(document)
    async with OutsideServer() as server:
        server.respond("/busy", 503, headers={"Retry-After": "1"})
        server.respond("/busy", 200, {"done": True})
        execution_id = await system.start(document, {"url": server.url})
        state = await system.ended(execution_id)
        keys = {request.headers["idempotency-key"] for request in server.requests}
    events = await system.events(execution_id)
    [scheduled] = [event for event in events if isinstance(event.data, BlockRetryScheduled)]
    assert state.status == "completed"
    assert len(server.requests) == 2
    assert len(keys) == 1, "the outside can tell that it is the same piece of work"
    assert isinstance(scheduled.data, BlockRetryScheduled)
    assert (scheduled.data.due_at - scheduled.recorded_at).total_seconds() >= 1
    assert any(isinstance(event.data, ExecutionPaused) for event in events), "nobody holds it while it waits"


async def test_a_workflow_deadline_ends_what_is_in_flight(system: System) -> None:
    document = 'id: late\ntimeout: 300ms\nblocks: {call: {type: http, url: "{{ input.url }}/slow"}}'
    await system.publish(document)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {}, delay=600)
        state = await system.ended(await system.start(document, {"url": server.url}))
    assert state.status == "timed_out"
    assert block(state, "call").error is not None


async def test_a_container_deadline_is_a_failure_that_can_be_handled(system: System) -> None:
    document = """
id: late
blocks:
  each:
    type: parallel
    count: 3
    timeout: 300ms
    on_error: after
    blocks: {call: {type: http, url: "{{ input.url }}/slow"}}
  after: {type: function, code: "inputs['why']", inputs: {why: "{{ blocks.each.error.type }}"}}
"""
    await system.publish(document)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {}, delay=600)
        state = await system.ended(await system.start(document, {"url": server.url}))
    assert state.status == "completed"
    assert block(state, "after").outputs == {"result": "timeout"}


async def test_at_most_so_many_blocks_are_in_flight_at_once(system: System) -> None:
    document = """
id: narrow
max_concurrency: 2
blocks: {each: {type: parallel, count: 6, blocks: {call: {type: http, url: "{{ input.url }}/x"}}}}
"""
    await system.publish(document)
    async with OutsideServer() as server:
        server.respond("/x", 200, {})
        execution_id = await system.start(document, {"url": server.url})
        state = await system.ended(execution_id)
    in_flight = most = 0
    for event in await system.events(execution_id):
        if isinstance(event.data, BlockStarted) and event.data.container is None:
            in_flight += 1
            most = max(most, in_flight)
        elif event.envelope.type == "block.completed":
            in_flight -= 1
    assert state.status == "completed"
    assert most == 2


async def test_pauses_in_branches_are_answered_one_by_one(system: System) -> None:
    document = """
id: asking
blocks: {each: {type: parallel, collection: ["a", "b"], blocks: {ask: {type: human, message: "{{ parallel.item }}?"}}}}
output: "{{ blocks.each.results.map(r, r.answer.yes) }}"
"""
    await system.publish(document)
    execution_id = await system.start(document)
    state = await system.when(execution_id, lambda state: len(state.open_pauses()) == 2)
    second, first = sorted(state.open_pauses(), key=lambda pause: pause.message, reverse=True)
    await system.answer(execution_id, second.pause_id, {"yes": "b"})
    state = await system.when(execution_id, lambda state: len(state.open_pauses()) == 1 and state.status == "paused")
    [left] = state.open_pauses()
    assert left.path == "each[0]/ask"
    await system.answer(execution_id, first.pause_id, {"yes": "a"})
    assert (await system.ended(execution_id)).output == ["a", "b"]


async def test_a_long_loop_keeps_its_state_small_and_all_its_facts(system: System) -> None:
    document = """
id: long
blocks:
  each: {type: loop, for: 2000, max_iterations: 2000, blocks: {last: {type: variables, set: {n: "{{ loop.index }}"}}}}
output: {n: "{{ vars.n }}", count: "{{ size(blocks.each.results) }}"}
"""
    await system.publish(document)
    execution_id = await system.start(document)
    state = await system.ended(execution_id)
    assert state.error is None
    assert state.output == {"n": 1999, "count": 2000}
    assert len(state.blocks) <= KEPT_INSTANCES + 2
    assert state.forgotten == 2000 - KEPT_INSTANCES
    iterations = [e.data.index for e in await system.events(execution_id) if isinstance(e.data, IterationCompleted)]
    assert iterations == list(range(2000))
