"""Services as real processes, to be killed with SIGKILL."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path


class Service:
    """One service in a process of its own."""

    def __init__(self, name: str, module: str, environ: dict[str, str], log: Path):
        self.name = name
        self._module = module
        self._environ = environ
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Service":
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, env=self._environ, stdout=log, stderr=log
            )
        return self

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    async def kill(self) -> None:
        """SIGKILL: no goodbye, no clean-up."""
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        """As if the machine had stalled: alive, and doing nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return await self.process.wait()


class Processes:
    """All services of one test."""

    def __init__(self, folder: Path, **settings: str):
        self._folder = folder
        self._settings = settings
        self._started: list[Service] = []

    async def start(self, name: str, *, module: str | None = None, **settings: object) -> Service:
        """Start one service, or the module that stands in for its `__main__`; settings are its `PLAYHEAD_*`."""
        own = {key: str(value) for key, value in settings.items()}
        environ = {
            **os.environ,
            "PLAYHEAD_HTTP_ALLOW": "private",
            "PLAYHEAD_WEBHOOK_ALLOW": "private",
            **{f"PLAYHEAD_{key.upper()}": value for key, value in {**self._settings, **own}.items()},
        }
        service = Service(
            name, module or f"playhead_{name}", environ, self._folder / f"{name}-{len(self._started)}.log"
        )
        self._started.append(service)
        return await service.start()

    async def stop_all(self) -> None:
        for service in self._started:
            await service.stop()


@asynccontextmanager
async def processes(folder: Path, **settings: str) -> AsyncGenerator[Processes]:
    """Services that are all stopped at the end."""
    made = Processes(folder, **settings)
    try:
        yield made
    finally:
        await made.stop_all()
