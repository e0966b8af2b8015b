"""Moving ended executions out of the log, so that a kill at any moment loses nothing and moves nothing twice.

For each file: (1) it is written, kept in the archive, and read back from there; (2) that its executions are archived is
an event of the tenant, from which read models forget them; (3) the database moves them, all in one transaction, after
comparing each with what the file holds. Whoever is killed before (2) leaves a file that nothing refers to. Whoever is
killed before (3) leaves an event that names the file: the next run begins with finishing that.

An execution is moved when nothing that stays has to do with it: not what was forked from it, not the parent that
started it, not a child. And not before all that follows the log (read models, relay, whoever else has a checkpoint)
has seen its last event.
"""

import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from playhead_cli.exports.jsonl import Lines
from playhead_cli.operator import operator
from playhead_contracts.errors import Conflict, Corrupt
from playhead_contracts.events import TERMINAL, ExecutionArchived
from playhead_contracts.ids import EventId, ExecutionId, StreamId, TenantId, execution_stream
from playhead_eventlog import EventLog, RawEvent, open_log
from playhead_eventlog.archive import ArchiveWriter, BrokenArchive, Manifest, read_file
from playhead_eventlog.archive_files import ArchiveFiles
from playhead_eventlog.operations import record_operation
from playhead_eventlog.signing import PublicKey, SigningKey
from playhead_projector.building import Progress, Told, tell_nobody
from playhead_runtime.ids import derived_id

ARCHIVER_LOCK = 5069
EXECUTIONS_A_FILE = 1000
BYTES_A_FILE = 64 * 1024 * 1024
"""Of lines. Whichever comes first ends a file; one execution is never in two."""
EVENTS_A_READ = 2000

_ENDED = frozenset(kind.type_name() for kind in TERMINAL)

_CANDIDATES = """
create temporary table to_archive on commit preserve rows as
with recursive wanted as (
    select execution_id from read.executions
    where ended_at < %(before)s and (%(tenant)s::text is null or tenant = %(tenant)s)
        and (%(workflow)s::text is null or workflow_id = %(workflow)s)
), remaining as (
    select e.execution_id, e.source_execution_id, e.parent_execution_id from read.executions e
    where not exists (select from wanted w where w.execution_id = e.execution_id)
), held (execution_id) as (
    (
        select source_execution_id from remaining where source_execution_id is not null
        union select parent_execution_id from remaining where parent_execution_id is not null
        union select c.execution_id from remaining r
            join read.executions c on c.parent_execution_id = r.execution_id
    )
    union
    select x.execution_id from held h cross join lateral (
        select e.source_execution_id from read.executions e where e.execution_id = h.execution_id
        union all select e.parent_execution_id from read.executions e where e.execution_id = h.execution_id
        union all select c.execution_id from read.executions c where c.parent_execution_id = h.execution_id
    ) as x (execution_id) where x.execution_id is not null
)
select e.tenant, e.ended_at, e.execution_id::text, h.execution_id is not null as is_held, d.version
from wanted w join read.executions e on e.execution_id = w.execution_id
left join held h on h.execution_id = w.execution_id
join log.heads d on d.stream_id = 'execution:' || w.execution_id::text and not d.archived
"""
_COUNTED = (
    "select count(*) filter (where not is_held), coalesce(sum(version) filter (where not is_held), 0), "
    "count(*) filter (where is_held) from to_archive"
)
_TENANTS = "select distinct tenant from to_archive where not is_held order by tenant"
_NEXT = (
    "select execution_id, ended_at from to_archive where not is_held and tenant = %s "
    "and (ended_at, execution_id) > (%s, %s) order by ended_at, execution_id limit 1000"
)
_FOLLOWED = "select projection, position from read.checkpoints order by position limit 1"
_TOLD_LAST = (
    "select distinct on (tenant) tenant, data from log.events where type = 'execution.archived' "
    "order by tenant, position desc"
)
_MOVED = "select count(*) from log.tombstones where stream_id = any(%s) and file = %s"
_ARCHIVE = "select log.archive(%s::text[], %s::int4[], %s::bytea[], %s, %s::int8[], %s::int8[])"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions: those that ended before a moment, of a tenant or a workflow if one is named."""

    before: datetime
    tenant: TenantId | None = None
    workflow: str | None = None
    dry_run: bool = False
    compress: bool = True


class ArchiveReport(msgspec.Struct, kw_only=True):
    """What was moved, or, for a dry run, would be."""

    executions: int = 0
    events: int = 0
    files: list[str] = []
    finished: list[str] = []
    """Files of an earlier run that was cut off, which were moved first. They count as the others do."""
    kept: int = 0
    """Executions that ended in time, and stay because something that stays has to do with them."""
    not_yet: int = 0
    """Executions whose last events were not seen by all that follows the log, or that went on."""
    waits_for: str | None = None
    """Who has not."""


class Place(msgspec.Struct, frozen=True):
    """The log, as a service and as its owner."""

    database_url: str
    owner_database_url: str


class AnotherArchiving(Conflict):
    def __init__(self) -> None:
        super().__init__("another process is archiving, or exports or verifies the log; try again when it is done")


@asynccontextmanager
async def nothing_is_archived(database_url: str) -> AsyncGenerator[None]:
    """Meanwhile nothing is moved out of the log: for who reads all of it bit by bit, and must miss nothing.

    Waits for an archiving that is going on.
    """
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("select pg_advisory_lock_shared(%s)", (ARCHIVER_LOCK,))
        yield


async def archive(
    order: Order, place: Place, files: ArchiveFiles, key: SigningKey, told: Told = tell_nobody
) -> ArchiveReport:
    """Move what is asked for, after what an earlier run left half done.

    Raises AnotherArchiving, BrokenArchive, LogUnavailable, and OSError when the archive cannot be written.
    """
    async with (
        open_log(place.database_url, readers=1, archive_url=files.url) as log,
        await AsyncConnection.connect(place.owner_database_url, autocommit=True) as owner,
    ):
        await _win(owner)
        archiving = _Archiving(log, owner, files, key)
        if not order.dry_run:
            await archiving.finish()
        await archiving.plan(order)
        if not order.dry_run:
            await archiving.run(order, told)
        return archiving.report


async def _win(owner: AsyncConnection[TupleRow]) -> None:
    [(is_mine,)] = await _fetch(owner, "select pg_try_advisory_lock(%s)", (ARCHIVER_LOCK,))
    if not is_mine:
        raise AnotherArchiving


class _Archiving:
    def __init__(self, log: EventLog, owner: AsyncConnection[TupleRow], files: ArchiveFiles, key: SigningKey):
        self._log = log
        self._owner = owner
        self._files = files
        self._key = key
        self._followed = 0
        self.report = ArchiveReport()

    async def finish(self) -> None:
        """Move what was told to be archived and is still in the log."""
        for tenant, data in await _fetch(self._owner, _TOLD_LAST, ()):
            event = msgspec.json.decode(data, type=ExecutionArchived)
            streams = [execution_stream(each) for each in event.executions]
            [(moved,)] = await _fetch(self._owner, _MOVED, (streams, event.file))
            if moved < len(streams):
                manifest = read_back(self._files, event.file, [self._key.public])
                if manifest.tenant != tenant or manifest.sha256 != event.digest:
                    raise BrokenArchive(f"{event.file} is not the file that was written")
                await self._move(event.file, manifest)
                self.report.finished.append(event.file)

    async def plan(self, order: Order) -> None:
        """Find out which executions are to be moved; a dry run is told."""
        parameters = {"before": order.before, "tenant": order.tenant, "workflow": order.workflow}
        await self._owner.execute("drop table if exists to_archive")
        try:
            await self._owner.execute(_CANDIDATES, parameters)
        except psycopg.errors.UndefinedTable as error:
            raise Conflict(f"there are no read models to tell which executions have ended: {error}") from error
        [(ready, events, held)] = await _fetch(self._owner, _COUNTED, ())
        self.report.kept = held
        followers = await _fetch(self._owner, _FOLLOWED, ())
        if followers:
            name, self._followed = followers[0]
            self.report.waits_for = f"{name} is at position {self._followed}"
        if order.dry_run:
            self.report.executions, self.report.events, self.report.waits_for = ready, int(events), None

    async def run(self, order: Order, told: Told) -> None:
        """Move them, file by file."""
        for (tenant,) in await _fetch(self._owner, _TENANTS, ()):
            executions = self._candidates(TenantId(tenant))
            is_over = False
            while not is_over:
                with TemporaryDirectory(prefix="playhead-archive-") as folder:
                    is_over = await self._one_file(Path(folder) / "file", TenantId(tenant), executions, order)
                told(Progress(self.report.events, self.report.events, self.report.events))
        if not self.report.not_yet:
            self.report.waits_for = None

    async def _one_file(
        self, path: Path, tenant: TenantId, executions: AsyncGenerator[ExecutionId], order: Order
    ) -> bool:
        """Whether there was nothing left to begin with another file."""
        is_over = True
        with path.open("wb") as file:
            writer = ArchiveWriter(file, tenant, compress=order.compress)
            async for execution_id in executions:
                if not await self._is_ready(execution_stream(execution_id)):
                    self.report.not_yet += 1
                    continue
                await writer.add(execution_id, self._pages(execution_stream(execution_id)))
                if len(writer) >= EXECUTIONS_A_FILE or writer.lines_bytes >= BYTES_A_FILE:
                    is_over = False
                    break
            if not len(writer):
                return True
            manifest = writer.end(self._key, datetime.now(UTC))
        name = name_of(manifest, compress=order.compress)
        self._files.put(name, path)
        if read_back(self._files, name, [self._key.public]) != manifest_without_signature(manifest):
            raise BrokenArchive(f"{name} is not what was written a moment ago")
        await self._tell(name, manifest)
        await self._move(name, manifest)
        self.report.files.append(name)
        return is_over

    async def _candidates(self, tenant: TenantId) -> AsyncGenerator[ExecutionId]:
        after: tuple[datetime, str] = datetime.min.replace(tzinfo=UTC), ""
        while rows := await _fetch(self._owner, _NEXT, (tenant, *after)):
            for execution_id, ended_at in rows:
                after = ended_at, execution_id
                yield ExecutionId(execution_id)

    async def _is_ready(self, stream: StreamId) -> bool:
        newest = await self._log.newest(stream)
        return newest is not None and newest.type in _ENDED and newest.position <= self._followed

    async def _pages(self, stream: StreamId) -> AsyncGenerator[tuple[list[RawEvent], list[bytes]]]:
        lines = Lines(self._log)
        after = 0
        while events := await self._log.read_raw(stream, after, EVENTS_A_READ):
            yield events, [line async for line in lines.of(events)]
            after = events[-1].version

    async def _tell(self, name: str, manifest: Manifest) -> None:
        archived = ExecutionArchived(
            file=name,
            executions=tuple(each.execution_id for each in manifest.executions),
            events=manifest.events,
            digest=manifest.sha256,
        )
        event_id = EventId(derived_id("execution.archived", name))
        await record_operation(
            self._log, manifest.tenant, archived, operator(), event_id=event_id, at=datetime.now(UTC)
        )

    async def _move(self, name: str, manifest: Manifest) -> None:
        moved = manifest.executions
        try:
            await self._owner.execute(
                _ARCHIVE,
                (
                    [execution_stream(each.execution_id) for each in moved],
                    [each.version for each in moved],
                    [bytes.fromhex(each.hash) for each in moved],
                    name,
                    [each.offset for each in moved],
                    [each.size for each in moved],
                ),
            )
        except psycopg.errors.CheckViolation as error:
            raise Corrupt(f"nothing of {name} was moved: {str(error).splitlines()[0]}") from error
        self.report.executions += len(moved)
        self.report.events += manifest.events


def name_of(manifest: Manifest, *, compress: bool) -> str:
    """The name of a file, by which it can be told what is in it; the same content has the same name."""
    first = min(each.first_position for each in manifest.executions)
    last = max(each.last_position for each in manifest.executions)
    return f"{manifest.tenant}/{first:012}-{last:012}-{manifest.sha256[:12]}.jsonl{'.gz' if compress else ''}"


def manifest_without_signature(manifest: Manifest) -> Manifest:
    """As two of the same file compare, whoever signed them."""
    return msgspec.structs.replace(manifest, signature="")


def read_back(files: ArchiveFiles, name: str, keys: Sequence[PublicKey]) -> Manifest:
    """The manifest of a file, all of which holds. Raises BrokenArchive, which names the file."""
    try:
        with files.lines(name) as lines:
            *_, last = read_file(lines, keys)
    except (BrokenArchive, EOFError, zlib.error) as error:
        raise BrokenArchive(f"{name}: {error}") from error
    assert isinstance(last, Manifest)
    return manifest_without_signature(last)


async def _fetch(connection: AsyncConnection[TupleRow], query: str, parameters: Sequence[object]) -> list[TupleRow]:
    return await (await connection.execute(query, parameters)).fetchall()  # pyright: ignore[reportArgumentType, reportCallIssue]
