"""Ended executions outside of the database: signed files, and reading from them as if they were still in the log.

An archive is a folder, or a place that fsspec knows (`s3://…`). A file of it is lines as an export has them (see
`lines.py`): execution by execution, each with its large values before the events that refer to them, and at the end a
manifest. In a file that ends in `.gz` each execution is a gzip member of its own, so that one can be read without the
others; all members one after the other are a gzip file like any other.

    {"kind":"manifest","format":...,"tenant":...,"executions":[...],"events":...,"sha256":...,...,"signature":"<base64>"}

`sha256` is over all lines before it, newlines included. What is signed is the manifest without its last member.

In the database a tombstone stays of each (see `0011_archive.sql`). Whoever reads a stream of which the log has no event
gets it from the file that its tombstone names, checked against the hashes there: a file can be lost or damaged, but not
changed without being found out. Reading one costs a query more and a file; what is in the log pays nothing.
"""

import asyncio
import gzip
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import msgspec
from psycopg.rows import TupleRow

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_contracts.ids import ExecutionId, StreamId, TenantId, execution_stream
from playhead_eventlog import queries
from playhead_eventlog.archive_files import ArchiveFiles
from playhead_eventlog.lines import EventLine, read_line
from playhead_eventlog.signing import PublicKey, SigningKey
from playhead_eventlog.stored import GENESIS, Blob, RawEvent, chain

FORMAT = "playhead-archive/1"
KEPT_BYTES = 16 * 1024 * 1024
"""Of events that were read from files last: a fork reads those of its source again and again."""

_MANIFEST = b'{"kind":"manifest",'
_SEAM = b',"signature":'


class NotArchivedHere(Unavailable):
    """An execution is in the archive, and this process was not told where that is, or cannot reach it."""


class BrokenArchive(Corrupt):
    """A file of the archive is not what was written."""


class Tombstone(NamedTuple):
    """What the log keeps of an execution that was moved out of it, and where in which file it is."""

    stream_id: StreamId
    version: int
    hash: bytes
    positions: Sequence[int]
    hashes: Sequence[bytes]
    file: str
    offset: int
    size: int


class Archived(msgspec.Struct, frozen=True):
    """One execution in a manifest. `offset` and `size` are bytes of the file."""

    execution_id: ExecutionId
    version: int
    hash: str
    first_position: int
    last_position: int
    offset: int
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a file. Its fields stand there in this order."""

    kind: str = "manifest"
    format: str = FORMAT
    tenant: TenantId
    executions: tuple[Archived, ...]
    events: int
    sha256: str
    archived_at: datetime
    key_id: str
    signature: str = ""


class Stored(NamedTuple):
    """A stream as a file holds it, its chain computed anew."""

    stream_id: StreamId
    events: list[RawEvent]
    blobs: list[Blob]


def sign_manifest(manifest: Manifest, key: SigningKey) -> bytes:
    """Its line, with the newline."""
    content = _signed_part(msgspec.json.encode(manifest))
    return content[:-1] + _SEAM + msgspec.json.encode(key.sign(content)) + b"}\n"


def read_manifest(line: bytes, keys: Iterable[PublicKey] | None) -> Manifest:
    """The manifest in a line, signed with one of the keys; None: whoever signed it. Raises BrokenArchive."""
    try:
        manifest = msgspec.json.decode(line, type=Manifest)
    except msgspec.DecodeError as error:
        raise BrokenArchive(f"its manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BrokenArchive(f"its format is {manifest.format}; this Playhead knows {FORMAT}")
    if keys is None:
        return manifest
    key = next((key for key in keys if key.key_id == manifest.key_id), None)
    if key is None:
        raise BrokenArchive(f"it is signed with key {manifest.key_id}, which was not given")
    if not key.is_signed(_signed_part(line.rstrip(b"\n")), manifest.signature):
        raise BrokenArchive("its signature is wrong: it is not what was signed")
    return manifest


def _signed_part(line: bytes) -> bytes:
    return line.rpartition(_SEAM)[0] + b"}"


def read_file(lines: Iterable[bytes], keys: Iterable[PublicKey] | None) -> Iterator[Stored | Manifest]:
    """Every stream of a file, one after the other, and at last its manifest. Memory holds one stream.

    Raises BrokenArchive at the first thing that does not hold: a chain, a value, the sha256, the signature, or streams
    that are not those of the manifest.
    """
    digest = sha256()
    found: list[tuple[StreamId, int, str]] = []
    manifest: Manifest | None = None
    current: StreamId | None = None
    held: list[bytes] = []
    # Values stand before the event that needs them, also before the first one of a stream.
    early: list[bytes] = []

    def stored(stream_id: StreamId) -> Stored:
        stream = read_stream(held, stream_id)
        found.append((stream_id, len(stream.events), stream.events[-1].hash.hex()))
        held.clear()
        return stream

    for line in lines:
        if manifest is not None:
            raise BrokenArchive("something stands behind its manifest")
        if line.startswith(_MANIFEST):
            if current is not None:
                yield stored(current)
            manifest = read_manifest(line, keys)
            continue
        digest.update(line)
        read = _read(line)
        early.append(line)
        if isinstance(read, EventLine):
            if current is not None and read.stream_id != current:
                yield stored(current)
            current = read.stream_id
            held += early
            early.clear()
    if manifest is None:
        raise BrokenArchive("it has no manifest: it was not written to its end")
    if manifest.sha256 != digest.hexdigest():
        raise BrokenArchive("its lines are not those that were signed")
    signed = [(execution_stream(each.execution_id), each.version, each.hash) for each in manifest.executions]
    if signed != found or manifest.events != sum(count for _, count, _ in found):
        raise BrokenArchive("it does not hold the executions that its manifest says")
    yield manifest


def read_stream(lines: Iterable[bytes], stream_id: StreamId) -> Stored:
    """One stream of a file. Raises BrokenArchive when its chain or one of its values does not hold."""
    events: list[RawEvent] = []
    blobs: list[Blob] = []
    previous = GENESIS.hash
    for line in lines:
        read = _read(line)
        if isinstance(read, Blob):
            if f"sha256:{sha256(read.content).hexdigest()}" != read.key.digest:
                raise BrokenArchive(f"value {read.key.digest} of {stream_id} is not what was written")
            blobs.append(read)
            continue
        if read.stream_id != stream_id or read.version != len(events) + 1:
            raise BrokenArchive(f"version {len(events) + 1} of {stream_id} is not where it was written")
        if chain(previous, read.meta, read.data) != read.hash:
            raise BrokenArchive(f"version {read.version} of {stream_id} is not what was written")
        events.append(read.raw(previous))
        previous = read.hash
    if not events:
        raise BrokenArchive(f"{stream_id} is not where it was written")
    return Stored(stream_id, events, blobs)


def _read(line: bytes) -> EventLine | Blob:
    try:
        return read_line(line)
    except Corrupt as error:
        raise BrokenArchive(str(error)) from error


Fetch = Callable[[str, Sequence[Any]], Awaitable[list[TupleRow]]]


class Archive:
    """Reading of what was moved out of one log. `url` is where the files are, None if nobody said."""

    def __init__(self, fetch: Fetch, url: str | None):
        self._fetch = fetch
        self._files = None if url is None else ArchiveFiles(url)
        self._kept: OrderedDict[StreamId, list[RawEvent]] = OrderedDict()
        self._kept_bytes = 0

    async def tombstones(self, streams: Collection[StreamId]) -> dict[StreamId, Tombstone]:
        """Of those that were moved out. Raises LogUnavailable."""
        rows = await self._fetch(queries.TOMBSTONES, (list(streams),)) if streams else []
        return {StreamId(row[0]): Tombstone(*row) for row in rows}

    async def stream(self, stream_id: StreamId) -> list[RawEvent]:
        """The events of an archived execution; none if it is not one.

        Raises NotArchivedHere, BrokenArchive and LogUnavailable.
        """
        if stream_id in self._kept:
            self._kept.move_to_end(stream_id)
            return self._kept[stream_id]
        tombstone = (await self.tombstones([stream_id])).get(stream_id)
        if tombstone is None:
            return []
        events = await self.read(tombstone)
        self._keep(stream_id, events)
        return events

    async def read(self, tombstone: Tombstone) -> list[RawEvent]:
        """What a tombstone stands for. Raises NotArchivedHere and BrokenArchive."""
        if self._files is None:
            raise NotArchivedHere(
                f"{tombstone.stream_id} was moved to {tombstone.file}; set PLAYHEAD_ARCHIVE_URL to where the archive is"
            )
        return await asyncio.to_thread(_read_from, self._files, tombstone)

    def _keep(self, stream_id: StreamId, events: list[RawEvent]) -> None:
        if stream_id not in self._kept:
            self._kept_bytes += _size(events)
        self._kept[stream_id] = events
        # A long one is read in many pages: it stays, however large it is, until there is another.
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= _size(gone)


def _read_from(files: ArchiveFiles, tombstone: Tombstone) -> list[RawEvent]:
    try:
        content = files.read(tombstone.file, tombstone.offset, tombstone.size)
        if tombstone.file.endswith(".gz"):
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BrokenArchive(f"{tombstone.file}: {error}") from error
    except OSError as error:
        raise NotArchivedHere(f"{tombstone.stream_id} is in {tombstone.file}, which cannot be read: {error}") from error
    events = read_stream(BytesIO(content), tombstone.stream_id).events
    places = [(event.position, event.hash) for event in events]
    if places != list(zip(tombstone.positions, tombstone.hashes, strict=True)):
        raise BrokenArchive(f"{tombstone.stream_id} in {tombstone.file} is not what was moved out of the log")
    return events


def _size(events: Iterable[RawEvent]) -> int:
    return sum(len(event.data) + len(event.meta) for event in events)


class ArchiveWriter:
    """Writes one file. Nothing is in the archive before `end`."""

    def __init__(self, file: BinaryIO, tenant: TenantId, *, compress: bool):
        self._file = file
        self._tenant = tenant
        self._compress = compress
        self._digest = sha256()
        self._executions: list[Archived] = []
        self.events = 0
        self.lines_bytes = 0

    def __len__(self) -> int:
        return len(self._executions)

    async def add(self, execution_id: ExecutionId, pages: AsyncIterable[tuple[list[RawEvent], list[bytes]]]) -> None:
        """One execution: pages of its events, and of the lines that say these and their values."""
        began = self._file.tell()
        first: RawEvent | None = None
        last: RawEvent | None = None
        with _Member(self._file, compress=self._compress) as member:
            async for events, lines in pages:
                for line in lines:
                    self._digest.update(line)
                    self.lines_bytes += len(line)
                    member.write(line)
                first, last = first or events[0], events[-1]
                self.events += len(events)
        assert first is not None
        assert last is not None
        self._executions.append(
            Archived(
                execution_id,
                last.version,
                last.hash.hex(),
                first.position,
                last.position,
                began,
                self._file.tell() - began,
            )
        )

    def end(self, key: SigningKey, at: datetime) -> Manifest:
        """Write the manifest behind all of them."""
        manifest = Manifest(
            tenant=self._tenant,
            executions=tuple(self._executions),
            events=self.events,
            sha256=self._digest.hexdigest(),
            archived_at=at.astimezone(UTC),
            key_id=key.key_id,
        )
        with _Member(self._file, compress=self._compress) as member:
            member.write(sign_manifest(manifest, key))
        return manifest


class _Member:
    """A part of a file that can be read without the others."""

    def __init__(self, file: BinaryIO, *, compress: bool):
        # Without name and time in it: the same events are the same bytes.
        self._packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if compress else None
        self.write = file.write if self._packed is None else self._packed.write

    def __enter__(self) -> "_Member":
        return self

    def __exit__(self, *_: object) -> None:
        if self._packed is not None:
            self._packed.close()
