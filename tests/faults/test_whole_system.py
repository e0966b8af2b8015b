"""Everything at once under load, and one thing after the other killed: what was acknowledged ends, once, and what is
derived from the log equals the log.
"""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from playhead_cli.bus_check import verify_bus
from playhead_cli.verifying import Witnesses, verify_log
from playhead_contracts.events import BlockCompleted, PauseResolved
from playhead_contracts.ids import ExecutionId
from playhead_eventlog import EventLog, migrate, open_log
from playhead_projector.rebuild import rebuild
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_runtime.bus import connect_bus
from playhead_runtime.embedded_nats import NatsServer, free_port
from playhead_runtime.embedded_postgres import SERVICE, PostgresServer
from playhead_runtime.provision import provision
from tests.conftest import Database
from tests.derived import assert_is_the_log, caught_up, copies, rows
from tests.forging import KEY
from tests.outside import OutsideServer
from tests.processes import Processes, Service, processes
from tests.system import System, eventually

EXECUTIONS = 50

WORKFLOW = """
id: everything
blocks:
  score: {type: function, code: "inputs['n'] * 2", inputs: {n: "{{ input.n }}"}, next: [ask, first]}
  ask: {type: human, message: "{{ input.n }}?", next: pay}
  first: {type: http, method: POST, url: "{{ input.url }}/first", body: {n: "{{ input.n }}"}, next: nap}
  nap: {type: wait, for: 300ms, next: pay}
  pay: {type: http, method: POST, url: "{{ input.url }}/pay", body: {n: "{{ input.n }}"}, next: done}
  done: {type: function, code: "inputs['n']", inputs: {n: "{{ blocks.score.result }}"}}
output: {n: "{{ blocks.done.result }}", said: "{{ blocks.ask.answer.approved }}"}
"""


class Whole:
    """All four services on servers of this test alone, and a client that keeps at it as clients do."""

    def __init__(
        self,
        postgres: PostgresServer,
        nats: NatsServer,
        made: Processes,
        log: EventLog,
        port: int,
        witnesses: Witnesses,
    ):
        self.postgres = postgres
        self.nats = nats
        self.processes = made
        self.log = log
        self.port = port
        self.services: dict[str, Service] = {}
        self.client = httpx.AsyncClient(timeout=20, trust_env=False)
        self.database = Database(postgres.url(), postgres.url(owner=True))
        self.witnesses = witnesses

    async def start(self, name: str) -> None:
        """Start a service, or start it again."""
        own: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "open_tenant": "acme"}
        own = own if name == "gateway" else {}
        self.services[name] = await self.processes.start(name, **own)

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """A call that is repeated while the gateway, or what it needs, is away; any other refusal fails the test."""

        async def tried() -> dict[str, Any] | None:
            try:
                response = await self.client.request(method, f"http://127.0.0.1:{self.port}{path}", **request)
            except httpx.TransportError:
                return None
            if response.status_code in (502, 503, 504):
                return None
            assert response.status_code < 400, response.text
            return response.json()

        return await eventually(tried, seconds=40, every=0.1)


@pytest.fixture
async def whole(data: Path, tmp_path: Path):
    postgres, nats = PostgresServer(data / "postgres"), NatsServer(data / "nats")
    postgres.start()
    nats.start()
    try:
        await migrate(postgres.url(owner=True), SERVICE)
        urls = {"database_url": postgres.url(), "nats_url": nats.url}
        async with (
            open_log(postgres.url(), patience_seconds=30) as log,
            processes(tmp_path, **urls, lease_seconds="2", reconcile_seconds="1", **signed(tmp_path)) as made,
        ):
            async with connect_bus(nats.url, "test") as bus:
                await provision(bus)
            whole = Whole(postgres, nats, made, log, free_port(), Witnesses((tmp_path / "signed",), (KEY.public,)))
            for name in ("executor", "hitl", "projector", "gateway"):
                await whole.start(name)
            async with whole.client:
                yield whole
    finally:
        nats.stop()
        postgres.stop()


def signed(folder: Path) -> dict[str, str]:
    """What has the projector sign the log every hundred events."""
    return {
        "checkpoint_dir": str(folder / "signed"),
        "signing_key": b64encode(KEY.raw()).decode(),
        "checkpoint_events": "100",
    }


async def kill_and_start(whole: Whole, name: str) -> None:
    await whole.services[name].kill()
    await whole.start(name)


async def restart_postgres(whole: Whole) -> None:
    await asyncio.to_thread(whole.postgres.kill)
    await asyncio.to_thread(whole.postgres.start)


async def restart_nats(whole: Whole) -> None:
    await asyncio.to_thread(whole.nats.kill)
    await asyncio.to_thread(whole.nats.start)


def killing(name: str) -> Callable[[Whole], Awaitable[None]]:
    return lambda whole: kill_and_start(whole, name)


Strike = Callable[[Whole], Awaitable[None]]

DISASTERS: dict[str, tuple[Strike, ...]] = {
    "executor and hitl": (killing("executor"), killing("hitl")),
    "projector, relay and gateway": (killing("projector"), killing("gateway")),
    "postgres and nats": (restart_postgres, restart_nats),
}


@pytest.mark.parametrize("disaster", DISASTERS)
async def test_everything_acknowledged_ends_right_whatever_is_killed_under_load(whole: Whole, disaster: str) -> None:
    strikes_at = list(zip((10, 35, 60, 85), DISASTERS[disaster] * 2, strict=True))
    await whole.call("POST", "/v1/workflows", content=WORKFLOW, headers={"content-type": "application/yaml"})
    async with OutsideServer() as server:
        server.respond("/first", 200, {}, delay=0.1)
        server.respond("/pay", 200, {}, delay=0.1)

        async def one(n: int) -> ExecutionId:
            body = {"mode": "async", "input": {"n": n, "url": server.url}}
            headers = {"idempotency-key": f"key-{n}"}
            started = await whole.call("POST", "/v1/workflows/everything/executions", json=body, headers=headers)
            execution_id = ExecutionId(started["execution_id"])

            async def asked() -> str | None:
                shown = await whole.call("GET", f"/v1/executions/{execution_id}")
                return shown["pauses"][0]["pause_id"] if shown.get("pauses") else None

            path = f"/v1/executions/{execution_id}/pauses/{await eventually(asked, 40, every=0.25)}/resume"
            await whole.call("POST", path, json={"input": {"approved": n % 2 == 0}})

            async def ended() -> bool:
                shown = await whole.call("GET", f"/v1/executions/{execution_id}")
                assert shown["status"] not in ("failed", "cancelled"), shown
                return shown["status"] == "completed"

            await eventually(ended, 60, every=0.25)
            return execution_id

        async def strikes() -> None:
            for at_least, strike in strikes_at:

                async def reached(count: int = at_least) -> bool:
                    return await whole.log.last_position() > count * 4

                await eventually(reached, every=0.05)
                await strike(whole)

        executions, _ = await asyncio.gather(asyncio.gather(*(one(n) for n in range(EXECUTIONS))), strikes())
        assert len(set(executions)) == EXECUTIONS

    async with connect_bus(whole.nats.url, "test") as bus:
        system = System(whole.log, bus, whole.nats.url)
        for n, execution_id in enumerate(executions):
            state = await system.state(execution_id)
            assert state.output == {"n": n * 2, "said": n % 2 == 0}
            events = await system.events(execution_id)
            done = [event.data.path for event in events if isinstance(event.data, BlockCompleted)]
            assert sorted(done) == ["ask", "done", "first", "nap", "pay", "score"], "none of them twice"
            assert sum(isinstance(event.data, PauseResolved) for event in events) == 1
        await caught_up(whole.log, whole.database)

        async def copied() -> bool:
            return len(await copies(bus)) >= len(await whole.log.read_log(0, 1_000_000))

        await eventually(copied)
        await assert_is_the_log(bus, whole.log)
        assert (await verify_bus(whole.log, bus)).intact
    await raises_no_alarm(whole)
    live = await rows(whole.database)
    await rebuild(ProjectorSettings(nats_url=whole.nats.url, database_url=whole.database.service_url))
    assert await rows(whole.database) == live


async def raises_no_alarm(whole: Whole) -> None:
    """Everything in the log is as it was written and signed, whatever was killed meanwhile."""
    report = await verify_log(whole.log, whole.witnesses)
    [checkpoints] = report.checkpoints
    assert (report.chains.faults, report.missing_guards, checkpoints.proof.faults) == ([], (), ())
    assert checkpoints.proof.checkpoints >= report.chains.events // 100


async def test_when_the_bus_is_wiped_the_log_gives_everything_back(whole: Whole) -> None:
    """Commands, timers and the copy of the events are gone; none of it was the truth."""
    await whole.call("POST", "/v1/workflows", content=WORKFLOW, headers={"content-type": "application/yaml"})
    async with OutsideServer() as server:
        server.respond("/first", 200, {})
        server.respond("/pay", 200, {})
        await whole.services["executor"].kill()
        body = {"mode": "async", "input": {"n": 1, "url": server.url}}
        started = await whole.call("POST", "/v1/workflows/everything/executions", json=body)
        async with connect_bus(whole.nats.url, "test") as bus:
            for stream in ("PLAYHEAD_COMMANDS", "PLAYHEAD_EVENTS"):
                await bus.api(f"STREAM.DELETE.{stream}", b"")
            await whole.start("executor")
            execution_id = ExecutionId(started["execution_id"])
            system = System(whole.log, bus, whole.nats.url)
            state = await system.when(execution_id, lambda state: bool(state.open_pauses()), 30)
            [pause] = state.open_pauses()
            path = f"/v1/executions/{execution_id}/pauses/{pause.pause_id}/resume"
            await whole.call("POST", path, json={"input": {"approved": True}})
            assert (await system.ended(execution_id, 30)).status == "completed"

            async def copied() -> bool:
                return len(await copies(bus)) >= len(await whole.log.read_log(0, 1_000_000))

            await eventually(copied)
            await assert_is_the_log(bus, whole.log)
