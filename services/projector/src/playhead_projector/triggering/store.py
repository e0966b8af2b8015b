"""What triggers keep in PostgreSQL: one connection that may write it, and with it the right to work."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import LiteralString, NamedTuple, cast

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from playhead_contracts.errors import Unavailable
from playhead_contracts.events import Json
from playhead_contracts.ids import TenantId
from playhead_projector.triggering import queries

TRIGGER_LOCK = 5066
"""Advisory lock, per database: one runner works."""

LOOK_AGAIN_SECONDS = 0.5
KEPT_DAYS = 30


class FiringId(NamedTuple):
    """Which firing of which trigger."""

    tenant: TenantId
    trigger_id: str
    key: str


class NewFiring(msgspec.Struct, frozen=True, kw_only=True):
    """What an event made of a trigger: a command to send, or, with an `error`, a dead letter."""

    id: FiringId
    event_id: str
    position: int
    depth: int
    message: str
    error: str | None = None


class DueFiring(msgspec.Struct, frozen=True):
    """What is to be sent, perhaps once more."""

    id: FiringId
    is_failed: bool
    message: str
    error: str | None
    tries: int


class Settled(msgspec.Struct, frozen=True):
    """What a gateway said about a command."""

    id: FiringId
    execution_id: str | None
    error: str | None = None


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger as it was published, or, without a `document`, the end of one."""

    tenant: TenantId
    trigger_id: str
    version: int = 0
    digest: str = ""
    document: dict[str, Json] | None = None
    at: datetime
    position: int


class TriggerStore:
    """Use `open_trigger_store`. Every method raises psycopg.OperationalError when the database does not answer."""

    def __init__(self, connection: AsyncConnection[TupleRow]):
        self._connection = connection

    async def win(self) -> None:
        """Wait until nobody else works, and be the one who does, as long as the connection lasts."""
        while not (await self._fetch(queries.TRY_LOCK, (TRIGGER_LOCK,)))[0][0]:  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def position(self) -> int:
        """How far the log has been looked at."""
        rows = await self._fetch(queries.READ_POSITION, ())
        return int(rows[0][0]) if rows else 0

    async def triggers(self) -> list[tuple[TenantId, dict[str, Json]]]:
        """The documents of those that are there, as of that position."""
        rows = await self._fetch(queries.READ_TRIGGERS, ())
        return [(TenantId(row[0]), msgspec.json.decode(row[2])) for row in rows]

    async def move(self, position: int, published: Sequence[Published], firings: Sequence[NewFiring]) -> None:
        """Note everything up to a position: triggers, what they start, counts. One transaction."""
        async with self._connection.transaction():
            for each in published:
                await self._publish(each)
            if firings:
                await self._add(firings)
            await self._run(queries.WRITE_POSITION, (position,))

    async def due(self, limit: int) -> list[DueFiring]:
        """What is to be sent now, oldest first."""
        rows = await self._fetch(queries.DUE, (limit,))
        return [
            DueFiring(FiringId(TenantId(row[0]), row[1], row[2]), row[3] == "failed", row[4], row[5], row[6])
            for row in rows
        ]

    async def sent(self, ids: Iterable[FiringId], again_seconds: float, at_most_seconds: float) -> None:
        """These commands are on the bus; they are sent again, later and later, until a gateway has answered."""
        await self._run(queries.SENT, (again_seconds, at_most_seconds, *_columns(ids)))

    async def told(self, ids: Iterable[FiringId]) -> None:
        """These are dead letters now."""
        await self._run(queries.TOLD, _columns(ids))

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Note what gateways said; what had been said before is passed over."""
        rows = [
            (*each.id, "refused" if each.execution_id is None else "started", each.execution_id, each.error)
            for each in settled
        ]
        await self._run(queries.SETTLE, _columns(rows))

    async def prune(self) -> None:
        """Forget firings that were settled long ago."""
        await self._run(queries.PRUNE, (KEPT_DAYS,))

    async def _publish(self, each: Published) -> None:
        if each.document is None:
            await self._run(queries.REMOVE_TRIGGER, (each.at, each.tenant, each.trigger_id))
            return
        document = msgspec.json.encode(each.document).decode()
        row = (each.tenant, each.trigger_id, each.version, each.digest, document, each.at, each.position)
        await self._run(queries.WRITE_TRIGGER, row)

    async def _add(self, firings: Sequence[NewFiring]) -> None:
        rows = [
            (*each.id, each.event_id, each.position, each.depth, _status(each), each.message, each.error)
            for each in firings
        ]
        added = {FiringId(*row) for row in await self._fetch(queries.ADD_FIRINGS, _columns(rows))}
        counts: dict[tuple[str, str], list[object]] = {}
        for each in firings:
            is_new = each.id in added
            added.discard(each.id)  # of several with one key in a batch the first is the one that counts
            count = counts.setdefault(each.id[:2], [*each.id[:2], 0, 0, 0, 0, None])
            is_failed = each.error is not None
            for place, is_so in ((2, not is_failed), (3, is_failed and is_new), (4, not is_new)):
                count[place] = cast(int, count[place]) + is_so
            count[5] = each.position
            count[6] = each.error or count[6]
        await self._run(queries.COUNT_MATCHES, _columns(counts.values()))

    async def _run(self, query: str, parameters: Sequence[object]) -> None:
        await self._connection.execute(cast(LiteralString, query), parameters)

    async def _fetch(self, query: str, parameters: Sequence[object]) -> list[TupleRow]:
        return await (await self._connection.execute(cast(LiteralString, query), parameters)).fetchall()


def _status(firing: NewFiring) -> str:
    return "due" if firing.error is None else "failed"


def _columns(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


@asynccontextmanager
async def open_trigger_store(url: str) -> AsyncGenerator[TriggerStore]:
    """A store on a connection of its own. Raises Unavailable when the database does not answer."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True, options="-c timezone=UTC")
    except psycopg.OperationalError as exc:
        raise Unavailable(f"the database does not answer: {exc}") from exc
    async with connection:
        yield TriggerStore(connection)
