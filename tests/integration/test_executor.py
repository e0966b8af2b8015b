"""The executor with real servers: from a command to the end of the execution."""

import asyncio
import base64
import gc

import msgspec
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import Wake
from playhead_contracts.events import (
    BlockCompleted,
    BlockFailed,
    BlockStarted,
    ExecutionCompleted,
    ExecutionDeadLettered,
    ExecutionPaused,
    ExecutionRecovered,
    ExecutionStarted,
)
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_engine.folding import fold
from playhead_engine.state import BlockStatus, ExecutionState, ExecutionStatus
from playhead_executor import subscribers
from playhead_executor.runner import Runner
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.outside import OutsideServer
from tests.system import TENANT, System, block, eventually, executor, new_event, only_pause

PURE = """
id: pure
blocks:
  double: {type: function, code: "inputs['n'] * 2", inputs: {n: "{{ input.n }}"}, next: gate}
  gate: {type: condition, cases: {big: "blocks.double.result > 10"}, next: {big: large, else: small}}
  large: {type: function, code: "'large'"}
  small: {type: function, code: "'small'"}
output: {n: "{{ blocks.double.result }}", size: "{{ blocks.large.result }}"}
"""

ONE_CALL = """
id: one-call
blocks:
  call: {type: http, url: "{{ input.url }}/slow", next: after}
  after: {type: function, code: "'after'"}
"""

TWO_ARMS = """
id: two-arms
blocks:
  call: {type: http, url: "{{ input.url }}/slow"}
  fail: {type: http, url: "{{ input.url }}/broken"}
  ask: {type: human, message: "?"}
"""

GUARDED = """
id: guarded
blocks:
  call: {type: http, url: "{{ input.url }}/broken", next: fine, on_error: handler}
  fine: {type: function, code: "'fine'"}
  handler: {type: function, code: "inputs['why']", inputs: {why: "{{ blocks.call.error.type }}"}}
"""

WAITING = """
id: waiting
blocks:
  nap: {type: wait, for: "{{ input.nap }}", next: done}
  done: {type: function, code: "'awake'"}
"""

PAUSING = """
id: pausing
blocks:
  ask: {type: human, message: "?", next: after}
  after: {type: function, code: "'after'"}
"""


async def test_a_chain_of_pure_blocks_runs_to_its_output_in_one_append(system: System) -> None:
    await system.publish(PURE)
    execution_id = await system.start(PURE, {"n": 7})
    state = await system.ended(execution_id)
    assert state.status == "completed", state.error
    assert state.output == {"n": 14, "size": "large"}
    assert block(state, "small").status == "skipped"
    events = await system.events(execution_id)
    assert [event.position for event in events[1:]] == list(range(events[1].position, events[-1].position + 1))
    assert not any(isinstance(event.data, BlockStarted) for event in events)


async def test_the_start_of_a_block_with_effects_is_in_the_log_before_it_acts(system: System) -> None:
    await system.publish(ONE_CALL)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {}, delay=30)
        execution_id = await system.start(ONE_CALL, {"url": server.url})

        async def called() -> bool:
            return bool(server.requests)

        await eventually(called)
        assert isinstance((await system.events(execution_id))[-1].data, BlockStarted)
        await system.cancel(execution_id)
        await system.ended(execution_id)


async def test_a_failed_block_with_an_error_edge_activates_that_edge_alone(system: System) -> None:
    await system.publish(GUARDED)
    async with OutsideServer() as server:
        server.respond("/broken", 500)
        state = await system.ended(await system.start(GUARDED, {"url": server.url}))
    assert state.status == "completed"
    assert block(state, "call").status == "failed"
    assert block(state, "fine").status == "skipped"
    assert block(state, "handler").outputs == {"result": "http_status"}


async def test_without_an_error_edge_what_is_in_flight_finishes_and_open_pauses_are_closed(system: System) -> None:
    await system.publish(TWO_ARMS)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {"ok": True}, delay=0.5)
        server.respond("/broken", 500)
        state = await system.ended(await system.start(TWO_ARMS, {"url": server.url}))
    assert state.status == "failed"
    assert state.failed_block == "fail"
    assert block(state, "call").status == "completed"
    [pause] = state.pauses.values()
    assert (pause.status, pause.reason) == ("closed", "fail failed")


async def test_cancelling_stops_a_block_in_flight_and_keeps_what_was_done(system: System) -> None:
    await system.publish(ONE_CALL)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {}, delay=60)
        execution_id = await system.start(ONE_CALL, {"url": server.url})
        await system.when(execution_id, lambda state: bool(state.running))
        await system.cancel(execution_id, "changed my mind")
        state = await system.ended(execution_id, seconds=60)
    assert state.status == "cancelled"
    assert block(state, "call").error is not None
    assert block(state, "after").status == "skipped"


async def test_cancelling_a_paused_execution_closes_its_pauses(system: System) -> None:
    await system.publish(PAUSING)
    execution_id = await system.start(PAUSING)
    await system.paused(execution_id)
    await system.cancel(execution_id)
    state = await system.ended(execution_id)
    assert state.status == "cancelled"
    assert [pause.status for pause in state.pauses.values()] == ["closed"]


@pytest.mark.parametrize("nap", ["100ms", "1s"])
async def test_a_wait_ends_when_it_is_due(system: System, nap: str) -> None:
    await system.publish(WAITING)
    execution_id = await system.start(WAITING, {"nap": nap})
    state = await system.ended(execution_id)
    assert state.status == "completed"
    nap_block = block(state, "nap")
    assert nap_block.ended_at is not None
    assert nap_block.started_at is not None
    assert nap_block.ended_at >= nap_block.started_at
    was_released = any(isinstance(e.data, ExecutionPaused) for e in await system.events(execution_id))
    assert was_released == (nap == "1s")


async def test_a_secret_reaches_the_outside_and_nothing_else(
    database: Database, nats_url: str, client: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYHEAD_SECRET_TOKEN", "s3cr3t-value")
    document = """
id: secretive
blocks:
  call: {type: http, url: "{{ input.url }}/echo", headers: {authorization: "Bearer {{ secrets.TOKEN }}"}}
"""
    await client.publish(document)
    async with OutsideServer() as server, executor(database.service_url, nats_url):
        server.respond("/echo", 200, {"you sent": "Bearer s3cr3t-value"})
        execution_id = await client.start(document, {"url": server.url})
        state = await client.ended(execution_id)
        assert server.requests[0].headers["authorization"] == "Bearer s3cr3t-value"
    assert state.status == "completed"
    assert block(state, "call").outputs["body"] == {"you sent": "Bearer {{ secrets.TOKEN }}"}
    for raw in await client.log.read_log(0, 1000):
        assert b"s3cr3t-value" not in raw.frame()


async def test_a_missing_secret_fails_the_block_and_names_the_secret(system: System) -> None:
    document = """
id: forgetful
blocks:
  call: {type: http, url: "http://127.0.0.1:9/", headers: {authorization: "{{ secrets.NOT_THERE }}"}}
"""
    await system.publish(document)
    state = await system.ended(await system.start(document))
    assert state.error is not None
    assert state.error.type == "secret_missing"
    assert "NOT_THERE" in state.error.message


async def test_a_paused_execution_leaves_nothing_in_memory(system: System) -> None:
    await system.publish(PAUSING)
    executions = [await system.start(PAUSING) for _ in range(50)]
    for execution_id in executions:
        await system.paused(execution_id)

    async def forgotten() -> bool:
        gc.collect()
        return not any(isinstance(held, Runner | ExecutionState) for held in gc.get_objects())

    await eventually(forgotten)


async def test_an_executor_that_was_fenced_records_nothing_more(system: System) -> None:
    await system.publish(ONE_CALL)
    async with OutsideServer() as server:
        fenced = asyncio.Event()
        server.respond("/slow", 200, {"from": "the fenced one"}, until=fenced)
        execution_id = await system.start(ONE_CALL, {"url": server.url})
        state = await system.when(execution_id, lambda state: bool(state.running))
        events, head = await system.log.load(execution_stream(execution_id))
        claim = ExecutionRecovered(
            executor="usurper", epoch=state.epoch + 1, command="other", taken_from=state.owner or ""
        )
        await system.log.append(execution_stream(execution_id), head, [new_event(claim, state)])
        fenced.set()

        async def let_go() -> bool:
            return not any(isinstance(held, Runner) for held in gc.get_objects())

        async def answered() -> bool:
            return server.bytes_sent > 0

        await eventually(answered)
        await eventually(let_go)
        after = await system.events(execution_id)
        assert len(after) == len(events) + 1
        assert after[-1].data == claim


async def test_a_pause_answered_while_another_branch_runs_is_rebased_and_neither_is_lost(system: System) -> None:
    document = """
id: busy
blocks:
  call: {type: http, url: "{{ input.url }}/slow"}
  ask: {type: human, message: "?", next: after}
  after: {type: function, code: "'after'"}
"""
    await system.publish(document)
    async with OutsideServer() as server:
        looked = asyncio.Event()
        server.respond("/slow", 200, {}, until=looked)
        execution_id = await system.start(document, {"url": server.url})
        state = await system.when(execution_id, lambda state: bool(state.pauses) and bool(state.running))
        await system.answer(execution_id, only_pause(state).pause_id, {"yes": True})
        between = await system.when(execution_id, lambda state: "after" in state.blocks)
        assert block(between, "call").status == "running", "the answer was acted on while the call was in flight"
        looked.set()
        state = await system.ended(execution_id)
        assert len(server.requests) == 1
    assert state.status == "completed"
    assert {path: b.status for path, b in state.blocks.items()} == dict.fromkeys(state.blocks, "completed")
    claims = [e for e in await system.events(execution_id) if isinstance(e.data, ExecutionStarted | ExecutionRecovered)]
    assert len(claims) == 1


async def test_hundreds_of_executions_run_at_once_on_one_loop(system: System) -> None:
    document = 'id: many\nblocks: {call: {type: http, url: "{{ input.url }}/slow"}}'
    await system.publish(document)
    async with OutsideServer() as server:
        all_are_there = asyncio.Event()
        server.respond("/slow", 200, {}, until=all_are_there)
        executions = [await system.start(document, {"url": server.url}) for _ in range(300)]

        async def all_at_once() -> bool:
            return server.open_connections >= 300

        await eventually(all_at_once)
        all_are_there.set()
        for execution_id in executions:
            assert (await system.ended(execution_id)).status == "completed"


async def test_stopping_lets_a_block_finish_and_hands_the_execution_to_another_executor(
    database: Database, nats_url: str, client: System
) -> None:
    document = """
id: handover
blocks:
  first: {type: http, url: "{{ input.url }}/slow", next: second}
  second: {type: http, url: "{{ input.url }}/quick"}
"""
    await client.publish(document)
    async with OutsideServer() as server:
        stopping = asyncio.Event()
        server.respond("/slow", 200, {}, until=stopping)
        server.respond("/quick", 200, {})
        async with executor(database.service_url, nats_url, "leaving", stop_grace_seconds=60) as stop:
            execution_id = await client.start(document, {"url": server.url})
            await client.when(execution_id, lambda state: bool(state.running))
            stop.set()

            async def told_to_stop() -> bool:
                return any(isinstance(held, Runner) and held.is_stopping for held in gc.get_objects())

            await eventually(told_to_stop)
            stopping.set()
        state = await client.state(execution_id)
        assert block(state, "first").status == BlockStatus.COMPLETED
        assert "second" not in state.blocks
        async with executor(database.service_url, nats_url, "coming"):
            state = await client.ended(execution_id)
        assert [request.path for request in server.requests] == ["/slow", "/quick"]
    assert state.status == ExecutionStatus.COMPLETED
    assert state.epoch == 2


async def test_a_block_that_does_not_finish_within_the_grace_is_run_again_elsewhere(
    database: Database, nats_url: str, client: System
) -> None:
    await client.publish(ONE_CALL)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {}, delay=60)
        server.respond("/slow", 200, {})
        async with executor(database.service_url, nats_url, stop_grace_seconds=0.2) as stop:
            execution_id = await client.start(ONE_CALL, {"url": server.url})
            await client.when(execution_id, lambda state: bool(state.running))
            stop.set()
        async with executor(database.service_url, nats_url):
            state = await client.ended(execution_id)
        assert len(server.requests) == 2
        keys = {request.headers["idempotency-key"] for request in server.requests}
        assert len(keys) == 1, "the outside can tell that it is the same piece of work"
    assert block(state, "call").attempt == 2


async def test_a_block_that_runs_at_most_once_fails_as_interrupted_after_its_executor_was_lost(
    database: Database, nats_url: str, client: System
) -> None:
    document = 'id: careful\nblocks: {call: {type: http, url: "{{ input.url }}/slow", at_most_once: true}}'
    await client.publish(document)
    async with OutsideServer() as server:
        server.respond("/slow", 200, {}, delay=60)
        async with executor(database.service_url, nats_url, stop_grace_seconds=0.2) as stop:
            execution_id = await client.start(document, {"url": server.url})
            await client.when(execution_id, lambda state: bool(state.running))
            stop.set()
        async with executor(database.service_url, nats_url):
            state = await client.ended(execution_id)
        assert len(server.requests) == 1
    assert state.error is not None
    assert state.error.type == "interrupted"


async def test_two_executors_never_both_work_on_an_execution(database: Database, nats_url: str, client: System) -> None:
    document = 'id: once\nblocks: {call: {type: http, url: "{{ input.url }}/count"}}'
    await client.publish(document)
    async with (
        OutsideServer() as server,
        executor(database.service_url, nats_url, "one"),
        executor(database.service_url, nats_url, "two"),
    ):
        server.respond("/count", 200, {})
        executions = [await client.start(document, {"url": server.url}) for _ in range(50)]
        for execution_id in executions:
            for n in range(5):
                wake = Wake(id=f"wake:{execution_id}:{n}", tenant=TENANT, execution_id=execution_id)
                await client.bus.send(subjects.execution_command(TENANT, "wake"), msgspec.json.encode(wake), wake.id)
        for execution_id in executions:
            await client.ended(execution_id)
            events = await client.events(execution_id)
            assert sum(isinstance(event.data, BlockCompleted) for event in events) == 1
        assert len(server.requests) == 50


async def test_a_command_that_keeps_failing_becomes_a_dead_letter_and_the_execution_says_so(
    database: Database, nats_url: str, client: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "AGAIN_SECONDS", 0.01)
    document = 'id: never-published\nblocks: {a: {type: function, code: "1"}}'
    async with executor(database.service_url, nats_url):
        execution_id = await client.start(document)
        state = await client.when(execution_id, lambda state: state.dead_lettered is not None)
        assert "never-published" in (state.dead_lettered or "")
        assert not state.is_ended
        [letter] = await dead_letters(client, 1)
        assert execution_id.encode() in letter
        last = (await client.events(execution_id))[-1].data
        assert isinstance(last, ExecutionDeadLettered)
        assert last.failures == subscribers.MAX_FAILURES
        await client.publish(document)
        wake = Wake(id=new_id(), tenant=TENANT, execution_id=execution_id)
        await client.bus.send(subjects.execution_command(TENANT, "wake"), msgspec.json.encode(wake), wake.id)
        assert (await client.ended(execution_id)).status == "completed"


async def test_a_message_that_is_no_command_becomes_a_dead_letter_at_once(system: System) -> None:
    await system.bus.send(subjects.execution_command(TENANT, "run"), b"\xff not json", "garbage")
    [letter] = await dead_letters(system, 1)
    assert letter == b"\xff not json"


async def test_a_command_for_nothing_that_exists_is_done(system: System) -> None:
    wake = Wake(id=new_id(), tenant=TENANT, execution_id=ExecutionId(new_id()))
    await system.bus.send(subjects.execution_command(TENANT, "wake"), msgspec.json.encode(wake), wake.id)

    async def empty() -> bool:
        info = msgspec.json.decode(await system.bus.api(f"STREAM.INFO.{subjects.COMMANDS_STREAM}", b""))
        return info["state"]["messages"] == 0

    await eventually(empty)


async def test_a_run_command_that_tells_another_beginning_than_the_log_is_not_believed(system: System) -> None:
    """The bus is open: what a command claims to carry is checked against the log by its hash."""
    await system.publish(PURE)
    execution_id = await system.start(PURE, {"n": 7}, send=False)
    [raw] = await system.log.read_raw(execution_stream(execution_id))
    forged = raw.frame().replace(b'"n":7', b'"n":999')
    assert forged != raw.frame()
    run = {"type": "run", "id": "forged", "tenant": TENANT, "execution_id": execution_id, "created": forged.decode()}
    await system.bus.send(subjects.execution_command(TENANT, "run"), msgspec.json.encode(run), "forged")
    state = await system.ended(execution_id)
    assert state.input == {"n": 7}
    assert state.output["n"] == 14


async def test_an_execution_over_which_executors_keep_getting_lost_is_given_up_with_a_dead_letter(
    database: Database, nats_url: str, client: System
) -> None:
    await client.publish(PURE)
    execution_id = await client.start(PURE, {"n": 1}, send=False)
    state = await client.state(execution_id)
    claims = [ExecutionStarted(executor="e0", epoch=1, command="run")]
    claims += [ExecutionRecovered(executor=f"e{n}", epoch=n + 1, command="run", taken_from="e") for n in range(1, 6)]
    _, head = await client.log.load(execution_stream(execution_id))
    await client.log.append(execution_stream(execution_id), head, [new_event(claim, state) for claim in claims])
    wake = Wake(id="run", tenant=TENANT, execution_id=execution_id)
    await client.bus.send(subjects.execution_command(TENANT, "wake"), msgspec.json.encode(wake), wake.id)
    async with executor(database.service_url, nats_url):
        await client.when(execution_id, lambda state: state.dead_lettered is not None)
        [letter] = await dead_letters(client, 1)
    assert execution_id.encode() in letter


async def test_outputs_larger_together_than_a_message_still_reach_the_log_and_the_end(system: System) -> None:
    many = "".join(f"  b{n}: {{type: function, code: \"'x' * 1000000\"}}\n" for n in range(12))
    document = f"id: large\nblocks:\n{many}output: {{done: true}}"
    await system.publish(document)
    state = await system.ended(await system.start(document))
    assert state.status == "completed", state.error


async def dead_letters(system: System, count: int) -> list[bytes]:
    """The bodies of the first dead letters."""

    async def arrived() -> bool:
        info = msgspec.json.decode(await system.bus.api(f"STREAM.INFO.{subjects.DEAD_LETTERS_STREAM}", b""))
        return info["state"]["messages"] >= count

    await eventually(arrived)
    found: list[bytes] = []
    for sequence in range(1, count + 1):
        request = msgspec.json.encode({"seq": sequence})
        answer = msgspec.json.decode(await system.bus.api(f"STREAM.MSG.GET.{subjects.DEAD_LETTERS_STREAM}", request))
        found.append(base64.b64decode(answer["message"]["data"]))
    return found


async def test_the_log_and_the_worked_on_state_agree(system: System) -> None:
    await system.publish(PURE)
    execution_id = await system.start(PURE, {"n": 1})
    await system.ended(execution_id)
    events = await system.events(execution_id)
    assert isinstance(events[-1].data, ExecutionCompleted)
    for cut in range(1, len(events)):
        assert fold(events[cut:], fold(events[:cut])) == fold(events)
    assert not any(isinstance(event.data, BlockFailed) for event in events)
