"""How soon the bus has what was committed, and how a consumer catches up that was away for long."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from playhead_bench.rig import ACTOR, SERVICE_LOGIN, TENANT, rig
from playhead_bench.table import Figure, percentile_99
from playhead_contracts import subjects
from playhead_contracts.events import BlockSkipped, EventData, ExecutionCompleted, ExecutionCreated, NewEvent
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, WorkflowId, execution_stream
from playhead_eventlog import GENESIS, EventLog, migrate, open_log
from playhead_runtime.bus import Bus, Delivery, connect_bus
from playhead_runtime.embedded_nats import NatsServer, free_port
from playhead_runtime.embedded_postgres import PostgresServer
from playhead_runtime.ids import new_id
from playhead_runtime.provision import provision

RATE = 1000
SECONDS = 10
_TICK_SECONDS = 0.01
_PER_EXECUTION = 50
_AT_ONCE = 20
_KILL_EVERY_SECONDS = 1.5
_CONSUMER = Path(__file__).parents[4] / "examples" / "consumer-python" / "consumer.py"


async def measure_delay(runs: int) -> list[Figure]:
    """From the end of an append to the message in the hands of a durable consumer, at 1,000 events/s."""
    async with rig() as system:
        await system.serve("projector")
        await _write_execution(system.log)
        await system.copied(await system.log.last_position())
        rounds = [await _delays(system.log, system.bus) for _ in range(runs)]
    note = f"{RATE:,} events/s for {SECONDS} s, appends of 10"
    return [
        Figure("commit to bus, p50", "ms", tuple(median(each) for each in rounds), higher_is_better=False, note=note),
        Figure("commit to bus, p99", "ms", tuple(map(percentile_99, rounds)), higher_is_better=False, note=note),
    ]


async def measure_catch_up(events: int) -> list[Figure]:
    """The example consumer after `events` events away, while projector, nats-server and itself are killed -9."""
    with tempfile.TemporaryDirectory(prefix="playhead-bench-") as name:
        async with _breakable(Path(name)) as system:
            count = await system.fill(events)
            began = perf_counter()
            kills = await system.catch_up_under_fire(count)
            seconds = perf_counter() - began
            shown = await system.shown()
    assert shown["events"] == count, f"{shown['events']} events were applied of {count}"
    assert shown["workflows"] == {"bench": {"completed": count // _PER_EXECUTION}}, shown["workflows"]
    note = f"{count:,} events, each applied once and in order; kill -9: {kills}"
    return [Figure("catching up while everything is killed", "events/s", (count / seconds,), note=note)]


async def _delays(log: EventLog, bus: Bus) -> list[float]:
    """Milliseconds from commit to consumer."""
    name = f"bench-{new_id()}"
    config = {"name": name, "durable_name": name, "ack_policy": "none", "deliver_policy": "new"}
    body = json.dumps({"stream_name": subjects.EVENTS_STREAM, "config": config}).encode()
    await bus.api(f"CONSUMER.CREATE.{subjects.EVENTS_STREAM}.{name}", body)
    puller = await bus.pull(subjects.EVENTS_STREAM, name)
    committed: dict[str, float] = {}
    arrived: dict[str, float] = {}
    total = RATE * SECONDS

    async def follow() -> None:
        while len(arrived) < total:
            for delivery in await puller.fetch(500, 5):
                arrived[_event_id(delivery)] = perf_counter()

    async def append() -> None:
        new = [_event(BlockSkipped(path=BlockPath("b"), reason="r"), ExecutionId(new_id())) for _ in range(10)]
        await log.append(execution_stream(ExecutionId(new_id())), GENESIS, new)
        now = perf_counter()
        committed.update((each.id, now) for each in new)

    following = asyncio.create_task(follow())
    appends: list[asyncio.Task[None]] = []
    began = perf_counter()
    for tick in range(total // 10):
        await asyncio.sleep(max(0.0, began + tick * _TICK_SECONDS - perf_counter()))
        appends.append(asyncio.create_task(append()))
    await asyncio.gather(*appends)
    await following
    await puller.close()
    # A copy can be there before the writer has heard that its append is committed.
    return [max(0.0, (arrived[each] - committed[each]) * 1000) for each in committed]


def _event_id(delivery: Delivery) -> str:
    return delivery.headers["ce-id"]


async def _write_execution(log: EventLog) -> None:
    """One execution that was created, did a little, and has ended."""
    execution_id = ExecutionId(new_id())
    facts: list[EventData] = [
        ExecutionCreated(workflow_id=WorkflowId("bench"), workflow_version=1, digest="d" * 64, input={"n": 1})
    ]
    facts += [BlockSkipped(path=BlockPath(f"b{number}"), reason="r") for number in range(_PER_EXECUTION - 2)]
    facts.append(ExecutionCompleted(output={"n": 1}))
    await log.append(execution_stream(execution_id), GENESIS, [_event(fact, execution_id) for fact in facts])


def _event(fact: EventData, execution_id: ExecutionId) -> NewEvent:
    return NewEvent(
        id=EventId(new_id()),
        data=fact,
        tenant=TENANT,
        workflow_id=WorkflowId("bench"),
        execution_id=execution_id,
        actor=ACTOR,
        recorded_at=datetime.now(UTC),
    )


class _Breakable:
    """Servers and processes that can be killed, and what they leave."""

    def __init__(self, folder: Path, nats: NatsServer, url: str, log: EventLog, stack: AsyncExitStack):
        self._folder = folder
        self._nats = nats
        self._url = url
        self._log = log
        self._stack = stack
        self._port = free_port()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        stack.push_async_callback(self._stop)

    async def fill(self, events: int) -> int:
        """Write so many events, about; gives how many."""
        await self.start("gateway")
        executions = events // _PER_EXECUTION
        for first in range(0, executions, _AT_ONCE):
            await asyncio.gather(*(_write_execution(self._log) for _ in range(min(_AT_ONCE, executions - first))))
        return executions * _PER_EXECUTION

    async def catch_up_under_fire(self, count: int) -> str:
        """Let relay and consumer go, and kill them and the bus in turn, until the consumer has everything."""
        for name in ("projector", "consumer"):
            await self.start(name)
        victims: list[str] = ["projector", "nats-server", "consumer"]
        kills = dict.fromkeys(victims, 0)
        position = await self._log.last_position()
        turn = 0
        while (await self.shown())["position"] < position:
            await asyncio.sleep(_KILL_EVERY_SECONDS)
            if (await self.shown())["events"] > count * 0.8:
                continue  # the rest undisturbed, so that it ends
            victim = victims[turn % len(victims)]
            turn += 1
            kills[victim] += 1
            if victim == "nats-server":
                self._nats.kill()
                await asyncio.to_thread(self._nats.start)
            else:
                self._processes[victim].kill()
                await self._processes[victim].wait()
                await self.start(victim)
        return ", ".join(f"{name} {times}" for name, times in kills.items())

    async def start(self, name: str) -> None:
        """Start a service, or the consumer."""
        command = [str(_CONSUMER)] if name == "consumer" else ["-m", f"playhead_{name}"]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, *command, env=self._environ(), stdout=log, stderr=log
            )

    async def shown(self) -> dict[str, Any]:
        """The consumer's read model."""
        asked = await asyncio.create_subprocess_exec(
            sys.executable, str(_CONSUMER), "--show", env=self._environ(), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asked.communicate()
        return json.loads(out)

    def _environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "PLAYHEAD_NATS_URL": self._nats.url,
            "PLAYHEAD_DATABASE_URL": self._url,
            "PLAYHEAD_HOST": "127.0.0.1",
            "PLAYHEAD_PORT": str(self._port),
            "PLAYHEAD_OPEN_TENANT": TENANT,
            "PLAYHEAD_TENANT": TENANT,
            "PLAYHEAD_URL": f"http://127.0.0.1:{self._port}",
            "PLAYHEAD_LOG_LEVEL": "WARNING",
            "CONSUMER_DB": str(self._folder / "consumer.db"),
        }

    async def _stop(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()


@asynccontextmanager
async def _breakable(folder: Path) -> AsyncGenerator[_Breakable]:
    nats, postgres = NatsServer(folder / "nats"), PostgresServer(folder / "postgres")
    stops: list[Callable[[], None]] = [nats.stop, postgres.stop]
    try:
        await asyncio.to_thread(postgres.prepare)
        postgres.start()
        nats.start()
        await migrate(postgres.url(owner=True), SERVICE_LOGIN)
        async with AsyncExitStack() as stack:
            async with connect_bus(nats.url, "bench") as bus:
                await provision(bus)
            log = await stack.enter_async_context(open_log(postgres.url(), patience_seconds=30))
            yield _Breakable(folder, nats, postgres.url(), log, stack)
    finally:
        for stop in stops:
            stop()
