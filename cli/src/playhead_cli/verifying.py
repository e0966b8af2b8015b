"""Walking the log to check it: every chain, every large value, every head, and the signed checkpoints.

Nothing has to stand still for it. What is appended meanwhile is checked, too, as far as the heads that are read after
the events say; a head that is newer than what was read of its stream has the rest of that stream read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from playhead_cli.archives import ArchiveVerdict, verify_archive
from playhead_cli.chains import Chains
from playhead_contracts.errors import NotFound
from playhead_contracts.ids import ExecutionId, StreamId, execution_stream
from playhead_eventlog import EventLog
from playhead_eventlog.archive_files import ArchiveFiles
from playhead_eventlog.auditing import StoredRow
from playhead_eventlog.checkpoints import Checkpoints, line_id
from playhead_eventlog.proving import Proof, Unproven, prove
from playhead_eventlog.signing import PublicKey
from playhead_projector.building import Progress, Told, tell_nobody

_EVENTS_A_READ = 5000


class Witnesses(msgspec.Struct, frozen=True):
    """Where signed checkpoints are, and what to check them with. The first folder is where they are written; others
    are copies of it.
    """

    folders: tuple[Path, ...]
    keys: tuple[PublicKey, ...]


class CheckpointsReport(msgspec.Struct, frozen=True):
    """What the checkpoints of one folder prove."""

    folder: str
    proof: Proof


class LogReport(msgspec.Struct, frozen=True):
    """What was found about the log itself."""

    chains: Chains
    missing_guards: tuple[str, ...] = ()
    """What the database should hold against changes, and does not."""
    checkpoints: tuple[CheckpointsReport, ...] = ()
    archive: ArchiveVerdict | None = None

    @property
    def intact(self) -> bool:
        unproven = any(report.proof.faults for report in self.checkpoints)
        moved = self.archive is None or self.archive.intact
        return moved and not (self.chains.faults or self.missing_guards or unproven)


async def verify_log(
    log: EventLog,
    witnesses: Witnesses | None = None,
    told: Told = tell_nobody,
    archive: ArchiveFiles | None = None,
) -> LogReport:
    """Check all of the log, and what was moved out of it: that by the hashes that were left, or by its files, too."""
    chains = Chains()
    until = await log.last_position()
    after = 0
    while after < until and (rows := await log.auditing.rows(after, _EVENTS_A_READ)):
        await _check(log, chains, rows)
        chains.check_order(rows)
        after = rows[-1].position
        told(Progress(chains.events, after, max(until, after)))
    async for stream_id, head in log.auditing.heads():
        await _read_on(log, chains, stream_id, head.version)
        chains.check_head(stream_id, head)
    chains.end()
    guards = await log.auditing.missing_guards()
    reports = () if witnesses is None else await _prove_all(log, witnesses)
    moved = await verify_archive(log, archive, None if witnesses is None else witnesses.keys)
    return LogReport(chains, tuple(guards), reports, moved)


async def verify_stream(log: EventLog, stream_id: StreamId, told: Told = tell_nobody) -> LogReport:
    """Check one stream. Raises NotFound when the log knows nothing of it."""
    chains = Chains()
    heads = await log.heads(stream_id)
    until = sum(head.version for head in heads.values())
    if await log.is_archived(stream_id):
        chains.check(await log.read_raw(stream_id))
    while rows := await log.auditing.rows_of(stream_id, chains.reached(stream_id), _EVENTS_A_READ):
        await _check(log, chains, rows)
        chains.check_order(rows)
        told(Progress(chains.events, chains.events, max(until, chains.events)))
    if not heads and not chains.events:
        raise NotFound(f"the log has no event of {stream_id}")
    # Anew: what is there of the stream may have been appended since.
    for name, head in (await log.heads(stream_id)).items():
        await _read_on(log, chains, name, head.version)
        chains.check_head(name, head)
    chains.end()
    return LogReport(chains)


def stream_named(text: str) -> StreamId:
    """The stream that somebody means: an execution by its id, or a stream by its name."""
    return StreamId(text) if ":" in text else execution_stream(ExecutionId(text.lower()))


async def _check(log: EventLog, chains: Chains, rows: Sequence[StoredRow]) -> None:
    chains.check(rows)
    for row in rows:
        if unseen := chains.unseen_blobs(row):
            chains.check_blobs(row, await log.blobs(unseen))
        else:
            chains.check_blobs(row, {})


async def _read_on(log: EventLog, chains: Chains, stream_id: StreamId, version: int) -> None:
    """Read what was appended to a stream since it was read, up to a version."""
    while (reached := chains.reached(stream_id)) < version:
        rows = await log.auditing.rows_of(stream_id, reached, version - reached)
        if not rows:
            return
        await _check(log, chains, rows)


async def _prove_all(log: EventLog, witnesses: Witnesses) -> tuple[CheckpointsReport, ...]:
    # Noted after a line is written: what is noted now is in the files that are read next.
    noted = await log.auditing.signed()
    reports: list[CheckpointsReport] = []
    for number, folder in enumerate(witnesses.folders):
        checkpoints = Checkpoints(folder)
        proof = await prove(log.auditing.places(), checkpoints.lines(), witnesses.keys)
        faults = [] if number else [*_cut_off(checkpoints, proof, noted), *_rolled_back(witnesses.folders)]
        reports.append(CheckpointsReport(str(folder), replace(proof, faults=(*proof.faults, *faults))))
    return tuple(reports)


def _cut_off(checkpoints: Checkpoints, proof: Proof, noted: Mapping[str, int]) -> list[Unproven]:
    """Whether the database knows of more checkpoints than there are in the folder. Copies may be older."""
    chain = checkpoints.chain
    if chain is None and noted:
        reason = f"the database knows that position {max(noted.values())} was signed, and nothing is there"
        return [Unproven("checkpoint", 0, max(noted.values()), reason)]
    signed = noted.get(chain or "", 0)
    if signed <= proof.position:
        return []
    reason = f"the database knows that position {signed} was signed: checkpoints were removed from the end"
    return [Unproven("checkpoint", proof.position, signed, reason)]


def _rolled_back(folders: Sequence[Path]) -> list[Unproven]:
    """Copies that go on where the checkpoints themselves end, or that are others."""
    own = [line_id(each.line) for each in Checkpoints(folders[0]).lines()]
    faults: list[Unproven] = []
    for folder in folders[1:]:
        copied = [line_id(each.line) for each in Checkpoints(folder).lines()]
        same = next((n for n, (a, b) in enumerate(zip(own, copied, strict=False)) if a != b), None)
        if same is not None:
            reason = f"checkpoint {same + 1} is another than that in the copy {folder}"
            faults.append(Unproven("checkpoint", 0, 0, reason))
        elif len(copied) > len(own):
            reason = f"the copy {folder} has {len(copied) - len(own)} more: they were removed here"
            faults.append(Unproven("checkpoint", 0, 0, reason))
    return faults
