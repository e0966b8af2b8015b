"""One service as a process of its own: it ends when we do, starts again when it dies, and is heard when it warns."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from playhead_contracts.errors import PlayheadError
from playhead_runtime.server_process import ServerProcess

Say = Callable[[str], None]

_LOOK_SECONDS = 0.1
_LOOK_WHILE_STARTING_SECONDS = 0.02
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
"""An executor lets blocks in flight finish for ten."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_QUIET_LEVELS = frozenset({"DEBUG", "INFO"})
_MOST_SAID = 400
"""A traceback is one line in a log, and a page on a terminal."""


class StartFailed(PlayheadError):
    """A service did not get ready. The text holds the last lines of its log."""


class Child:
    """One service. Its log goes to a file; warnings, and what is no log line (a crash), are said as well."""

    def __init__(self, service: str, folder: Path, environ: Mapping[str, str], say: Say):
        self.service = service
        self.log = folder / f"{service}.log"
        self._environ = dict(environ)
        self._say = say
        self._process = ServerProcess(service, self.log, folder / f"{service}.lock")
        self._read_until = 0
        self._rest = b""
        self._is_ready = False
        self._was_ready = False
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def start(self) -> None:
        """Start the process. In a thread that lives for as long as it shall."""
        self._read_until = self.log.stat().st_size if self.log.exists() else 0
        self._rest, self._is_ready = b"", False
        # SIGKILL: when we are gone there is nobody to stop for, and the log is the truth at any moment.
        command = [sys.executable, "-P", "-m", f"playhead_{self.service}"]
        self._process.start(command, ends_by=signal.SIGKILL, env=self._environ)

    async def ready(self) -> None:
        """Return when it says that it is ready. Raises StartFailed."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not self._is_ready:
                    # Looked at before the log: what it said last counts.
                    is_running = self._process.is_running
                    self._look()
                    if not is_running and not self._is_ready:
                        raise StartFailed(f"{self.service} did not start; its log says:\n{self._process.log_tail()}")
                    await asyncio.sleep(_LOOK_WHILE_STARTING_SECONDS)
        except TimeoutError as error:
            tail = self._process.log_tail()
            raise StartFailed(f"{self.service} is not ready after {_START_SECONDS:g} s:\n{tail}") from error

    async def keep_running(self) -> None:
        """Start it again whenever it ends, with longer and longer pauses while it does not get ready."""
        while True:
            is_running = self._process.is_running
            self._look()
            if not is_running:
                pause = self._pause_seconds
                self._say(f"{self.service} has ended by itself; it is started again in {pause:g} s (log: {self.log})")
                await asyncio.sleep(pause)
                self._pause_seconds = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                self.start()
            elif self._is_ready:
                self._pause_seconds = _FIRST_PAUSE_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Stop it in order; blocks until it has ended."""
        self._process.stop([(signal.SIGTERM, _STOP_SECONDS)])
        self._look()

    def _look(self) -> None:
        with self.log.open("rb") as log:
            log.seek(self._read_until)
            new = log.read()
        self._read_until += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            self._hear(line.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        # "<time> <level> <logger> <message> <field>=<value>...", by playhead_runtime.service.
        level = [*line.split(" ", 2), ""][1]
        if level == "INFO" and f" {self.service} ready" in line:
            self._is_ready = self._was_ready = True
        # Before that, what it said is told once, with the failure.
        if self._was_ready and line and level not in _QUIET_LEVELS:
            shown = line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}… (log: {self.log})"
            self._say(f"{self.service}: {shown}")
