"""How fast executions are moved out of the log, what is left of them there, and what reading one costs then."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import psycopg

from playhead_bench.rig import Rig, rig
from playhead_bench.scenarios.exporting import MEGABYTE, fill
from playhead_bench.table import Figure
from playhead_contracts.ids import StreamId
from playhead_eventlog import open_log
from playhead_eventlog.signing import SigningKey

READ = 200
_TABLES = "select pg_total_relation_size('log.events'), pg_total_relation_size('log.tombstones')"


async def measure_archive(events: int) -> list[Figure]:
    """`playhead archive` of everything in a log, once: it cannot be done twice."""
    async with rig() as system:
        await fill(system, events)
        projector = await system.serve("projector")
        await system.caught_up()
        # The relay notes where it is once a second.
        await asyncio.sleep(2)
        await system.stop(projector)
        streams = [raw.stream_id for raw in (await system.log.read_log(0, READ * 10)) if raw.version == 1][:READ]
        with TemporaryDirectory(prefix="playhead-bench-") as folder:
            before = await _read(system, streams, None)
            full, _ = await _sizes(system)
            began = perf_counter()
            await asyncio.to_thread(_archive, system, Path(folder))
            seconds = perf_counter() - began
            after = await _read(system, streams, f"{folder}/archive")
            stored = _stored_bytes(Path(folder))
            _, stones = await _sizes(system)
    return [
        Figure("archive", "events/s", (events / seconds,), note=f"{events:,} events, with reading the files back"),
        Figure("an event in the log", "bytes", (full / events,), higher_is_better=False, note="with its indexes"),
        Figure("its tombstone", "bytes", (stones / events,), higher_is_better=False, note="with its share of indexes"),
        Figure("in its file", "bytes", (stored / events,), higher_is_better=False),
        Figure("read an execution of 10 events", "ms", before, higher_is_better=False),
        Figure("the same from the archive", "ms", after, higher_is_better=False, note=f"{stored / MEGABYTE:,.1f} MB"),
    ]


async def _read(system: Rig, streams: list[StreamId], archive_url: str | None) -> tuple[float, ...]:
    """Milliseconds of each."""
    took: list[float] = []
    async with open_log(system.servers.database_url, archive_url=archive_url) as log:
        for stream in streams:
            began = perf_counter()
            assert len(await log.read(stream)) == 10
            took.append((perf_counter() - began) * 1000)
    return tuple(took)


async def _sizes(system: Rig) -> tuple[int, int]:
    async with await psycopg.AsyncConnection.connect(system.servers.owner_database_url) as owner:
        [(events, stones)] = await (await owner.execute(_TABLES)).fetchall()
    return int(events), int(stones)


def _stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "archive").rglob("*.gz"))


def _archive(system: Rig, folder: Path) -> None:
    (folder / "key.pem").write_bytes(SigningKey.new().pem())
    words = [sys.executable, "-m", "playhead_cli", "archive", "--before", datetime.now(UTC).isoformat()]
    environ = {
        "PLAYHEAD_DATABASE_URL": system.servers.database_url,
        "PLAYHEAD_DATABASE_OWNER_URL": system.servers.owner_database_url,
        "PLAYHEAD_ARCHIVE_URL": str(folder / "archive"),
        "PLAYHEAD_SIGNING_KEY": str(folder / "key.pem"),
        "PATH": "",
        "HOME": str(folder),
    }
    subprocess.run(words, env=environ, check=True, stdout=subprocess.DEVNULL)
