"""What it costs that values about people are sealed: for an event, and for the blocks of a second."""

from time import perf_counter

import msgspec

from playhead_bench.rig import TENANT, chain, rig
from playhead_bench.scenarios.throughput import IN_FLIGHT, blocks_per_second
from playhead_bench.table import Figure
from playhead_contracts.events import BlockCompleted, Json, Seal, encode_data
from playhead_contracts.ids import BlockPath
from playhead_eventlog.sealing import Key, open_fields, seal_fields

EVENTS = 20_000
KEY_ID, KEY = "00000000-0000-4000-8000-000000000000", Key(b"k" * 32)


async def measure_sealing(runs: int) -> list[Figure]:
    """10-block chains with and without a personal input, which every block hands on; and one event by itself."""
    plain, personal = chain(10, "bench-barrier"), _personal(chain(10, "bench-barrier"))
    rates: dict[str, list[float]] = {"plain": [], "personal": []}
    async with rig() as system:
        await system.serve("executor", max_executions=IN_FLIGHT)
        # In turn, so that what else the machine does meets both.
        for _ in range(runs):
            rates["plain"].append(await blocks_per_second(system, plain, caught_up=False))
            rates["personal"].append(await blocks_per_second(system, personal, caught_up=False))
    closing, opening = zip(*(_one_event() for _ in range(runs)), strict=True)
    ratios = tuple(b / a for a, b in zip(rates["plain"], rates["personal"], strict=True))
    note = "inputs and outputs of each event, 60 bytes in all"
    return [
        Figure("chain10 barrier, nothing personal", "blocks/s", tuple(rates["plain"])),
        Figure("chain10 barrier, all personal", "blocks/s", tuple(rates["personal"]), note="a person an execution"),
        Figure("all personal against nothing", "ratio", ratios),
        Figure("seal an event", "µs", tuple(closing), higher_is_better=False, note=note),
        Figure("open an event", "µs", tuple(opening), higher_is_better=False, note=note),
    ]


def _personal(document: dict[str, Json]) -> dict[str, Json]:
    schema: Json = {"type": "object", "properties": {"n": {"x-personal": True}}}
    return {**document, "id": "personal", "input": schema, "personal": {"subject": "{{ input.who }}"}}


def _one_event() -> tuple[float, float]:
    """Microseconds to seal an event and to open it, without encoding and decoding it."""
    outputs: Json = {"name": "Ann Meier", "n": 1}
    data = encode_data(BlockCompleted(path=BlockPath("block"), outputs=outputs, inputs=outputs, duration_ms=0.1))
    seal = Seal(KEY_ID, ("/inputs", "/outputs", "/streamed/text"))
    began = perf_counter()
    for _ in range(EVENTS):
        sealed, done = seal_fields(data, seal, KEY, TENANT)
    closed = perf_counter()
    assert done is not None  # pyright: ignore[reportPossiblyUnboundVariable]
    for _ in range(EVENTS):
        opened = open_fields(sealed, done, {KEY_ID: KEY}, TENANT)  # pyright: ignore[reportPossiblyUnboundVariable]
    ended = perf_counter()
    assert msgspec.json.decode(opened) == msgspec.json.decode(data)  # pyright: ignore[reportPossiblyUnboundVariable]
    return (closed - began) / EVENTS * 1e6, (ended - closed) / EVENTS * 1e6
