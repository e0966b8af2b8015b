"""The example consumers as processes, and what their read models must be by the log."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from playhead_contracts.events import decode_envelope
from playhead_eventlog import EventLog
from tests.node import NODE, installed

EXAMPLES = Path(__file__).parent.parent / "examples"
STATUS = {
    "execution.created": "created",
    "execution.started": "running",
    "execution.resumed": "running",
    "execution.recovered": "running",
    "execution.paused": "paused",
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
    "execution.timed_out": "timed_out",
    "execution.dead_lettered": "dead_lettered",
}


class Consumer:
    """One of the examples; its read model stays over its lives."""

    def __init__(self, kind: str, folder: Path, tenant: str, nats_url: str, gateway_url: str, **environ: str):
        if kind == "python":
            self._command = [sys.executable, str(EXAMPLES / "consumer-python" / "consumer.py")]
        else:
            self._command = [str(NODE), str(installed(EXAMPLES / "consumer-node", folder) / "consumer.mjs")]
        self._log = folder / f"{kind}.log"
        self._environ = {
            **os.environ,
            "PLAYHEAD_NATS_URL": nats_url,
            "PLAYHEAD_URL": gateway_url,
            "PLAYHEAD_TENANT": tenant,
            "CONSUMER_DB": str(folder / f"{kind}.db"),
            "QUIET_SECONDS": "1",
            **environ,
        }
        self._database = folder / f"{kind}.db"
        self._process: asyncio.subprocess.Process | None = None

    def place(self) -> int:
        """The position that it has come to, read from its database."""
        if not self._database.exists():
            return 0
        with closing(sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True)) as database:
            try:
                row = database.execute("select position from place").fetchone()
                return row[0] if row else 0
            except sqlite3.OperationalError:
                return 0  # it is being made, or locked for a moment

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environ, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def said(self) -> str:
        """Everything that it has said."""
        return self._log.read_text()

    async def shown(self) -> dict[str, Any]:
        """Its read model."""
        asked = await asyncio.create_subprocess_exec(
            *self._command, "--show", env=self._environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asked.communicate()
        shown: dict[str, Any] = msgspec.json.decode(out)
        return shown


async def by_the_log(log: EventLog, tenant: str) -> dict[str, Any]:
    """What a read model must be that has taken in each event of the tenant once and in order."""
    executions: dict[str, tuple[str, str]] = {}
    pauses: set[str] = set()
    count = position = 0
    for raw in await log.read_log(0, 1_000_000):
        if decode_envelope(raw.meta).tenant != tenant:
            continue
        count, position = count + 1, raw.position
        execution = raw.stream_id.removeprefix("execution:")
        data = msgspec.json.decode(raw.data)
        if raw.type in STATUS:
            workflow = data["workflow_id"] if raw.type == "execution.created" else executions[execution][0]
            executions[execution] = (workflow, STATUS[raw.type])
        elif raw.type == "pause.requested":
            pauses.add(data["pause_id"])
        elif raw.type in ("pause.resolved", "pause.expired"):
            pauses.discard(data["pause_id"])
    workflows: dict[str, dict[str, int]] = defaultdict(dict)
    for workflow, status in executions.values():
        workflows[workflow][status] = workflows[workflow].get(status, 0) + 1
    return {"position": position, "events": count, "workflows": dict(workflows), "open_pauses": sorted(pauses)}
