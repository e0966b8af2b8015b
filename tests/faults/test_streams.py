"""200 clients listen to 50 executions while their gateway is killed, twice: each is told every fact, once."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from playhead_contracts.events import BlockCompleted, Streamed
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_runtime.embedded_nats import free_port
from tests.door import SentEvent, sent_events
from tests.outside import OutsideServer
from tests.processes import Processes, Service
from tests.system import System, eventually

EXECUTIONS = 51
CLIENTS_EACH = 4
ENDS = ("execution.completed", "execution.failed", "execution.cancelled", "execution.timed_out")

PLAIN = """
id: plain
blocks:
  one: {type: http, method: POST, url: "{{ input.url }}/one", body: {}, next: each}
  each:
    type: loop
    for: 3
    blocks:
      nap: {type: wait, for: 200ms, next: call}
      call: {type: http, method: POST, url: "{{ input.url }}/call", body: {}}
    next: two
  two: {type: http, method: POST, url: "{{ input.url }}/two", body: {}}
"""

ASKING = """
id: asking
blocks:
  one: {type: http, method: POST, url: "{{ input.url }}/one", body: {}, next: ask}
  ask: {type: human, message: "Go on?", next: two}
  two: {type: http, method: POST, url: "{{ input.url }}/two", body: {}}
"""

SHIPPING = """
id: shipping
blocks:
  one: {type: http, method: POST, url: "{{ input.url }}/one", body: {}, next: ship}
  ship:
    type: ship-order
    config: {warehouse: "{{ input.url }}", order: "o", items: [a, b]}
"""


class Door:
    """A gateway in a process of its own, which is killed and started again, and callers who keep at it."""

    def __init__(self, services: Processes):
        self._services = services
        self._port = free_port()
        self._gateway: Service | None = None
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=60, limits=limits)

    async def start(self) -> None:
        self._gateway = await self._services.start("gateway", host="127.0.0.1", port=self._port, open_tenant="acme")

    async def strike(self) -> None:
        """Kill it, and start another one."""
        assert self._gateway is not None
        await self._gateway.kill()
        await self.start()

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """A call that is repeated while the gateway is away."""

        async def tried() -> dict[str, Any] | None:
            try:
                response = await self.http.request(method, path, **request)
            except httpx.TransportError:
                return None
            if response.status_code == 503:
                return None
            assert response.status_code < 400, response.text
            return response.json()

        return await eventually(tried)


class Listener:
    """One client of one execution, which connects again with the last id it has, whatever happens."""

    def __init__(self, door: Door, execution_id: ExecutionId, on_fact: Callable[[], None]):
        self.execution_id = execution_id
        self.facts: list[SentEvent] = []
        self.derived: list[SentEvent] = []
        self.connections = 0
        self.pieces_told_twice = 0
        self._door = door
        self._on_fact = on_fact

    async def listen(self) -> None:
        while not (self.facts and self.facts[-1].event in ENDS):
            try:
                await self._connected()
            except httpx.TransportError:
                await asyncio.sleep(0.02)  # as clients do: `retry` says when

    async def _connected(self) -> None:
        path = f"/v1/executions/{self.execution_id}/stream?follow=true"
        last = {"last-event-id": str(self.facts[-1].id)} if self.facts else {}
        pieces: set[tuple[str, int, int]] = set()
        async with self._door.http.stream("GET", path, headers=last) as response:
            if response.status_code != 200:
                return
            self.connections += 1
            async for event in sent_events(response):
                if event.event == "error":
                    return
                if event.id is not None:
                    self.facts.append(event)
                    self._on_fact()
                elif event.event == "block.chunk":
                    chunk = msgspec.json.decode(event.data)
                    piece = (chunk["path"], chunk["attempt"], chunk["index"])
                    self.pieces_told_twice += piece in pieces
                    pieces.add(piece)
                else:
                    self.derived.append(event)


class Counter:
    """How many facts all clients have been told, and who waits for how many."""

    def __init__(self) -> None:
        self.count = 0
        self._news = asyncio.Event()

    def note(self) -> None:
        self.count += 1
        self._news.set()

    async def reaches(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.count < count:
                self._news.clear()
                await self._news.wait()


async def answer(door: Door, execution_id: ExecutionId) -> None:
    """Answer the pause of an execution, once there is one."""

    async def asked() -> str | None:
        shown = await door.call("GET", f"/v1/executions/{execution_id}")
        return shown["pauses"][0]["pause_id"] if shown.get("pauses") else None

    path = f"/v1/executions/{execution_id}/pauses/{await eventually(asked)}/resume"
    await door.call("POST", path, json={"input": {"yes": True}})


async def test_two_hundred_clients_are_told_everything_once_although_the_gateway_is_killed_twice(
    client: System, services: Processes
) -> None:
    door, counter = Door(services), Counter()
    for name in ("executor", "hitl"):
        await services.start(name, lease_seconds=2)
    await door.start()
    first, second, third = asyncio.Event(), asyncio.Event(), asyncio.Event()
    # In a group, so that nobody goes on listening when something fails.
    async with asyncio.timeout(180), OutsideServer() as server, door.http, asyncio.TaskGroup() as group:
        server.respond("/one", 200, {}, until=first)
        server.respond("/call", 200, {}, delay=0.1)
        server.respond("/two", 200, {}, until=second)
        server.respond("/reserve", 200, {"id": "r"}, until=second)
        server.respond("/ship", 200, {"tracking": "t"}, until=third)
        for document in (PLAIN, ASKING, SHIPPING):
            yaml = {"content-type": "application/yaml"}
            await door.call("POST", "/v1/workflows", content=document, headers=yaml)

        async def start(number: int) -> ExecutionId:
            workflow = ("plain", "asking", "shipping")[number % 3]
            body = {"mode": "async", "input": {"url": server.url}}
            key = {"idempotency-key": f"k-{number}"}
            started = await door.call("POST", f"/v1/workflows/{workflow}/executions", json=body, headers=key)
            return ExecutionId(started["execution_id"])

        executions = await asyncio.gather(*(start(number) for number in range(EXECUTIONS)))
        listeners = [Listener(door, each, counter.note) for each in executions for _ in range(CLIENTS_EACH)]
        for listener in listeners:
            group.create_task(listener.listen())

        # Everybody listens and everything is at work, in the midst of which the gateway dies; then again, at the end.
        await counter.reaches(3 * len(listeners))
        first.set()
        await counter.reaches(4 * len(listeners))
        await door.strike()
        await counter.reaches(5 * len(listeners))
        for each in executions[1::3]:
            group.create_task(answer(door, each))
        second.set()
        third.set()
        await counter.reaches(8 * len(listeners))
        await door.strike()

    await assert_told_everything_once(client, executions, listeners)


async def assert_told_everything_once(client: System, executions: list[ExecutionId], listeners: list[Listener]) -> None:
    assert sum(listener.connections for listener in listeners) >= 2 * len(listeners)
    for number, execution_id in enumerate(executions):
        frames = [raw.frame().decode() for raw in await client.log.read_raw(execution_stream(execution_id))]
        mine = listeners[number * CLIENTS_EACH : (number + 1) * CLIENTS_EACH]
        for listener in mine:
            assert listener.execution_id == execution_id
            assert [fact.id for fact in listener.facts] == list(range(1, len(frames) + 1))
            assert [fact.data for fact in listener.facts] == frames
            assert listener.derived[-1].event == "result"
            assert listener.pieces_told_twice == 0
        if number % 3 == 1:
            assert all("paused" in {event.event for event in listener.derived} for listener in mine)
        if number % 3 == 2:
            completed = [event.data for event in await client.events(execution_id)]
            [shipped] = [each for each in completed if isinstance(each, BlockCompleted) and each.path == "ship"]
            assert shipped.streamed == Streamed(chunks=1)
