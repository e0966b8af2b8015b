"""The read models that the projector keeps, and the keys: what the gateway reads besides the log.

Read models follow the log after a moment. What must be seen at once is folded from the log in place of this.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from playhead_contracts.errors import Unavailable
from playhead_contracts.events import BlockError, BlockReference, Json
from playhead_gateway import queries
from playhead_gateway.problems import BadRequest

_LOOK_AGAIN_SECONDS = 0.02


class ReadModelsUnavailable(Unavailable):
    """The database does not answer, or no projector has made the tables yet."""


class Counts(msgspec.Struct, frozen=True):
    """How many block instances ran to a good end, were reused, were skipped, and failed."""

    run: int = 0
    reused: int = 0
    skipped: int = 0
    failed: int = 0


class ForkedFrom(msgspec.Struct, frozen=True):
    execution_id: str
    version: int | None


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution in a list. `version` is that of the workflow, `last_version` that of the newest event."""

    execution_id: str
    workflow_id: str
    version: int
    status: str
    mode: str
    last_version: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    error: msgspec.Raw | None
    http_status: int | None
    source: ForkedFrom | None
    parent: str | None
    blocks: Counts
    open_pauses: int
    due_at: datetime | None


class LineageRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution in the tree of its forks. `children` are those that its blocks started, the first ones of them."""

    execution_id: str
    workflow_id: str
    version: int
    status: str
    created_at: datetime
    source: str | None
    source_version: int | None
    from_block: str | None
    parent: str | None
    children: list[str]


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A block instance. `ordinal` is the version at which it first appeared, `version` that of its last event."""

    path: str
    status: str
    attempts: int
    inputs: dict[str, Json] | msgspec.Raw | None
    outputs: Json
    decision: Sequence[str] | None
    error: BlockError | msgspec.Raw | None
    reason: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    waits_until: datetime | None
    pause_id: str | None
    child: str | None
    """The execution that a `workflow` block started."""
    reused_from: BlockReference | None
    version: int
    ordinal: int


class PauseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pause in the inbox. `assignees` are those who may answer now; nobody named means whoever may answer pauses."""

    pause_id: str
    execution_id: str
    workflow_id: str
    path: str
    status: str
    message: str
    form: msgspec.Raw | None
    show: msgspec.Raw | None
    actions: msgspec.Raw | None
    assignees: list[str]
    votes: int
    votes_needed: int | None
    escalations: int
    digest: str
    requested_at: datetime
    expires_at: datetime | None
    answer: msgspec.Raw | None
    action: str | None
    comment: str | None
    resolved_by: msgspec.Raw | None
    resolved_at: datetime | None
    reason: str | None


class PauseCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many pauses there are, of those that a list is about, by status; and when the first open one is due."""

    open: int = 0
    answered: int = 0
    closed: int = 0
    expired: int = 0
    due_within_a_day: int = 0
    next_due: datetime | None = None


class WorkflowRow(msgspec.Struct, frozen=True):
    """A workflow in a list: its newest version."""

    workflow_id: str
    version: int
    digest: str
    published_at: datetime
    name: str | None
    block_count: int


class TriggerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events that a trigger is for. Each that `matched` is `started`, `refused` as a command,
    still `due`, or `repeated`: it had the key of an earlier one.

    `failed` are those for which an expression had no value. `last_position` is that of the newest event that matched or
    failed, `last_error` what was wrong last.
    """

    matched: int = 0
    started: int = 0
    refused: int = 0
    due: int = 0
    repeated: int = 0
    failed: int = 0
    last_position: int | None = None
    last_error: str | None = None


class TriggerRow(msgspec.Struct, frozen=True):
    """A trigger in a list."""

    trigger_id: str
    version: int
    digest: str
    published_at: datetime
    workflow_id: str
    subject: str
    enabled: bool
    counts: TriggerCounts


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions: None means any. `since` is included, `until` is not; both are about their creation."""

    workflow: str | None = None
    status: str | None = None
    parent: str | None = None
    """The executions that this one started as its children."""
    since: datetime | None = None
    until: datetime | None = None


class PauseFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which pauses: None means any."""

    workflow: str | None = None
    execution: str | None = None
    status: str | None = None
    assignee: str | None = None
    names: list[str] | None = None
    """Those that are for one of these, or for everybody."""
    due_before: datetime | None = None


Place = tuple[datetime, str]
"""Where a page ends: the moment and the id of its last row."""


class ReadModels:
    """Reads over a pool of connections. Use `open_read_models`."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[TupleRow]]):
        self._pool = pool

    async def find_key(self, key_hash: bytes) -> tuple[str, str, list[str], list[str]] | None:
        """Tenant, name, scopes and groups of a key that is not revoked."""
        rows = await self._fetch(queries.FIND_KEY, (key_hash,))
        return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else None

    async def workflows(self, tenant: str, after: str, limit: int) -> list[WorkflowRow]:
        """Workflows by id, from behind `after` on."""
        rows = await self._fetch(queries.LIST_WORKFLOWS, {"tenant": tenant, "after": after, "limit": limit})
        return [WorkflowRow(*row) for row in rows]

    async def executions(
        self, tenant: str, wanted: ExecutionFilter, before: Place | None, limit: int
    ) -> list[ExecutionRow]:
        """Newest first, from behind the row at `before` on."""
        parameters = msgspec.structs.asdict(wanted) | _page(tenant, before, limit)
        return [_execution_row(row) for row in await self._fetch(queries.LIST_EXECUTIONS, parameters)]

    async def lineage(self, tenant: str, execution_id: str, children: int, limit: int) -> list[LineageRow]:
        """The tree of forks that an execution is in: the way from its root to it first, then the others by depth."""
        parameters = {"tenant": tenant, "execution_id": execution_id, "children": children, "limit": limit}
        names = LineageRow.__struct_fields__
        rows = await self._fetch(queries.LINEAGE, parameters)
        return [LineageRow(**dict(zip(names, row, strict=True))) for row in rows]

    async def pauses(self, tenant: str, wanted: PauseFilter, before: Place | None, limit: int) -> list[PauseRow]:
        """Newest first, from behind the row at `before` on."""
        parameters = msgspec.structs.asdict(wanted) | _page(tenant, before, limit)
        return [_pause_row(row) for row in await self._fetch(queries.LIST_PAUSES, parameters)]

    async def count_pauses(self, tenant: str, wanted: PauseFilter) -> PauseCounts:
        """How many there are, whatever their status."""
        rows = await self._fetch(queries.COUNT_PAUSES, msgspec.structs.asdict(wanted) | {"tenant": tenant})
        counts = {str(status): int(count) for status, count, _, _ in rows}
        due, first = next(((int(soon), at) for status, _, soon, at in rows if status == "open"), (0, None))
        return PauseCounts(**counts, due_within_a_day=due, next_due=first)

    async def pause(self, tenant: str, pause_id: str) -> PauseRow | None:
        """One pause, as far as the read model knows."""
        rows = await self._fetch(queries.FIND_PAUSE, {"tenant": tenant, "pause_id": pause_id})
        return _pause_row(rows[0]) if rows else None

    async def instances(
        self, tenant: str, execution_id: str, under: str | None, after: int, limit: int
    ) -> list[InstanceRow]:
        """The block instances of an execution inside of `under` that first appeared after a version, in that order."""
        parameters = {"tenant": tenant, "execution_id": execution_id, "under": under, "after": after, "limit": limit}
        return [_instance_row(row) for row in await self._fetch(queries.LIST_INSTANCES, parameters)]

    async def triggers(self, tenant: str, after: str, limit: int) -> list[TriggerRow]:
        """Triggers by id, from behind `after` on."""
        rows = await self._fetch(queries.LIST_TRIGGERS, {"tenant": tenant, "after": after, "limit": limit})
        return [_trigger_row(row) for row in rows]

    async def trigger_counts(self, tenant: str, trigger_id: str) -> TriggerCounts:
        """What a trigger has done so far; nothing, if the runner has not seen it yet."""
        rows = await self._fetch(queries.FIND_TRIGGER, {"tenant": tenant, "trigger_id": trigger_id})
        return _trigger_counts(rows[0]) if rows else TriggerCounts()

    async def reaches(self, projection: str, position: int, seconds: float) -> bool:
        """Whether the projection has seen the log up to `position`, now or within `seconds`."""
        return await self._reaches(queries.CHECKPOINT, (projection,), position, seconds)

    async def triggers_reach(self, position: int, seconds: float) -> bool:
        """Whether triggers have seen the log up to `position`, now or within `seconds`."""
        return await self._reaches(queries.TRIGGERS_CHECKPOINT, (), position, seconds)

    async def _reaches(self, query: str, parameters: Sequence[Any], position: int, seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            rows = await self._fetch(query, parameters)
            if rows and int(rows[0][0]) >= position:
                return True
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _fetch(self, query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[TupleRow]:
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters)  # pyright: ignore[reportArgumentType]
                return await cursor.fetchall()
        except psycopg.errors.UndefinedTable as exc:
            raise ReadModelsUnavailable("the read models are not there yet; a projector makes them") from exc
        except psycopg.errors.UndefinedColumn as exc:
            raise ReadModelsUnavailable("the read models are those of another version; `playhead rebuild`") from exc
        except psycopg.DataError as exc:
            raise BadRequest("a filter or the cursor holds what cannot be there") from exc
        except (psycopg.OperationalError, PoolTimeout) as exc:
            raise ReadModelsUnavailable("the database does not answer") from exc


@asynccontextmanager
async def open_read_models(url: str, *, readers: int = 4, patience_seconds: float = 5.0) -> AsyncGenerator[ReadModels]:
    """The read models in the database at `url`. Raises ReadModelsUnavailable when it does not answer now."""
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=readers,
        open=False,
        timeout=patience_seconds,
        kwargs={"autocommit": True, "options": "-c timezone=UTC"},
    )
    try:
        await pool.open(wait=True, timeout=patience_seconds)
        yield ReadModels(pool)
    except PoolTimeout as exc:
        raise ReadModelsUnavailable("the database does not answer") from exc
    finally:
        await pool.close()


def _page(tenant: str, before: Place | None, limit: int) -> dict[str, object]:
    moment, before_id = before or (None, None)
    return {"tenant": tenant, "before": moment, "before_id": before_id, "limit": limit}


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def _trigger_counts(row: TupleRow) -> TriggerCounts:
    matched, started, refused, failed, repeated, last_position, last_error, due = row[6:]
    return TriggerCounts(
        matched=matched,
        started=started,
        refused=refused,
        due=due,
        repeated=repeated,
        failed=failed,
        last_position=last_position,
        last_error=last_error,
    )


def _trigger_row(row: TupleRow) -> TriggerRow:
    trigger_id, version, digest, text, published_at = row[:5]
    document: dict[str, Json] = msgspec.json.decode(text)
    return TriggerRow(
        trigger_id=trigger_id,
        version=version,
        digest=digest,
        published_at=published_at,
        workflow_id=document["workflow"],
        subject=document["on"]["subject"],
        enabled=document.get("enabled", True),
        counts=_trigger_counts(row),
    )


def _execution_row(row: TupleRow) -> ExecutionRow:
    (
        execution_id, workflow_id, workflow_version, status, mode, version, created_at, started_at, ended_at,
        updated_at, error, http_status, source_id, source_version, run, reused, skipped, failed, open_pauses, due_at,
        parent,
    ) = row  # fmt: skip
    return ExecutionRow(
        execution_id=execution_id,
        workflow_id=workflow_id,
        version=workflow_version,
        status=status,
        mode=mode,
        last_version=version,
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        updated_at=updated_at,
        error=_raw(error),
        http_status=http_status,
        source=None if source_id is None else ForkedFrom(source_id, source_version),
        parent=parent,
        blocks=Counts(run or 0, reused or 0, skipped or 0, failed or 0),
        open_pauses=open_pauses or 0,
        due_at=due_at,
    )


def _instance_row(row: TupleRow) -> InstanceRow:
    (
        path, status, attempts, inputs, outputs, decision, error, reason, started_at, ended_at, duration_ms,
        waits_until, pause_id, child, reused_from, reused_version, version, ordinal,
    ) = row  # fmt: skip
    return InstanceRow(
        path=path,
        status=status,
        attempts=attempts,
        inputs=_raw(inputs),
        outputs=_raw(outputs),
        decision=decision,
        error=_raw(error),
        reason=reason,
        started_at=started_at,
        ended_at=ended_at,
        duration_ms=duration_ms,
        waits_until=waits_until,
        pause_id=pause_id,
        child=child,
        reused_from=None if reused_from is None else BlockReference(reused_from, reused_version),
        version=version,
        ordinal=ordinal,
    )


def _pause_row(row: TupleRow) -> PauseRow:
    (
        pause_id, execution_id, workflow_id, path, status, message, form, show, actions, asked, votes, votes_needed,
        escalations, digest, requested_at, expires_at, answer, action, comment, resolved_by, resolved_at, reason,
    ) = row  # fmt: skip
    return PauseRow(
        pause_id=pause_id,
        execution_id=execution_id,
        workflow_id=workflow_id,
        path=path,
        status=status,
        message=message,
        form=_raw(form),
        show=_raw(show),
        actions=_raw(actions),
        assignees=asked,
        votes=votes,
        votes_needed=votes_needed,
        escalations=escalations,
        digest=digest,
        requested_at=requested_at,
        expires_at=expires_at,
        answer=_raw(answer),
        action=action,
        comment=comment,
        resolved_by=_raw(resolved_by),
        resolved_at=resolved_at,
        reason=reason,
    )
