"""What streams tell besides the facts, and that everybody is told the same bytes: live, later, and again."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk
from playhead_contracts.events import (
    BlockError,
    BlockFailed,
    BlockStarted,
    EventData,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    PauseExtended,
    PauseRequested,
    PauseResolved,
)
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_eventlog import EventLog, open_log
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.door import ASKING, TENANT, TWO_BLOCKS, Pen, done, gateway, keyed, publish, start_async, started

START = {"input": {"amount": 1}}

FORKING = """
id: forking
blocks:
  a: {type: function, code: "1", display_name: "The first"}
  b: {type: function, code: "2"}
  ask: {type: human, message: "Well?"}
"""


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def pen(log: EventLog, bus: Bus) -> Pen:
    return Pen(log, bus)


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        for document in (TWO_BLOCKS, ASKING, FORKING):
            await publish(client, document)
        yield client


def told(raw: bytes) -> list[str]:
    """The events of a stream in short: a fact as its version, anything else by its name."""
    return [
        fields.get("id") or fields["event"]
        for part in raw.decode().split("\n\n")[:-1]
        if "event" in (fields := dict(line.split(": ", 1) for line in part.split("\n") if not line.startswith(":")))
    ]


def data_of(raw: bytes, event: str) -> list[Any]:
    """The data of all events of a name."""
    parts = [part.split("\n") for part in raw.decode().split("\n\n") if f"event: {event}\n" in part]
    return [msgspec.json.decode(lines[-1].removeprefix("data: ")) for lines in parts]


async def stream(client: httpx.AsyncClient, execution_id: ExecutionId, after: int = 0, *, follow: bool = True) -> bytes:
    """All that a stream says, to its end."""
    query = {"after": str(after), "follow": str(follow).lower()}
    response = await client.get(f"/v1/executions/{execution_id}/stream", params=query)
    assert response.status_code in (200, 204)
    return response.content


async def begun(client: httpx.AsyncClient, execution_id: ExecutionId, *, follow: bool = True) -> "Listener":
    listener = Listener(client, execution_id, follow)
    await listener.is_open.wait()
    return listener


class Listener:
    """A client that listens from the beginning."""

    def __init__(self, client: httpx.AsyncClient, execution_id: ExecutionId, follow: bool):
        self.is_open = asyncio.Event()
        self.heard = b""
        self._news = asyncio.Event()
        self._client = client
        self._path = f"/v1/executions/{execution_id}/stream?follow={str(follow).lower()}"
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> bytes:
        async with self._client.stream("GET", self._path) as response:
            async for piece in response.aiter_raw():
                self.heard += piece
                self._news.set()
                if b"id: 1\n" in self.heard:
                    self.is_open.set()
        return self.heard

    async def hears(self, *expected: str) -> None:
        """Return when exactly this was told so far."""
        async with asyncio.timeout(20):
            while told(self.heard) != list(expected):
                self._news.clear()
                await self._news.wait()

    async def ended(self) -> bytes:
        """All that was heard, once the stream has ended."""
        return await asyncio.wait_for(self._task, 20)


def asked(pause_id: PauseId, block: str = "ask") -> PauseRequested:
    return PauseRequested(pause_id=pause_id, path=BlockPath(block), message="Well?", digest="sha256:0")


def answered(pause_id: PauseId, block: str = "ask") -> PauseResolved:
    return PauseResolved(pause_id=pause_id, path=BlockPath(block), resolution="answered", answer={"yes": True})


def pausing_and_ending(pause_id: PauseId) -> list[list[EventData]]:
    """The commits of an execution of FORKING that waits for people twice."""
    paused = ExecutionPaused(epoch=1, pauses=(pause_id,))
    boom = BlockError(type="boom", message="It broke")
    return [
        [started(), done("a", {"n": 1})],
        [asked(pause_id), paused],
        [PauseExtended(pause_id=pause_id, path=BlockPath("ask"), expires_at=datetime.now(UTC))],
        [answered(pause_id)],
        [ExecutionResumed(executor="pen", epoch=2, command="resume"), done("ask", {"answer": {"yes": True}})],
        [BlockFailed(path=BlockPath("b"), error=boom), ExecutionFailed(error=boom, block=BlockPath("b"))],
    ]


async def test_live_and_later_and_again_are_the_same_bytes(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "forking")
    listener = await begun(client, execution_id)
    for facts in pausing_and_ending(PauseId(new_id())):
        await pen.write(execution_id, *facts)
    live = await listener.ended()
    expected = ["1", "2", "output", "3", "4", "5", "paused", "6", "paused", "7", "8", "output", "9"]
    assert told(live) == [*expected, "output", "10", "result", "11"]
    assert await stream(client, execution_id) == live
    parts = live.split(b"\n\n")
    for version in range(1, 11):
        [place] = [number for number, part in enumerate(parts) if part.startswith(b"id: %d\n" % version)]
        # Who was told of a pause that is over, or was not, need not be told any more.
        rest = parts[place + 1 :] if not parts[place + 1].startswith(b"event: paused") else parts[place + 2 :]
        assert await stream(client, execution_id, version) == b"\n\n".join([parts[0], *rest])


async def test_a_stream_tells_the_result_that_a_call_gives(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = keyed("two", "r-1")
    call = client.post("/v1/workflows/two/executions", json=START, headers={"idempotency-key": "r-1"})
    waiting = asyncio.create_task(call)
    await pen.run_two(execution_id)
    [result] = data_of(raw := await stream(client, execution_id), "result")
    assert result == (await waiting).json()
    shown = (await client.get(f"/v1/executions/{execution_id}")).json()
    assert {name: shown[name] for name in result} == result
    [output] = data_of(raw, "output")
    assert output == {"block": "second", **result["outputs"]["second"]}


async def test_outputs_asked_for_are_told_and_others_are_not(client: httpx.AsyncClient, pen: Pen) -> None:
    body = START | {"mode": "async", "outputs": ["first"]}
    execution_id = (await client.post("/v1/workflows/two/executions", json=body)).json()["execution_id"]
    await pen.run_two(execution_id)
    assert [output["block"] for output in data_of(await stream(client, execution_id), "output")] == ["first"]


async def test_what_a_fork_takes_over_or_is_told_is_an_output_too(client: httpx.AsyncClient, pen: Pen) -> None:
    body = {"mode": "async", "outputs": ["first", "second"], **START}
    asked = (await client.post("/v1/workflows/two/executions", json=body)).json()["execution_id"]
    await pen.run_two(asked)
    for order, content in (
        ({"from_block": "second"}, {"a": 1}),
        ({"from_block": "second", "override": {"first": {"a": 9}}}, {"a": 9}),
    ):
        response = await client.post(f"/v1/executions/{asked}/rerun", json={"mode": "async", **order})
        fork = ExecutionId(response.json()["execution_id"])
        await pen.write(fork, started(), done("second", {"b": 3}), ExecutionCompleted(output={"b": 3}))
        raw = await stream(client, fork)
        told_outputs = data_of(raw, "output")
        assert "plan" in data_of(raw, "result")[0]
        assert [(output["block"], output["content"]) for output in told_outputs] == [
            ("first", content),
            ("second", {"b": 3}),
        ]


async def test_before_the_end_only_what_is_completed_is_offered(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "forking")
    pause_id = PauseId(new_id())
    commits = pausing_and_ending(pause_id)
    for facts in commits[:2]:
        await pen.write(execution_id, *facts)
    [paused] = data_of(await stream(client, execution_id, follow=False), "paused")
    shown = (await client.get(f"/v1/executions/{execution_id}")).json()
    for body in (paused, shown):
        assert body["outputs"] == {
            "a": {"type": "function", "status": "completed", "content": {"n": 1}, "display_name": "The first"}
        }
        assert (body["status"], body["answer"]["reason"]) == ("paused", "none")
        assert [pause["pause_id"] for pause in body["pauses"]] == [pause_id]
    for facts in commits[2:]:
        await pen.write(execution_id, *facts)
    ended = (await client.get(f"/v1/executions/{execution_id}")).json()
    assert {path: output["status"] for path, output in ended["outputs"].items()} == {
        "a": "completed",
        "b": "failed",
        "ask": "completed",
    }


async def test_a_stream_ends_at_a_pause_and_goes_on_if_that_is_asked(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "forking")
    short, whole = await begun(client, execution_id, follow=False), await begun(client, execution_id)
    pause_id = PauseId(new_id())
    commits = pausing_and_ending(pause_id)
    for facts in commits[:2]:
        await pen.write(execution_id, *facts)
    ended = await short.ended()
    assert told(ended)[-2:] == ["5", "paused"]
    await whole.hears(*told(ended))
    await pen.write(execution_id, *commits[2])
    # Whoever comes while it waits is told so at once, whatever they have seen.
    for after, expected in ((0, [*told(ended), "6", "paused"]), (4, ["5", "paused", "6", "paused"]), (6, ["paused"])):
        assert told(await stream(client, execution_id, after, follow=False)) == expected
    assert told(await stream(client, execution_id, 5, follow=False)) == ["6", "paused"]
    assert told(await stream(client, execution_id, 99, follow=False)) == ["paused"]
    for facts in commits[3:]:
        await pen.write(execution_id, *facts)
    assert (await whole.ended()).startswith(ended)
    # A pause that was answered is history, and ends nothing.
    assert told(await stream(client, execution_id, follow=False))[-1] == "11"


async def test_waiting_for_a_timer_or_a_cancel_is_no_pause(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "forking")
    listener = await begun(client, execution_id, follow=False)
    pause_id = PauseId(new_id())
    await pen.write(execution_id, started(), ExecutionPaused(epoch=1))
    await pen.write(execution_id, ExecutionResumed(executor="pen", epoch=2, command="timer"), asked(pause_id))
    await pen.write(
        execution_id, ExecutionPaused(epoch=2, pauses=(pause_id,)), ExecutionCancelRequested(reason="enough")
    )
    await listener.hears("1", "2", "3", "4", "5", "6", "paused", "7")
    await pen.write(
        execution_id, ExecutionResumed(executor="pen", epoch=3, command="cancel"), ExecutionCompleted(output=1)
    )
    assert told(await listener.ended())[-3:] == ["8", "result", "9"]


async def test_a_streaming_start_may_follow_to_the_end(client: httpx.AsyncClient, pen: Pen) -> None:
    body, headers = {"mode": "stream", "follow": True}, {"idempotency-key": "f-1"}
    call = client.post("/v1/workflows/forking/executions", json=body, headers=headers)
    streaming = asyncio.create_task(call)
    execution_id = keyed("forking", "f-1")
    await pen.created(execution_id)
    for facts in pausing_and_ending(PauseId(new_id())):
        await pen.write(execution_id, *facts)
    assert (await streaming).content == await stream(client, execution_id)


def piece(execution_id: ExecutionId, index: int, block: str = "first", attempt: int = 1) -> bytes:
    said = Chunk(execution_id=execution_id, path=BlockPath(block), attempt=attempt, index=index, content=f"{index}")
    return msgspec.json.encode(said)


async def test_pieces_are_kept_for_who_comes_later_or_again(client: httpx.AsyncClient, pen: Pen, bus: Bus) -> None:
    execution_id = await start_async(client, "two", START)
    subject = subjects.chunk(TENANT, execution_id)
    early = await begun(client, execution_id)
    await pen.write(execution_id, started(), BlockStarted(path=BlockPath("first")))
    await early.hears("1", "2", "3")
    for index in range(3):
        await bus.publish(subject, piece(execution_id, index))
    pieces = ["block.chunk"] * 3
    await early.hears("1", "2", "3", *pieces)
    later, again = await begun(client, execution_id), asyncio.create_task(stream(client, execution_id, 3))
    await later.hears("1", "2", "3", *pieces)
    assert later.heard == early.heard
    await bus.publish(subject, piece(execution_id, 2))
    await bus.publish(subject, piece(execution_id, 3))
    for listener in (early, later):
        await listener.hears("1", "2", "3", *pieces, "block.chunk")
    await pen.write(execution_id, done("first", {"a": 1}), BlockStarted(path=BlockPath("second")))
    await early.hears("1", "2", "3", *pieces, "block.chunk", "4", "5")
    await bus.publish(subject, piece(execution_id, 0, "second"))
    await early.hears("1", "2", "3", *pieces, "block.chunk", "4", "5", "block.chunk")
    # While it runs, pieces of what is over are told to those who have not seen it, and to no others.
    last = await begun(client, execution_id)
    await last.hears("1", "2", "3", *pieces, "block.chunk", "4", "5", "block.chunk")
    at_five = asyncio.create_task(stream(client, execution_id, 5))
    await pen.write(execution_id, done("second", {"b": 2}), ExecutionCompleted(output=1))
    assert await early.ended() == await later.ended() == await last.ended()
    assert [chunk["index"] for chunk in data_of(early.heard, "block.chunk")] == [0, 1, 2, 3, 0]
    end = ["output", "6", "result", "7"]
    reconnected = told(await again)
    assert [name for name in reconnected if name != "block.chunk"] == ["4", "5", *end]
    assert reconnected[:3] == pieces, "told again from the first one on"
    assert told(await at_five)[-4:] == end
    assert "block.chunk" not in told(await stream(client, execution_id))


async def test_a_stream_that_was_left_is_closed_at_once(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "two", START)
    before = len(asyncio.all_tasks())
    for _ in range(5):
        async with client.stream("GET", f"/v1/executions/{execution_id}/stream") as response:
            async for piece in response.aiter_raw():
                if b"id: 1\n" in piece:
                    break
    await pen.run_two(execution_id)

    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > before + 1:
            await asyncio.sleep(0.01)
