"""What those who listen wait for: the first event of a start, and the way of a fact from its commit to them."""

import asyncio
from http.client import HTTPConnection
from time import perf_counter

import msgspec

from playhead_bench.rig import TENANT, Created, Rig, chain, rig
from playhead_bench.table import Figure, percentile_99
from playhead_contracts.events import BlockStarted, BlockStepCompleted, EventData, ExecutionStarted
from playhead_contracts.ids import BlockPath, execution_stream
from playhead_eventlog import GENESIS, StreamHead
from playhead_runtime.embedded_nats import free_port
from playhead_runtime.live import tell

STARTS = 300
FACTS = 300
EXECUTIONS = 50
PACE_SECONDS = 0.005
"""Between two facts: what is measured is the way, not the queue."""


async def measure_streams(runs: int) -> list[Figure]:
    """A start with mode stream, and the delay of facts with one and with 200 open streams."""
    return [*await _first_events(runs), await _delays(runs, streams=1), await _delays(runs, streams=200)]


async def _first_events(runs: int) -> list[Figure]:
    document = chain(1, "bench-pure")
    firsts: list[float] = []
    lasts: list[float] = []
    worst: list[float] = []
    async with rig() as system:
        client = await system.serve_all()
        client.post("/v1/workflows", document, 201)
        connection = HTTPConnection("127.0.0.1", client.port, timeout=30)
        path = f"/v1/workflows/{document['id']}/executions"
        for _ in range(runs):
            times = [_one_start(connection, path) for _ in range(STARTS)]
            first = sorted(time[0] for time in times)
            firsts.append(first[STARTS // 2])
            worst.append(percentile_99(first))
            lasts.append(sorted(time[1] for time in times)[STARTS // 2])
    return [
        _figure("stream, from start to first event, p50", firsts, worst),
        Figure("stream, from start to last event, p50", "ms", tuple(lasts), higher_is_better=False),
    ]


def _one_start(connection: HTTPConnection, path: str) -> tuple[float, float]:
    """Milliseconds from sending to the first event, and to the end."""
    body = msgspec.json.encode({"input": {"n": 1}, "mode": "stream"})
    began = perf_counter()
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    while not response.readline().startswith(b"event:"):
        continue
    first = perf_counter() - began
    response.read()
    return first * 1000, (perf_counter() - began) * 1000


async def _delays(runs: int, *, streams: int) -> Figure:
    document = chain(1, "bench-barrier")
    medians: list[float] = []
    worst: list[float] = []
    async with rig() as system:
        await system.publish(document)
        port = free_port()
        await system.serve("gateway", host="127.0.0.1", port=port, open_tenant=TENANT)
        await _answers(port)
        for _ in range(runs):
            delays = sorted(await _listened(system, port, document, streams))
            medians.append(delays[len(delays) // 2])
            worst.append(percentile_99(delays))
    return _figure(f"stream, from commit to client, {streams} open, p50", medians, worst)


async def _listened(system: Rig, port: int, document: dict[str, object], streams: int) -> list[float]:
    """The milliseconds that each fact took to each of its listeners."""
    writers = [_Writer(system, created) for created in await system.create(document, min(streams, EXECUTIONS))]
    for writer in writers:
        await writer.write(ExecutionStarted(executor="bench", epoch=1, command="run"))
        await writer.write(BlockStarted(path=BlockPath("b0")))
    delays: list[float] = []
    open_ones = [asyncio.Event() for _ in range(streams)]
    listening = [
        asyncio.create_task(_listen(port, writers[number % len(writers)], open_ones[number], delays))
        for number in range(streams)
    ]
    for each in open_ones:
        await each.wait()
    for number in range(FACTS):
        step = BlockStepCompleted(path=BlockPath("b0"), attempt=1, name=f"s{number}", outputs=number)
        await writers[number % len(writers)].write(step)
        await asyncio.sleep(PACE_SECONDS)
    expected = FACTS * streams // len(writers)
    while len(delays) < expected:  # noqa: ASYNC110 - the listeners are slower than an event between each of them
        await asyncio.sleep(0.01)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    return delays


class _Writer:
    """Writes the facts of one execution as an executor does, and knows when each was committed."""

    def __init__(self, system: Rig, created: Created):
        self.execution_id = created.execution_id
        self.committed: dict[int, float] = {}
        self._system = system
        self._head: StreamHead | None = None

    async def write(self, fact: EventData) -> None:
        stream = execution_stream(self.execution_id)
        head = self._head or (await self._system.log.heads(stream)).get(stream, GENESIS)
        event = self._system.event(fact, self.execution_id)
        appended = await self._system.log.append(stream, head, [event])
        self._head = appended.head
        self.committed[appended.head.version] = perf_counter()
        await tell(self._system.bus, TENANT, self.execution_id, appended.frames)


async def _listen(port: int, writer: _Writer, is_open: asyncio.Event, delays: list[float]) -> None:
    reader, connection = await asyncio.open_connection("127.0.0.1", port)
    try:
        connection.write(
            b"GET /v1/executions/%b/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % writer.execution_id.encode()
        )
        while line := await reader.readline():
            if not line.startswith(b"id: "):
                continue
            version = int(line[4:])
            if is_open.is_set():
                # The gateway may have read it from the log before the writer came back from the commit.
                now = perf_counter()
                delays.append((now - writer.committed.get(version, now)) * 1000)
            elif version == 3:
                is_open.set()
    finally:
        connection.close()


async def _answers(port: int) -> None:
    while True:
        try:
            _, connection = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            connection.close()
            return


def _figure(name: str, medians: list[float], worst: list[float]) -> Figure:
    note = f"p99 {sorted(worst)[len(worst) // 2]:.1f} ms"
    return Figure(name, "ms", tuple(medians), higher_is_better=False, note=note)
