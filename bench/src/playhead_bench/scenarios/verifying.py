"""How fast a log is verified, by the command that people use, and what its hash chain costs whoever writes it."""

import asyncio
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from playhead_bench.rig import Rig, rig
from playhead_bench.scenarios.exporting import fill, peak_megabytes
from playhead_bench.scenarios.log import append_limit
from playhead_bench.table import Figure
from playhead_eventlog import chain

_CHAINS = 20_000


async def measure_verify(runs: int, events: int) -> list[Figure]:
    """Events a second of `playhead verify`, with signed checkpoints, and of the verifier that needs no server."""
    async with rig() as system:
        await fill(system, events)
        log = await system.log.last_position()
        appended = [await append_limit(system) for _ in range(runs)]
        hashed = [await _chain_microseconds(system) for _ in range(runs)]
        with TemporaryDirectory(prefix="playhead-bench-") as name:
            folder = Path(name)
            _playhead(system, folder, "checkpoints", "keygen", str(folder / "key"))
            signed = ["--checkpoints", str(folder / "signed"), "--signing-key", str(folder / "key" / "signing.pem")]
            began = perf_counter()
            _playhead(system, folder, "checkpoints", "sign-now", *signed)
            signing = perf_counter() - began
            events = await system.log.last_position()
            held = [*signed[:2], "--public-key", str(folder / "key" / "signing.pub")]
            online = [await asyncio.to_thread(_timed, system, folder, "verify", *held) for _ in range(runs)]
            file = folder / "log.jsonl"
            _playhead(system, folder, "export", "--output", str(file))
            offline = [
                await asyncio.to_thread(_timed, system, folder, "verify", "--offline", str(file), *held)
                for _ in range(runs)
            ]
    append_microseconds = tuple(1e6 / rate for rate in appended)
    note = f"{events:,} events, {log // 10:,} streams"
    return [
        Figure("verify, chains and checkpoints", "events/s", tuple(events / took for took, _ in online), note=note),
        Figure("verify, most memory", "MB", tuple(peak for _, peak in online), higher_is_better=False),
        Figure("verify --offline", "events/s", tuple(events / took for took, _ in offline), note="no server"),
        Figure("verify --offline, most memory", "MB", tuple(peak for _, peak in offline), higher_is_better=False),
        Figure("sign all of a log", "events/s", (events / signing,), note="once; later only what is new"),
        Figure("hash chain, an event", "µs", tuple(hashed), higher_is_better=False, note="sha256 over what is stored"),
        Figure("append, an event", "µs", append_microseconds, higher_is_better=False, note="all of it, at the limit"),
    ]


async def _chain_microseconds(system: Rig) -> float:
    stored = await system.log.read_log(0, 1000)
    began = perf_counter()
    for _ in range(_CHAINS // len(stored)):
        for event in stored:
            chain(event.prev_hash, event.meta, event.data)
    return (perf_counter() - began) / _CHAINS * 1e6


def _environ(system: Rig, folder: Path) -> dict[str, str]:
    return {"PLAYHEAD_DATABASE_URL": system.servers.database_url, "PATH": "", "HOME": str(folder)}


def _playhead(system: Rig, folder: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "playhead_cli", *words, "--json"],
        env=_environ(system, folder),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _timed(system: Rig, folder: Path, *words: str) -> tuple[float, float]:
    """Seconds, and megabytes at the most, of a command that must find nothing wrong."""
    command = [sys.executable, "-m", "playhead_cli", *words, "--json"]
    began = perf_counter()
    with (folder / "told.json").open("wb") as told:
        process = subprocess.Popen(command, env=_environ(system, folder), stdout=told)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, peak_megabytes(process.pid))
            # Not busily: it would take a core from what is measured.
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    seconds = perf_counter() - began
    found = msgspec.json.decode((folder / "told.json").read_bytes())
    if process.returncode or not found["intact"]:
        raise RuntimeError(f"playhead {words[0]} raised an alarm: {found}")
    return seconds, peak
