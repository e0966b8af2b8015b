"""How fast what is derived from the log can be derived again."""

from time import perf_counter

from playhead_bench.rig import Rig, chain, rig
from playhead_bench.table import Figure
from playhead_contracts import subjects
from playhead_projector.rebuild import rebuild
from playhead_projector.settings import Settings

EXECUTIONS = 4000


async def measure_rebuild(runs: int) -> list[Figure]:
    """All read models from position 0 to the head, while a projector keeps the live ones."""
    async with rig() as system:
        await _fill(system)
        await system.serve("projector")
        await system.caught_up()
        settings = Settings(nats_url=system.servers.nats_url, database_url=system.servers.database_url)
        rates: list[float] = []
        events = 0
        for _ in range(runs):
            began = perf_counter()
            report = await rebuild(settings)
            events = report.events
            rates.append(report.events / (perf_counter() - began))
    return [Figure("rebuild all read models", "events/s", tuple(rates), 30_000, note=f"{events:,} events")]


async def measure_relay(runs: int) -> list[Figure]:
    """The bus copy from an empty stream to the head of the log."""
    async with rig() as system:
        await _fill(system)
        events = await system.log.last_position()
        rates: list[float] = []
        for _ in range(runs):
            await system.bus.api(f"STREAM.DELETE.{subjects.EVENTS_STREAM}", b"")
            projector = await system.serve("projector")
            first = await system.copied(1)
            rates.append((events - first.position) / (await system.copied(events)).since(first))
            await system.stop(projector)
    note = f"{events:,} events, from the first copied one on"
    return [Figure("relay, log to bus", "events/s", tuple(rates), 20_000, note=note)]


async def _fill(system: Rig) -> None:
    document = chain(10, "bench-barrier")
    await system.publish(document)
    executor = await system.serve("executor", max_executions=200)
    position = await system.log.last_position()
    await system.command(await system.create(document, EXECUTIONS, {"n": 0}))
    await system.completed(EXECUTIONS, position)
    await system.stop(executor)
