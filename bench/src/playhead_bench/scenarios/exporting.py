"""How fast the log is exported, by the command that people use, and how much memory that takes."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from playhead_bench.rig import Rig, rig
from playhead_bench.table import Figure
from playhead_contracts.events import (
    BlockCompleted,
    BlockStarted,
    EventData,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionStarted,
)
from playhead_contracts.ids import BlockPath, ExecutionId, WorkflowId, execution_stream
from playhead_eventlog import GENESIS
from playhead_runtime.ids import new_id

FORMATS = ("jsonl", "cloudevents", "ocel", "xes", "parquet")
EVENTS_AN_EXECUTION = 10
AT_ONCE = 200
MEGABYTE = 1024 * 1024


async def measure_export(runs: int, events: int) -> list[Figure]:
    """Events a second and the most memory, for each format, of `playhead export` into a file."""
    figures: list[Figure] = []
    async with rig() as system:
        await fill(system, events)
        with TemporaryDirectory(prefix="playhead-bench-") as folder:
            for name in FORMATS:
                file = Path(folder) / f"log.{name}"
                measured = [await asyncio.to_thread(_export, system, name, file) for _ in range(runs)]
                rates = tuple(events / seconds for seconds, _ in measured)
                peaks = tuple(peak for _, peak in measured)
                note = f"{events:,} events, {file.stat().st_size / MEGABYTE:,.0f} MB"
                figures.append(Figure(f"export as {name}", "events/s", rates, note=note))
                figures.append(Figure(f"export as {name}, most memory", "MB", peaks, higher_is_better=False))
                file.unlink()
    return figures


async def fill(system: Rig, events: int) -> None:
    """Put executions of ten events each into the log."""
    left = iter(range(events // EVENTS_AN_EXECUTION))

    async def some() -> None:
        for _ in left:
            execution_id = ExecutionId(new_id())
            new = [system.event(fact, execution_id) for fact in _facts()]
            await system.log.append(execution_stream(execution_id), GENESIS, new)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def _facts() -> list[EventData]:
    facts: list[EventData] = [
        ExecutionCreated(
            workflow_id=WorkflowId("bench"),
            workflow_version=1,
            digest="sha256:0",
            input={"amount": 12.5, "text": "x" * 80},
        ),
        ExecutionStarted(executor="bench", epoch=1, command="run"),
    ]
    for number in range(3):
        path = BlockPath(f"block_{number}")
        facts.append(BlockStarted(path=path, inputs={"amount": 12.5, "text": "y" * 80}))
        facts.append(BlockCompleted(path=path, outputs={"status": 200, "body": "z" * 120}, duration_ms=1.5))
    last = BlockCompleted(path=BlockPath("last"), outputs={"n": 1}, inputs={"n": 0}, started_at=datetime.now(UTC))
    return [*facts, last, ExecutionCompleted(output={"n": 1})]


def _export(system: Rig, name: str, file: Path) -> tuple[float, float]:
    """Seconds, and megabytes at the most, of one export in a process of its own."""
    words = [sys.executable, "-m", "playhead_cli", "export", "--format", name, "--output", str(file), "--json"]
    environ = {"PLAYHEAD_DATABASE_URL": system.servers.database_url, "PATH": "", "HOME": str(file.parent)}
    began = perf_counter()
    process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_megabytes(process.pid))
        sleep(0.02)
    seconds = perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"playhead export --format {name} ended with {process.returncode}")
    return seconds, peak


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has had so far; 0 where the system does not tell (only Linux does)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return 0.0 if line is None else int(line.split()[1]) / 1024
