"""The raw log: what all other figures stand on."""

import asyncio
from datetime import UTC, datetime
from time import perf_counter

from playhead_bench.rig import ACTOR, TENANT, Rig, rig
from playhead_bench.table import Figure
from playhead_contracts.events import BlockCompleted, NewEvent
from playhead_contracts.ids import BlockPath, EventId, StreamId
from playhead_eventlog import GENESIS
from playhead_runtime.ids import new_id

STREAMS, APPENDS, EVENTS_AN_APPEND = 100, 50, 2


async def measure_append(runs: int) -> list[Figure]:
    """Appends of two events to 100 streams at once, and one after another to one stream."""
    async with rig() as system:
        together = [await append_limit(system) for _ in range(runs)]
        alone = [await _one_after_another(system) for _ in range(runs)]
    return [
        Figure("append, 100 streams at once", "events/s", tuple(together), note="the limit of the log itself"),
        Figure("append, one after another", "ms", tuple(alone), higher_is_better=False),
    ]


async def append_limit(system: Rig) -> float:
    """Events a second that the log takes from this process, with nothing else to do."""

    async def write() -> None:
        stream, head = StreamId(f"execution:{new_id()}"), GENESIS
        for _ in range(APPENDS):
            head = (await system.log.append(stream, head, _events())).head

    began = perf_counter()
    await asyncio.gather(*(write() for _ in range(STREAMS)))
    return STREAMS * APPENDS * EVENTS_AN_APPEND / (perf_counter() - began)


async def _one_after_another(system: Rig) -> float:
    stream, head = StreamId(f"execution:{new_id()}"), GENESIS
    began = perf_counter()
    for _ in range(400):
        head = (await system.log.append(stream, head, _events())).head
    return (perf_counter() - began) / 400 * 1000


def _events() -> list[NewEvent]:
    return [
        NewEvent(
            id=EventId(new_id()),
            data=BlockCompleted(path=BlockPath("block"), outputs={"n": 1}, inputs={"n": 0}, duration_ms=0.1),
            tenant=TENANT,
            workflow_id=None,
            execution_id=None,
            actor=ACTOR,
            recorded_at=datetime.now(UTC),
        )
        for _ in range(EVENTS_AN_APPEND)
    ]
