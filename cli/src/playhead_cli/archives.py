"""Checking what was moved out of the log: that the tombstones are whole, and the files what they stand for."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from playhead_eventlog import EventLog
from playhead_eventlog.archive import Archive, BrokenArchive, Manifest, Stored, Tombstone, read_file
from playhead_eventlog.archive_files import ArchiveFiles
from playhead_eventlog.auditing import Grave
from playhead_eventlog.signing import PublicKey


class ArchiveFault(msgspec.Struct, frozen=True):
    """What does not hold: of a stream, or of a file."""

    where: str
    reason: str


class ArchiveVerdict(msgspec.Struct, kw_only=True):
    """What was found. `files` were read, if somebody said where they are."""

    executions: int = 0
    events: int = 0
    files: int = 0
    faults: list[ArchiveFault] = []
    unreferred: list[str] = []
    """Files that no tombstone names: left by an archiving that was cut off. They can be deleted."""

    @property
    def intact(self) -> bool:
        return not self.faults


async def verify_archive(
    log: EventLog, files: ArchiveFiles | None = None, keys: Sequence[PublicKey] | None = None
) -> ArchiveVerdict:
    """Check every tombstone against its head; and every file, if they are given, against the tombstones. With `keys`,
    also who signed it. Raises LogUnavailable.
    """
    verdict = ArchiveVerdict()
    expected: Counter[str] = Counter()
    async for grave in log.auditing.tombstones():
        verdict.executions += 1
        if grave.tombstone is not None:
            verdict.events += grave.tombstone.version
            expected[grave.tombstone.file] += 1
        if reason := _fault(grave):
            verdict.faults.append(ArchiveFault(grave.stream_id, reason))
    if files is None:
        return verdict
    for name in sorted(expected):
        verdict.files += 1
        try:
            found = await _read(log.archive, files, name, keys)
            if found != expected[name]:
                raise BrokenArchive(f"it holds {found} executions, and {expected[name]} tombstones name it")
        except (BrokenArchive, OSError, EOFError, ValueError) as error:
            verdict.faults.append(ArchiveFault(name, str(error)))
    verdict.unreferred = [name for name in files.names() if name not in expected]
    return verdict


async def _read(archive: Archive, files: ArchiveFiles, name: str, keys: Sequence[PublicKey] | None) -> int:
    """How many streams a file holds, all of which are what their tombstones say."""
    stones: dict[str, Tombstone] = {}
    with files.lines(name) as lines:
        for part in read_file(lines, keys):
            if isinstance(part, Stored):
                stone = (await archive.tombstones([part.stream_id])).get(part.stream_id)
                if stone is None or stone.file != name:
                    raise BrokenArchive(f"{part.stream_id} is in it, and no tombstone says so")
                places = [(event.position, event.hash) for event in part.events]
                if places != list(zip(stone.positions, stone.hashes, strict=False)):
                    raise BrokenArchive(f"{part.stream_id} in it is not what was moved out of the log")
                stones[part.stream_id] = stone._replace(positions=(), hashes=())
            else:
                _check_places(part, stones)
    return len(stones)


def _check_places(manifest: Manifest, stones: dict[str, Tombstone]) -> None:
    for each in manifest.executions:
        stone = stones[f"execution:{each.execution_id}"]
        if (stone.offset, stone.size) != (each.offset, each.size):
            raise BrokenArchive(f"{stone.stream_id} is not where its tombstone says")


def _fault(grave: Grave) -> str | None:
    stone, head = grave.tombstone, grave.head
    if stone is None:
        return "it is marked as archived, and has no tombstone: that was removed"
    if head is None or not grave.is_marked:
        return "it has a tombstone, and is not marked as archived"
    if (stone.version, stone.hash) != (head.version, head.hash):
        return f"its tombstone says version {stone.version}, its head version {head.version}, or another hash"
    if len(stone.positions) != stone.version or len(stone.hashes) != stone.version or stone.hashes[-1] != stone.hash:
        return "its tombstone does not hold the hashes of all its events"
    if list(stone.positions) != sorted(set(stone.positions)):
        return "the positions of its tombstone are not in order"
    return "it was archived, and the log holds events of it" if grave.has_events else None
