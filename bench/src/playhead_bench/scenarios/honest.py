"""No false alarm: executions, one part of the system after the other killed under them, and everything verified."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import msgspec

from playhead_bench.table import Figure
from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import Json
from playhead_eventlog import migrate, open_log
from playhead_eventlog.signing import SigningKey
from playhead_runtime.bus import connect_bus
from playhead_runtime.embedded_nats import NatsServer, free_port
from playhead_runtime.embedded_postgres import SERVICE, PostgresServer
from playhead_runtime.provision import provision

SERVICES = ("executor", "hitl", "projector", "gateway")
CLIENTS = 24
STRIKE_SECONDS = 2.0
LOOKS = 8
"""Between two strikes, for processes that have ended."""
PATIENCE_SECONDS = 120.0

DOCUMENT: dict[str, Json] = {
    "id": "honest",
    "blocks": {
        "score": {
            "type": "function",
            "code": "inputs['n'] * 2",
            "inputs": {"n": "{{ input.n }}"},
            "next": ["ask", "b"],
        },
        "ask": {"type": "human", "message": "{{ input.n }}?", "next": "nap"},
        "b": {"type": "bench-barrier", "config": {"n": "{{ input.n }}"}, "next": "nap"},
        "nap": {"type": "wait", "for": "200ms", "next": "last"},
        "last": {"type": "bench-barrier", "config": {"n": "{{ blocks.b.n }}"}},
    },
    "output": {"n": "{{ blocks.last.n }}"},
}


class NotHonest(PlayheadError):
    """An execution did not end as it should, so that what is verified says nothing."""


async def measure_honest(executions: int) -> list[Figure]:
    """Run executions through pause and answer while all six parts are killed in turn, then `verify --all`."""
    # A thread each, and some for what is killed and started meanwhile.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CLIENTS + 8))
    with TemporaryDirectory(prefix="playhead-bench-") as name:
        async with _whole(Path(name)) as whole:
            striking = asyncio.create_task(whole.strike())
            began = perf_counter()
            left = iter(range(executions))

            async def some() -> None:
                for n in left:
                    await asyncio.to_thread(whole.run_one, n)

            await asyncio.gather(*(some() for _ in range(CLIENTS)))
            took = perf_counter() - began
            # In the midst of a strike something is down.
            whole.is_over = True
            await striking
            await whole.start_all()
            # The last strike may have been at the projector: what it derives is checked when it is there.
            verdict = await whole.verify()
    alarms = len(verdict["breaks"]) + len(verdict["bus"]["faults"]) + len(verdict.get("missing_guards", ()))
    alarms += sum(len(each["proof"]["faults"]) for each in verdict["checkpoints"])
    alarms += 0 if verdict["read_models"]["intact"] else 1
    signed = verdict["checkpoints"][0]["proof"]["checkpoints"]
    events = f"{verdict['events']:,} events, {signed} checkpoints, {verdict['bus']['messages']:,} messages on the bus"
    return [
        Figure("honest executions", "executions", (executions,), note=f"in {took:.0f} s"),
        Figure("parts killed meanwhile", "kill -9", (whole.strikes,), note=", ".join(whole.struck)),
        Figure("alarms of verify --all", "alarms", (alarms,), 0, higher_is_better=False, note=events),
    ]


class _Whole:
    """All four services on servers of their own."""

    def __init__(self, folder: Path, postgres: PostgresServer, nats: NatsServer):
        self._folder = folder
        self._postgres = postgres
        self._nats = nats
        self._port = free_port()
        self._services: dict[str, asyncio.subprocess.Process] = {}
        self._random = random.Random(1)
        self.is_over = False
        self.strikes = 0
        self.struck: tuple[str, ...] = ()

    async def start(self, service: str) -> None:
        environ = {
            **os.environ,
            "PLAYHEAD_NATS_URL": self._nats.url,
            "PLAYHEAD_DATABASE_URL": self._postgres.url(),
            "PLAYHEAD_LOG_LEVEL": "ERROR",
            "PLAYHEAD_LEASE_SECONDS": "2",
            "PLAYHEAD_RECONCILE_SECONDS": "1",
            "PLAYHEAD_CHECKPOINT_DIR": str(self._folder / "signed"),
            "PLAYHEAD_SIGNING_KEY": str(self._folder / "signing.pem"),
            "PLAYHEAD_CHECKPOINT_EVENTS": "200",
        }
        if service == "gateway":
            environ |= {
                "PLAYHEAD_HOST": "127.0.0.1",
                "PLAYHEAD_PORT": str(self._port),
                "PLAYHEAD_OPEN_TENANT": "bench",
            }
        with (self._folder / f"{service}.log").open("ab") as log:
            self._services[service] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"playhead_{service}", env=environ, stdout=log, stderr=log
            )

    async def _start_ended(self) -> None:
        for service in SERVICES:
            process = self._services.get(service)
            if process is None or process.returncode is not None:
                await self.start(service)

    async def start_all(self) -> None:
        """Returns when all are there."""
        await self._start_ended()
        await asyncio.to_thread(self.call, "GET", "/health/ready", None)

    async def strike(self) -> None:
        """Kill one part, then another, in an order that is the same each time, until it is over."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            **{service: lambda service=service: self._kill(service) for service in SERVICES},
            "postgres": self._restart_postgres,
            "nats": self._restart_nats,
        }
        while not self.is_over:
            for _ in range(LOOKS):
                await asyncio.sleep(STRIKE_SECONDS / LOOKS)
                # What starts while something that it needs is away ends, and a supervisor starts it again.
                await self._start_ended()
            name = self._random.choice(sorted(parts))
            await parts[name]()
            self.strikes += 1
            self.struck = tuple(sorted({*self.struck, name}))

    def run_one(self, n: int) -> None:
        """Start one execution, answer its question, see it end. Runs in a thread. Raises NotHonest."""
        body = {"mode": "async", "input": {"n": n}}
        started = self.call("POST", "/v1/workflows/honest/executions", body, {"idempotency-key": f"k-{n}"})
        path = f"/v1/executions/{started['execution_id']}"
        deadline = perf_counter() + PATIENCE_SECONDS
        answered = False
        while perf_counter() < deadline:
            shown = self.call("GET", path, None)
            if shown["status"] == "completed":
                return
            if shown["status"] in ("failed", "cancelled", "timed_out"):
                raise NotHonest(f"{path} ended as {shown}")
            if shown.get("pauses") and not answered:
                pause = shown["pauses"][0]["pause_id"]
                self.call("POST", f"{path}/pauses/{pause}/resume", {"input": {"approved": True}})
                answered = True
            sleep(0.2)
        raise NotHonest(f"{path} did not end within {PATIENCE_SECONDS:g} s")

    def call(self, method: str, path: str, body: Json, headers: dict[str, str] | None = None) -> dict[str, Json]:
        """A call that is repeated while something is away, as clients do."""
        deadline = perf_counter() + PATIENCE_SECONDS
        told = "no answer"
        while perf_counter() < deadline:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                content = None if body is None else msgspec.json.encode(body)
                connection.request(method, path, content, {"content-type": "application/json", **(headers or {})})
                response = connection.getresponse()
                answer = response.read()
            except (OSError, HTTPException) as error:
                told = str(error)
            else:
                if response.status < 400:
                    return msgspec.json.decode(answer)
                told = f"{response.status} {answer.decode()}"
                if response.status < 500:
                    raise NotHonest(f"{method} {path}: {told}")
            finally:
                connection.close()
            sleep(0.2)
        raise NotHonest(f"{method} {path}: {told}")

    async def verify(self) -> dict[str, Json]:
        """What `playhead verify --all` says, once the bus copy and the read models have everything."""
        async with open_log(self._postgres.url(), readers=1) as log:
            last = await log.last_position()
        while True:
            verdict = await asyncio.to_thread(self._verify)
            if verdict["bus"]["last_position"] >= last and all(
                at >= last for at in verdict["read_models"]["positions"].values()
            ):
                return verdict
            await asyncio.sleep(0.5)

    def _verify(self) -> dict[str, Json]:
        words = ["verify", "--all", "--checkpoints", str(self._folder / "signed")]
        words += ["--public-key", str(self._folder / "signing.pub"), "--json"]
        urls = {"PLAYHEAD_DATABASE_URL": self._postgres.url(), "PLAYHEAD_NATS_URL": self._nats.url}
        ran = subprocess.run(
            [sys.executable, "-m", "playhead_cli", *words], env=os.environ | urls, capture_output=True, check=False
        )
        if not ran.stdout:
            raise NotHonest(f"verify said nothing: {ran.stderr.decode()}")
        return msgspec.json.decode(ran.stdout)

    async def _kill(self, service: str) -> None:
        process = self._services[service]
        if process.returncode is None:
            process.kill()
        await process.wait()
        await self.start(service)

    async def _restart_postgres(self) -> None:
        await asyncio.to_thread(self._postgres.kill)
        await asyncio.to_thread(self._postgres.start)

    async def _restart_nats(self) -> None:
        await asyncio.to_thread(self._nats.kill)
        await asyncio.to_thread(self._nats.start)

    async def stop(self) -> None:
        for process in self._services.values():
            if process.returncode is None:
                process.terminate()
        for process in self._services.values():
            await process.wait()


@asynccontextmanager
async def _whole(folder: Path) -> AsyncGenerator[_Whole]:
    postgres, nats = PostgresServer(folder / "postgres"), NatsServer(folder / "nats")
    postgres.start()
    nats.start()
    key = SigningKey.new()
    (folder / "signing.pem").write_bytes(key.pem())
    (folder / "signing.pub").write_bytes(key.public.pem())
    whole = _Whole(folder, postgres, nats)
    try:
        await migrate(postgres.url(owner=True), SERVICE)
        async with connect_bus(nats.url, "bench") as bus:
            await provision(bus)
        await whole.start_all()
        await asyncio.to_thread(whole.call, "POST", "/v1/workflows", DOCUMENT)
        yield whole
    finally:
        await whole.stop()
        nats.stop()
        postgres.stop()
