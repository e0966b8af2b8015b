"""Time travel at the command line: diff, replay with and without a terminal, lineage, compare."""

import asyncio
import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import gateway, publish
from tests.e2e.conftest import SCRIPT, Home
from tests.system import executor, hitl, projector

STEPS = """
id: steps
variables: {total: 0}
blocks:
  first: {type: function, code: "{'a': 1}", next: ask}
  ask:
    type: human
    message: "Go on?"
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: set
  set: {type: variables, set: {total: "{{ 7 }}"}, next: last}
  last: {type: function, code: "{'b': 2}"}
"""


@pytest.fixture
async def door(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    url = database.service_url
    async with (
        executor(url, nats_url),
        hitl(url, nats_url),
        projector(url, nats_url),
        gateway(url, nats_url) as client,
    ):
        await publish(client, STEPS)
        yield client


@pytest.fixture
def home(door: httpx.AsyncClient, folder: Path) -> Home:
    made = Home(folder)
    made.url = str(door.base_url)
    return made


async def completed(door: httpx.AsyncClient) -> str:
    """A completed execution with an answered pause in it."""
    paused = (await door.post("/v1/workflows/steps/executions", json={})).json()
    here, pause_id = f"/v1/executions/{paused['execution_id']}", paused["pauses"][0]["pause_id"]
    ended = await door.post(f"{here}/pauses/{pause_id}/resume", json={"input": {"approved": True}})
    assert ended.json()["status"] == "completed", ended.text
    return paused["execution_id"]


async def test_diff_shows_what_changed_and_gives_a_patch(home: Home, door: httpx.AsyncClient) -> None:
    execution_id = await completed(door)
    last = (await door.get(f"/v1/executions/{execution_id}")).json()["last_version"]
    shown = await home.run("diff", execution_id, "--from", "1", "--to", str(last))
    assert shown.code == 0, shown.err
    for words in (["execution", "status", "created", "completed"], ["block", "last", "outputs"], ["variable", "total"]):
        assert any(all(word in row for word in words) for row in shown.out.splitlines()), shown.out
    patch = (await home.run("diff", execution_id, "--from", "1", "--to", str(last), "--json")).json()
    assert {"op": "replace", "path": "/variables/total", "value": 7} in patch["patch"]
    same = await home.run("diff", execution_id, "--from", "2", "--to", "2")
    assert "nothing" in same.out
    wrong = await home.run("diff", execution_id, "--from", "1", "--to", "999")
    assert (wrong.code, "Traceback" in wrong.err) == (1, False)


async def test_replay_without_a_terminal_prints_each_step_in_order(home: Home, door: httpx.AsyncClient) -> None:
    execution_id = await completed(door)
    frames = (await door.get(f"/v1/executions/{execution_id}/events")).json()["items"]
    ran = await home.run("replay", execution_id, stdin="")
    assert ran.code == 0, ran.err
    heads = [row for row in ran.out.splitlines() if not row.startswith("      ")]
    assert [row.split()[2] for row in heads] == [frame["type"] for frame in frames]
    assert "variable total: 0 → 7" in ran.out
    assert 'block first status: null → "completed"' in ran.out
    later = await home.run("replay", execution_id, "--at", "4", stdin="")
    assert next(row.split()[0] for row in later.out.splitlines() if not row.startswith("      ")) == "4"
    steps = [json.loads(row) for row in (await home.run("replay", execution_id, "--json")).out.splitlines()]
    assert [step["version"] for step in steps] == list(range(1, len(frames) + 1))
    assert [step["event"] for step in steps] == frames
    unknown = await home.run("replay", execution_id, "--at", "999")
    assert (unknown.code, "Traceback" in unknown.err) == (1, False)


async def test_replay_in_a_terminal_goes_where_keys_lead_and_leaves_it_as_it_was(
    home: Home, door: httpx.AsyncClient
) -> None:
    execution_id = await completed(door)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    before = termios.tcgetattr(theirs)
    environ = {**os.environ, "PLAYHEAD_URL": home.url, "TERM": "xterm-256color"}
    process = await asyncio.create_subprocess_exec(
        str(SCRIPT), "replay", execution_id, "--at", "2", stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    )
    terminal = _Terminal(ours)
    try:
        await terminal.shows("version 2 of")
        for key, expected in (
            (b"\x1b[C", "version 3 of"),
            (b"n", "version 4 of"),
            (b"p", "version 3 of"),
            (b"\x1b[H", "version 1 of"),
            (b"5", "go to: 5"),
            (b"\r", "version 5 of"),
            (b"\x1b[F", "completed"),
        ):
            terminal.forget()
            os.write(ours, key)
            await terminal.shows(expected)
        os.write(ours, b"q")
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        if process.returncode is None:
            process.kill()
        terminal.close()
        os.close(theirs)


async def test_lineage_draws_the_tree_and_compare_says_what_was_saved(home: Home, door: httpx.AsyncClient) -> None:
    execution_id = await completed(door)
    fork = (await home.run("rerun", execution_id, "--from", "last", "--json")).json()["execution_id"]
    drawn = await home.run("lineage", fork)
    assert drawn.code == 0, drawn.err
    first, second = drawn.out.splitlines()
    assert first.startswith(execution_id)
    assert fork in second
    assert "from last at version" in second
    assert (await home.run("lineage", execution_id, "--json")).json()["root"] == execution_id
    compared = await home.run("compare", execution_id, fork)
    assert "b took over 3 blocks from a" in compared.out


class _Terminal:
    """The other end of a terminal: what was written to it."""

    def __init__(self, fd: int):
        self._fd = fd
        self._seen = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, self._read)

    def forget(self) -> None:
        self._seen = b""

    async def shows(self, text: str) -> None:
        """Wait until a text was written."""
        async with asyncio.timeout(30):
            while text.encode() not in self._seen:
                self._more.clear()
                await self._more.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        self._seen += os.read(self._fd, 65536)
        self._more.set()
