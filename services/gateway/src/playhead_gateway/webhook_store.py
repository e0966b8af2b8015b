"""Webhooks and their deliveries, as the gateway sees them: who wants to know, and what became of telling them.

Deliveries are made and sent by hitl. What is written here wakes it up.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from playhead_gateway import queries
from playhead_gateway.problems import BadRequest
from playhead_gateway.read_models import Place, ReadModelsUnavailable

DeliveryStatus = Literal["pending", "delivered", "failed"]


class WebhookRow(msgspec.Struct, frozen=True):
    """A webhook. `workflows` null means all. Until `old_secret_until` messages are signed with the old secret, too."""

    name: str
    url: str
    events: list[str]
    workflows: list[str] | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    old_secret_until: datetime | None


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt. `status` is that of the answer, if there was one."""

    at: datetime
    status: int | None
    error: str | None
    duration_ms: int


class DeliveryRow(msgspec.Struct, frozen=True):
    """One event for one webhook, and every attempt to send it."""

    delivery_id: str
    webhook: str
    event: str
    status: DeliveryStatus
    execution_id: str | None
    pause_id: str | None
    attempts: list[AttemptRow]
    last_status: int | None
    error: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries: None means any."""

    webhook: str | None = None
    pause: str | None = None
    status: str | None = None


class Meant(msgspec.Struct, frozen=True):
    """The webhook that a delivery is for, by name: whether there is one, and whether it is disabled."""

    name: str
    is_there: bool
    is_disabled: bool


class WebhookStore:
    """Use `open_webhook_store`. Every method raises ReadModelsUnavailable when the database does not answer."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[TupleRow]]):
        self._pool = pool

    async def add(
        self,
        webhook_id: str,
        tenant: str,
        name: str,
        url: str,
        secret: str,
        events: Sequence[str],
        workflows: Sequence[str] | None,
        most: int,
    ) -> WebhookRow | None:
        """Make a webhook for what is recorded from now on; None if the name is taken, or there are `most`."""
        row = {
            "webhook_id": webhook_id,
            "tenant": tenant,
            "name": name,
            "url": url,
            "secret": secret,
            "events": list(events),
            "workflows": None if workflows is None else list(workflows),
            "most": most,
        }
        return _webhook(await self._fetch(queries.ADD_WEBHOOK, row))

    async def webhooks(self, tenant: str) -> list[WebhookRow]:
        """All of a tenant, by name."""
        return [WebhookRow(*row) for row in await self._fetch(queries.LIST_WEBHOOKS, {"tenant": tenant})]

    async def find(self, tenant: str, name: str) -> WebhookRow | None:
        return _webhook(await self._fetch(queries.FIND_WEBHOOK, {"tenant": tenant, "name": name}))

    async def delete(self, tenant: str, name: str) -> bool:
        """False if there is none. What is still to be delivered fails."""
        return bool(await self._change(queries.DELETE_WEBHOOK, {"tenant": tenant, "name": name}))

    async def rotate(self, tenant: str, name: str, secret: str, overlap: timedelta) -> WebhookRow | None:
        """Sign with `secret` from now on, and for `overlap` with the one before as well."""
        row = {"tenant": tenant, "name": name, "secret": secret, "overlap": overlap}
        return _webhook(await self._fetch(queries.ROTATE_WEBHOOK, row))

    async def enable(self, tenant: str, name: str) -> WebhookRow | None:
        return _webhook(await self._fetch(queries.ENABLE_WEBHOOK, {"tenant": tenant, "name": name}))

    async def send(self, delivery_id: str, tenant: str, name: str, event_type: str, body: bytes) -> DeliveryRow | None:
        """Have something sent that is about no pause; None if there is no such webhook."""
        row = {
            "delivery_id": delivery_id,
            "tenant": tenant,
            "name": name,
            "event_type": event_type,
            "body": body.decode(),
        }
        return _delivery(await self._change(queries.ADD_DELIVERY, row))

    async def deliveries(
        self, tenant: str, wanted: DeliveryFilter, before: Place | None, limit: int
    ) -> list[DeliveryRow]:
        """Newest first, from behind the row at `before` on. Raises BadRequest for a filter that cannot be."""
        moment, before_id = before or (None, None)
        place = {"tenant": tenant, "before": moment, "before_id": before_id, "limit": limit}
        rows = await self._fetch(queries.LIST_DELIVERIES, msgspec.structs.asdict(wanted) | place)
        return [_delivery_row(row) for row in rows]

    async def meant(self, tenant: str, delivery_id: str) -> Meant | None:
        """The webhook of a delivery; None if there is no such delivery."""
        rows = await self._fetch(queries.WEBHOOK_OF_DELIVERY, {"tenant": tenant, "delivery_id": delivery_id})
        return Meant(*rows[0]) if rows else None

    async def resend(self, tenant: str, delivery_id: str) -> DeliveryRow | None:
        """Have it sent now, whatever became of it before; None if it or its webhook is not there."""
        return _delivery(await self._change(queries.RESEND_DELIVERY, {"tenant": tenant, "delivery_id": delivery_id}))

    async def _change(self, query: str, parameters: Mapping[str, Any]) -> list[TupleRow]:
        rows = await self._fetch(query, parameters)
        await self._fetch(queries.RING_FOR_WEBHOOKS, {})
        return rows

    async def _fetch(self, query: str, parameters: Mapping[str, Any]) -> list[TupleRow]:
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters)  # pyright: ignore[reportArgumentType]
                return await cursor.fetchall()
        except psycopg.DataError as exc:
            raise BadRequest("a filter or the cursor holds what cannot be there") from exc
        except (psycopg.OperationalError, PoolTimeout) as exc:
            raise ReadModelsUnavailable("the database does not answer") from exc


@asynccontextmanager
async def open_webhook_store(url: str, *, patience_seconds: float = 5.0) -> AsyncGenerator[WebhookStore]:
    """Connections to the database at `url`, made when they are needed."""
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
        url,
        min_size=0,
        max_size=2,
        open=False,
        timeout=patience_seconds,
        kwargs={"autocommit": True, "options": "-c timezone=UTC"},
    )
    await pool.open()
    try:
        yield WebhookStore(pool)
    finally:
        await pool.close()


def _webhook(rows: Sequence[TupleRow]) -> WebhookRow | None:
    return WebhookRow(*rows[0]) if rows else None


def _delivery(rows: Sequence[TupleRow]) -> DeliveryRow | None:
    return _delivery_row(rows[0]) if rows else None


def _delivery_row(row: TupleRow) -> DeliveryRow:
    delivery_id, webhook, event, status, execution_id, pause_id, attempts, *rest = row
    tried = msgspec.json.decode(attempts, type=list[AttemptRow])
    return DeliveryRow(delivery_id, webhook, event, status, execution_id, pause_id, tried, *rest)
