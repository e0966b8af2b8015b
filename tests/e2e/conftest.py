"""`playhead` as people run it: the installed script, in a directory of its own."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from playhead_runtime.embedded_nats import free_port
from tests.conftest import scratch
from tests.system import eventually

SCRIPT = Path(sys.executable).parent / "playhead"


class Ran(msgspec.Struct, frozen=True):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Home:
    """A directory in which somebody works with `playhead`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._dev: asyncio.subprocess.Process | None = None

    async def run(self, *words: str, stdin: str | None = None, key: str | None = None, seconds: float = 60) -> Ran:
        """Run a command to its end; `key` is an API key."""
        process = await asyncio.create_subprocess_exec(
            str(SCRIPT),
            *words,
            cwd=self.folder,
            env=self._environ() | ({"PLAYHEAD_API_KEY": key} if key else {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def start_dev(self, *options: str) -> None:
        """`playhead dev`, ready."""
        words = ["dev", "--port", str(self.port), *options]
        with (self.folder / "dev.log").open("ab") as log:
            self._dev = await asyncio.create_subprocess_exec(
                str(SCRIPT), *words, cwd=self.folder, env=self._environ(), stdout=log, stderr=log
            )
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:

            async def ready() -> bool:
                assert self.dev.returncode is None, (self.folder / "dev.log").read_text()
                try:
                    return (await client.get("/health/ready")).is_success
                except httpx.TransportError:
                    return False

            await eventually(ready, seconds=60)

    @property
    def dev(self) -> asyncio.subprocess.Process:
        assert self._dev is not None
        return self._dev

    async def signal_dev(self, sign: signal.Signals) -> int:
        """Send a signal to `playhead dev`, and wait for its end."""
        self.dev.send_signal(sign)
        return await self.dev.wait()

    async def end(self) -> None:
        if self._dev is not None and self._dev.returncode is None:
            await self.signal_dev(signal.SIGTERM)

    def left_behind(self) -> list[str]:
        """Processes that still work on this directory."""
        found: list[str] = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            words = " ".join(process.info["cmdline"] or [])
            environ: dict[str, str] = process.info["environ"] or {}
            if str(self.folder) in words or environ.get("PLAYHEAD_PORT") == str(self.port):
                found.append(words)
        return found

    def _environ(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}
        return {**ours, "PLAYHEAD_URL": self.url, "COLUMNS": "200"}


@pytest.fixture
def folder() -> Generator[Path]:
    """Short, because unix sockets stand in it."""
    with tempfile.TemporaryDirectory(prefix="playhead-", dir=scratch()) as name:
        yield Path(name)


@pytest.fixture
async def home(folder: Path) -> AsyncGenerator[Home]:
    made = Home(folder)
    yield made
    await made.end()
