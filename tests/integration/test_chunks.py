"""Pieces of outputs on the bus: passed on at once, and kept for a while."""

import asyncio

import msgspec
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk
from playhead_contracts.ids import BlockPath, ExecutionId, TenantId
from playhead_runtime import live
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.live import kept_chunks, tell_chunk

TENANT = TenantId("acme")
HERE, ELSEWHERE = ExecutionId("x-1"), ExecutionId("x-2")


def piece(index: int, execution_id: ExecutionId = HERE, content: str = "…") -> Chunk:
    return Chunk(execution_id=execution_id, path=BlockPath("write"), attempt=1, index=index, content=content)


async def heard(bus: Bus, count: int, tell: list[Chunk]) -> list[Chunk]:
    """Tell these, and return the first that come on the live subject."""
    async with await bus.subscribe(subjects.live(TENANT, HERE)) as subscription:
        for chunk in tell:
            await tell_chunk(bus, TENANT, chunk)
        found: list[Chunk] = []
        async with asyncio.timeout(20):
            async for message in subscription:
                found.append(msgspec.json.decode(message.data, type=Chunk))
                if len(found) == count:
                    break
    return found


async def kept(bus: Bus) -> list[Chunk]:
    return [msgspec.json.decode(frame, type=Chunk) for frame in await kept_chunks(bus, TENANT, HERE)]


async def test_they_are_passed_on_in_order_and_kept_for_their_execution(bus: Bus) -> None:
    mine = [piece(index) for index in range(1200)]
    told = [chunk for mine_ in mine for chunk in (mine_, piece(mine_.index, ELSEWHERE))]
    assert await heard(bus, len(mine), told) == mine
    assert await kept(bus) == mine, "more than one page of them"


async def test_of_very_many_the_newest_are_given(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_MOST_BYTES", 10_000)
    mine = [piece(index, content="x" * 900) for index in range(30)]
    await heard(bus, len(mine), mine)
    found = await kept(bus)
    assert 8 <= len(found) <= 10
    assert found == mine[-len(found) :]


async def test_one_that_the_bus_cannot_carry_is_left_out(bus: Bus) -> None:
    assert await heard(bus, 1, [piece(0, content="x" * bus.max_payload), piece(1)]) == [piece(1)]


async def test_where_there_are_none_there_is_nothing_to_wait_for(bus: Bus, nats_server: NatsServer) -> None:
    assert await kept(bus) == []
    await bus.api(f"STREAM.DELETE.{subjects.CHUNKS_STREAM}", b"")
    assert await kept(bus) == []
    nats_server.kill()
    assert await kept(bus) == []
