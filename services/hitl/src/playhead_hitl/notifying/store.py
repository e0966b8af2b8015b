"""Deliveries in PostgreSQL: the writer's side, which makes them, and everybody's, which takes and ends them."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, LiteralString, cast

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from playhead_contracts.ids import BlockPath, ExecutionId, PauseId, TenantId
from playhead_engine.notifying import ASKING, Wish
from playhead_hitl import queries

NOTIFIER_LOCK = 5065
"""Advisory lock, per database: one notifier makes deliveries. The others are listed in the projector's store."""
NAME = "webhooks"


class Webhook(msgspec.Struct, frozen=True):
    webhook_id: str
    tenant: TenantId
    wish: Wish


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event for a webhook. Without a `webhook_id` nobody has the name: it has failed with `error`."""

    delivery_id: str
    tenant: TenantId
    webhook: str
    webhook_id: str | None
    event_type: str
    event_position: int
    execution_id: ExecutionId
    pause_id: PauseId
    path: BlockPath
    page_for: tuple[str, ...] | None
    body: bytes
    error: str | None = None


class Over(msgspec.Struct, frozen=True):
    """A pause that takes no answer any more, and why."""

    pause_id: PauseId
    reason: str


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that is ours for a while. `url` and `secret` are None when its webhook was deleted."""

    delivery_id: str
    claims: int
    webhook: str
    webhook_id: str | None
    url: str | None
    secret: str | None
    old_secret: str | None
    is_disabled: bool
    disabled_reason: str | None
    tenant: TenantId
    execution_id: ExecutionId | None
    pause_id: PauseId | None
    event_type: str
    page_for: tuple[str, ...] | None
    body: str
    tries: int
    stopped: str | None

    @property
    def secrets(self) -> list[str]:
        return [secret for secret in (self.secret, self.old_secret) if secret is not None]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt as the log of deliveries shows it."""

    at: datetime
    status: int | None
    error: str | None
    duration_ms: int


class Outcome(msgspec.Struct, frozen=True):
    """What became of a round, which the log is to be told."""

    delivery_id: str
    round: int
    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    path: BlockPath
    webhook: str
    about: str
    outcome: str
    attempts: int
    status: int | None
    error: str | None


class WriterStore:
    """The notifier's connection. Use `open_writer`. Every method raises psycopg.OperationalError."""

    def __init__(self, connection: AsyncConnection[TupleRow]):
        self._connection = connection

    async def try_lock(self) -> bool:
        """Become the one that makes deliveries, for as long as the connection lasts."""
        rows = await _fetch(self._connection, queries.TRY_LOCK, (NOTIFIER_LOCK,))
        return bool(rows[0][0])

    async def position(self) -> int:
        rows = await _fetch(self._connection, queries.READ_POSITION, (NAME,))
        return rows[0][0] if rows else 0

    @asynccontextmanager
    async def batch(self, position: int) -> AsyncGenerator["Batch"]:
        """One transaction, which moves the checkpoint to `position`."""
        async with self._connection.transaction():
            yield Batch(self._connection)
            await self._connection.execute(queries.WRITE_POSITION, (NAME, position))

    async def forget_older_than(self, age: timedelta) -> None:
        """Drop deliveries that ended so long ago."""
        await self._connection.execute(queries.FORGET_OLD, (age,))


class Batch:
    """What the events of one batch lead to."""

    def __init__(self, connection: AsyncConnection[TupleRow]):
        self._connection = connection

    async def webhooks(self, tenants: Collection[TenantId]) -> dict[TenantId, list[Webhook]]:
        """The webhooks of these tenants; they cannot be deleted until the batch is stored."""
        found: dict[TenantId, list[Webhook]] = {tenant: [] for tenant in tenants}
        for row in await _fetch(self._connection, queries.WEBHOOKS_OF, (sorted(tenants),)):
            tenant, webhook_id, name, events, workflows, since_position, is_disabled = row
            wish = Wish(
                name=name,
                events=frozenset(events),
                workflows=None if workflows is None else frozenset(workflows),
                since_position=since_position,
                is_disabled=is_disabled,
            )
            found[tenant].append(Webhook(webhook_id, tenant, wish))
        return found

    async def add(self, deliveries: Iterable[NewDelivery], over: Iterable[Over]) -> None:
        """Store deliveries, each once, and stop asking about pauses that are over."""
        for delivery in deliveries:
            row: dict[str, Any] = msgspec.structs.asdict(delivery)
            row["body"] = delivery.body.decode()
            row["page_for"] = None if delivery.page_for is None else list(delivery.page_for)
            statement = queries.ADD_DELIVERY if delivery.error is None else queries.ADD_FAILED_DELIVERY
            await self._connection.execute(statement, row)
        for each in over:
            asked = {"pause_id": each.pause_id, "reason": each.reason, "asking": sorted(ASKING)}
            await self._connection.execute(queries.STOP_ASKING, asked)
        await self._connection.execute(queries.RING)


class Store:
    """A pool of connections, for everybody who sends. Use `open_store`."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[TupleRow]]):
        self._pool = pool

    async def claim(self, room: int, each: int, busy: Sequence[str], lease: timedelta) -> list[Claimed]:
        """Take up to `room` deliveries that are due, up to `each` of a webhook and none of `busy` ones, for `lease`."""
        parameters = {"room": room, "each": each, "busy": list(busy), "lease": lease}
        async with self._pool.connection() as connection:
            rows = await _fetch(connection, queries.CLAIM, parameters)
        fields = Claimed.__struct_fields__
        return [msgspec.convert(dict(zip(fields, row, strict=True)), Claimed) for row in rows]

    async def try_later(self, claimed: Claimed, tried: Tried, retry_in: timedelta) -> None:
        """Nothing happens here, or in `end`, when somebody else has taken it since."""
        await self._run(queries.TRY_LATER, _ended(claimed, tried, tried.error) | {"retry_in": retry_in})

    async def end(self, claimed: Claimed, outcome: str, tried: Tried | None, error: str | None) -> None:
        """End the round, and note what became of it for the log. `tried` is None if nothing was sent."""
        await self._run(queries.END, _ended(claimed, tried, error) | {"outcome": outcome})

    async def disable(self, webhook_id: str, reason: str) -> None:
        await self._run(queries.DISABLE, (reason, webhook_id))

    @asynccontextmanager
    async def outcomes(self, limit: int) -> AsyncGenerator[list[Outcome]]:
        """Some outcomes that nobody else is telling; they are forgotten when the block ends well."""
        async with self._pool.connection() as connection, connection.transaction():
            found = [Outcome(*row) for row in await _fetch(connection, queries.OUTCOMES, (limit,))]
            yield found
            for outcome in found:
                await connection.execute(queries.FORGET_OUTCOME, (outcome.delivery_id, outcome.round))

    async def _run(self, query: str, parameters: Any) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(cast(LiteralString, query), parameters)


@asynccontextmanager
async def open_writer(url: str) -> AsyncGenerator[WriterStore]:
    """A connection of its own. Raises psycopg.OperationalError."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        yield WriterStore(connection)


@asynccontextmanager
async def open_store(url: str) -> AsyncGenerator[Store]:
    """Connections to the database at `url`, made as they are needed."""
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
        url, min_size=0, max_size=4, open=False, timeout=5.0, kwargs={"autocommit": True}
    )
    await pool.open()
    try:
        yield Store(pool)
    finally:
        await pool.close()


def _ended(claimed: Claimed, tried: Tried | None, error: str | None) -> dict[str, Any]:
    return {
        "delivery_id": claimed.delivery_id,
        "claims": claimed.claims,
        "attempt": msgspec.json.encode([] if tried is None else [tried]).decode(),
        "status": None if tried is None else tried.status,
        "error": error,
    }


async def _fetch(connection: AsyncConnection[TupleRow], query: str, parameters: Any) -> list[TupleRow]:
    cursor = await connection.execute(cast(LiteralString, query), parameters)
    return await cursor.fetchall()
