"""The command line against a gateway: what it sends along with a run, and what it prints of what comes live."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk
from playhead_contracts.ids import BlockPath
from playhead_eventlog import open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import TENANT, TWO_BLOCKS, Pen, gateway, publish, start_async

SCRIPT = Path(sys.executable).parent / "playhead"
TYPED = """
id: typed
variables: {who: nobody, max_count: 1, dry: false, options: {}}
blocks: {a: {type: function, code: "1", next: b}, b: {type: function, code: "2"}}
"""


@pytest.fixture
async def pen(database: Database, bus: Bus) -> AsyncGenerator[Pen]:
    async with open_log(database.service_url) as log:
        yield Pen(log, bus)


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        await publish(client, TYPED)
        await publish(client, TWO_BLOCKS)
        yield client


async def playhead(client: httpx.AsyncClient, *words: str) -> tuple[int, str, str]:
    """Run a command to its end: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        SCRIPT, *words, "--url", str(client.base_url), stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def run(client: httpx.AsyncClient, *words: str) -> dict[str, Any]:
    """The state of an execution of `typed` that was just started."""
    code, out, err = await playhead(client, "run", "typed", "--mode", "async", "--json", *words)
    assert code == 0, err
    return (await client.get(json.loads(out)["links"]["state"])).json()


async def test_a_run_is_given_variables_outputs_and_limits(client: httpx.AsyncClient) -> None:
    state = await run(
        client,
        *("--var", "who=Zoë = 1", "--var", "max_count=7", "--var", "dry=true"),
        *("--variables", '{"options": {"a": 1}, "max_count": 9}', "--output", "a", "--output", "b"),
        *("--timeout", "2h", "--max-concurrency", "3"),
    )
    assert state["variables"] == {"who": "Zoë = 1", "max_count": 9, "dry": True, "options": {"a": 1}}
    assert (state["outputs_asked"], state["max_concurrency"]) == (["a", "b"], 3)
    assert state["deadline"] > state["created_at"]


async def test_what_cannot_be_sent_along_is_said_on_standard_error(client: httpx.AsyncClient) -> None:
    for words, said in (
        (("--var", "who"), "--var takes NAME=VALUE"),
        (("--var", "a b=1"), "--var takes NAME=VALUE"),
        (("--var", "who=one\ntwo"), "--variables"),
        (("--var", "max_count=many"), "x-playhead-var-max-count should be a number"),
        (("--timeout", "30"), "say 30s"),
    ):
        code, out, err = await playhead(client, "run", "typed", *words)
        assert code != 0
        assert out == ""
        assert said in " ".join(err.split())


async def test_watching_shows_chunks_between_the_events(client: httpx.AsyncClient, pen: Pen, bus: Bus) -> None:
    execution_id = await start_async(client, "two", {"input": {"amount": 1}})
    process = await asyncio.create_subprocess_exec(
        SCRIPT, "watch", execution_id, "--url", str(client.base_url), stdout=PIPE
    )
    assert process.stdout is not None
    assert b"execution.created" in await process.stdout.readline()
    said = Chunk(execution_id=execution_id, path=BlockPath("first"), attempt=1, index=0, content="a [piece]")
    await bus.publish(subjects.chunk(TENANT, execution_id), msgspec.json.encode(said))
    assert b"block.chunk" in (told := await process.stdout.readline())
    await pen.run_two(execution_id)
    lines = (await process.stdout.read()).decode().splitlines()
    assert await process.wait() == 0
    assert told.decode().split() == ["block.chunk", "first", '"a', '[piece]"']
    assert sum(" block." in line or " execution." in line for line in lines) == 4
