"""Tasks for remote workers: the example worker in Node.js, run for real, and what it is told."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk, Run, Task, TaskResult, TaskResultReply
from playhead_contracts.events import BlockDispatched, BlockError, TaskAnswered
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_runtime.ids import new_id
from playhead_runtime.provision import provision
from tests.conftest import Database
from tests.derived import caught_up
from tests.node import installed, node
from tests.outside import OutsideServer
from tests.system import TENANT, System, block, eventually, projector

EXAMPLE = Path(__file__).parents[2] / "examples" / "worker-node"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WORD_COUNT = (EXAMPLE / "word-count.yaml").read_text()
ASKING = """
id: asking
blocks:
  ask: {type: task, task: by-hand, inputs: {n: "{{ input.n }}"}, retry: {attempts: 2, backoff: 10ms}, next: after}
  after: {type: function, inputs: {n: "{{ blocks.ask.n }}"}, code: "inputs['n'] + 1"}
"""


@pytest.fixture(scope="module")
def worker_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(EXAMPLE, tmp_path_factory.mktemp("node")) / "worker.mjs"


@asynccontextmanager
async def worker(program: Path, nats_url: str, name: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    async with node(program, PLAYHEAD_NATS_URL=nats_url, WORKER_NAME=name, LEASE_SECONDS="1") as process:
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline()
        yield process


async def dispatched(system: System, execution_id: ExecutionId, attempt: int = 1) -> BlockDispatched:
    """The task, once it is given out."""

    async def look() -> BlockDispatched | None:
        facts = [event.data for event in await system.events(execution_id)]
        return next((f for f in facts if isinstance(f, BlockDispatched) and f.attempt == attempt), None)

    return await eventually(look)


async def say(system: System, task: BlockDispatched, execution_id: ExecutionId, **result: object) -> TaskResultReply:
    """Send a result as any NATS client would, and wait for the reply."""
    inbox = f"_INBOX.{new_id()}"
    replies = await system.bus.subscribe(inbox)
    command = TaskResult(
        id=new_id(),
        tenant=TENANT,
        execution_id=execution_id,
        path=BlockPath(task.path),
        task_id=task.task_id,
        reply_to=inbox,
        **result,  # pyright: ignore[reportArgumentType]
    )
    await system.bus.send(subjects.command(TENANT, "task_result"), msgspec.json.encode(command), command.id)
    async with asyncio.timeout(60):
        async for message in replies:
            return msgspec.json.decode(message.data, type=TaskResultReply)
    raise AssertionError("no reply")


async def test_a_worker_in_node_does_a_task_streams_chunks_and_is_heard_once(
    system: System, nats_url: str, worker_program: Path
) -> None:
    await system.publish(WORD_COUNT)
    async with OutsideServer() as server, worker(worker_program, nats_url, "one"):
        page_is_asked_for = asyncio.Event()
        server.respond("/page", 200, "word " * 250, until=page_is_asked_for)
        execution_id = await system.start(WORD_COUNT, {"url": f"{server.url}/page"}, send=False)
        live = await system.live(execution_id)
        run = Run(id=f"run:{execution_id}", tenant=TENANT, execution_id=execution_id, traceparent=TRACE)
        await system.bus.send(subjects.execution_command(TENANT, "run"), msgspec.json.encode(run), run.id)
        page_is_asked_for.set()
        state = await system.ended(execution_id)
    assert server.requests[0].headers["traceparent"] == TRACE, "the worker passes on the trace that it works for"
    assert {event.envelope.traceparent for event in (await system.events(execution_id))[1:]} == {TRACE}
    assert state.output == {"words": 250}
    assert block(state, "count").outputs == {"words": 250, "by": "one"}
    chunks: list[Chunk] = []
    async with asyncio.timeout(60):
        async for message in live:
            chunks += [
                msgspec.json.decode(frame, type=Chunk)
                for frame in message.data.split(b"\n")
                if b'"chunk":true' in frame
            ]
            if len(chunks) == 2:
                break
    assert [(chunk.path, chunk.index, chunk.content) for chunk in chunks] == [
        ("count", 0, {"counted": 100}),
        ("count", 1, {"counted": 200}),
    ]


async def test_the_task_of_a_worker_that_was_killed_goes_to_another(
    system: System, nats_url: str, worker_program: Path
) -> None:
    await system.publish(WORD_COUNT)
    async with OutsideServer() as server:
        server.respond("/page", 200, "a b c", until=asyncio.Event())
        server.respond("/page", 200, "a b c")
        async with worker(worker_program, nats_url, "doomed") as doomed:
            execution_id = await system.start(WORD_COUNT, {"url": f"{server.url}/page"})

            async def at_work() -> bool:
                return bool(server.requests)

            await eventually(at_work)
            doomed.kill()
            await doomed.wait()
        async with worker(worker_program, nats_url, "heir"):
            state = await system.ended(execution_id)
        keys = {request.headers["idempotency-key"] for request in server.requests}
    assert block(state, "count").outputs == {"words": 3, "by": "heir"}
    assert len(server.requests) == 2
    assert len(keys) == 1, "the outside can tell that it is the same piece of work"
    answered = [e for e in await system.events(execution_id) if isinstance(e.data, TaskAnswered)]
    assert len(answered) == 1


async def test_while_a_worker_has_it_the_execution_is_held_by_nobody(system: System) -> None:
    await system.publish(ASKING)
    execution_id = await system.start(ASKING, {"n": 1})
    task = await dispatched(system, execution_id)
    state = await system.paused(execution_id)
    assert (state.owner, block(state, "ask").status) == (None, "dispatched")
    assert (await say(system, task, execution_id, outputs={"n": 5}, worker="w")).accepted
    state = await system.ended(execution_id)
    assert block(state, "after").outputs == {"result": 6}


async def test_the_task_on_the_bus_has_everything_that_a_worker_needs(system: System) -> None:
    await system.publish(ASKING)
    execution_id = await system.start(ASKING, {"n": 1})
    fact = await dispatched(system, execution_id)

    async def on_the_bus() -> bytes | None:
        # The task follows its fact, which is in the log first.
        answer = await system.bus.api("STREAM.MSG.GET.PLAYHEAD_TASKS", b'{"last_by_subj":"playhead.task.acme.by-hand"}')
        message = msgspec.json.decode(answer).get("message")
        return None if message is None else msgspec.convert(message["data"], bytes)

    task = msgspec.json.decode(await eventually(on_the_bus), type=Task)
    assert (task.task_id, task.execution_id, task.path, task.attempt) == (fact.task_id, execution_id, "ask", 1)
    assert (task.inputs, task.task, task.deadline) == ({"n": 1}, "by-hand", fact.deadline)
    await system.cancel(execution_id)
    await system.ended(execution_id)


async def test_a_second_a_late_and_a_foreign_result_are_refused_and_told_why(system: System) -> None:
    await system.publish(ASKING)
    execution_id, other_id = await system.start(ASKING, {"n": 1}), await system.start(ASKING, {"n": 2})
    task, other = await dispatched(system, execution_id), await dispatched(system, other_id)
    foreign = await say(system, other, execution_id, outputs={"n": 5})
    assert (foreign.accepted, "at another attempt" in (foreign.reason or "")) == (False, True)
    error = BlockError(type="busy", message="not now", retryable=True)
    assert (await say(system, task, execution_id, error=error)).accepted
    again = await dispatched(system, execution_id, attempt=2)
    late = await say(system, task, execution_id, outputs={"n": 5})
    assert (late.accepted, "at another attempt" in (late.reason or "")) == (False, True)
    assert (await say(system, again, execution_id, outputs={"n": 7})).accepted
    await system.ended(execution_id)
    assert (await say(system, again, execution_id, outputs={"n": 7})).accepted, "the very same result does no harm"
    different = await say(system, again, execution_id, outputs={"n": 8})
    assert (different.accepted, "was answered before" in (different.reason or "")) == (False, True)
    assert block(await system.state(execution_id), "ask").outputs == {"n": 7}
    await system.cancel(other_id)
    await system.ended(other_id)


async def test_a_task_that_nobody_takes_in_time_fails_as_a_timeout(system: System) -> None:
    document = "id: alone\nblocks: {ask: {type: task, task: nobody-there, timeout: 300ms}}"
    await system.publish(document)
    state = await system.ended(await system.start(document))
    assert state.error is not None
    assert state.error.type == "timeout"


async def test_tasks_that_were_lost_with_their_stream_are_given_out_again(
    system: System, database: Database, nats_url: str
) -> None:
    await system.publish(ASKING)
    async with projector(database.service_url, nats_url):
        execution_id = await system.start(ASKING, {"n": 1})
        task = await dispatched(system, execution_id)
        await caught_up(system.log, database)
        await system.bus.api(f"STREAM.DELETE.{subjects.TASKS_STREAM}", b"")
        await provision(system.bus)

        async def given_out_again() -> bool:
            info = msgspec.json.decode(await system.bus.api(f"STREAM.INFO.{subjects.TASKS_STREAM}", b""))
            return bool(info["state"]["messages"])

        await eventually(given_out_again)
    assert (await say(system, task, execution_id, outputs={"n": 5})).accepted
    assert (await system.ended(execution_id)).status == "completed"
