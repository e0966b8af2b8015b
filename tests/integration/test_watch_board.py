"""`playhead watch` at a terminal, and where there is none."""

import asyncio
import os
import pty
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from playhead_contracts.events import ExecutionCompleted, ExecutionResumed, PauseResolved
from playhead_contracts.ids import BlockPath
from playhead_eventlog import open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import ASKING, Pen, done, gateway, publish, start_async


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        await publish(client, ASKING)
        yield client


@pytest.fixture
async def pen(database: Database, bus: Bus) -> AsyncGenerator[Pen]:
    async with open_log(database.service_url) as log:
        yield Pen(log, bus)


@asynccontextmanager
async def watching(client: httpx.AsyncClient, execution_id: str, *options: str, output: int) -> AsyncGenerator[Process]:
    command = ("-m", "playhead_cli", "watch", execution_id, "--url", str(client.base_url), *options)
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=output, env=environ)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Screen:
    """What has been drawn on a terminal."""

    def __init__(self, terminal: int):
        self.drawn = ""
        self._terminal = terminal

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.drawn:
                piece = await asyncio.to_thread(self._read)
                assert piece, f"{text!r} was not shown:\n{self.drawn}"
                self.drawn += piece

    async def is_left(self) -> None:
        """Read on to the end."""
        while piece := await asyncio.to_thread(self._read):
            self.drawn += piece

    def _read(self) -> str:
        try:
            return os.read(self._terminal, 65536).decode(errors="replace")
        except OSError:  # the other side has closed it
            return ""


async def test_at_a_terminal_it_is_drawn_until_there_is_a_result(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "asking")
    ours, theirs = pty.openpty()
    screen = Screen(ours)
    async with watching(client, execution_id, output=theirs) as process:
        os.close(theirs)
        pause_id = await pen.pause(execution_id)
        await screen.shows("waits for people")
        await screen.shows(f"playhead resume {execution_id}")
        answer = {"approved": True}
        await pen.write(
            execution_id,
            PauseResolved(pause_id=pause_id, path=BlockPath("ask"), resolution="answered", answer=answer),
            ExecutionResumed(executor="pen", epoch=2, command="resume"),
            done("ask", {"answer": answer}),
            done("pay", {"paid": True}),
            ExecutionCompleted(output={"paid": True}),
        )
        await screen.is_left()
        assert await process.wait() == 0
    os.close(ours)
    assert '"paid": true' in screen.drawn.rpartition("completed")[2]


async def test_where_there_is_no_terminal_it_is_lines(client: httpx.AsyncClient, pen: Pen) -> None:
    execution_id = await start_async(client, "asking")
    async with watching(client, execution_id, "--json", output=PIPE) as process:
        assert process.stdout is not None
        await pen.pause(execution_id)
        lines = [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(4)]
    assert lines == await pen.frames(execution_id)
