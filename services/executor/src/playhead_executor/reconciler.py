"""Sending again what the log says is due and nobody is doing: a lost command, a lost timer, a wiped bus.

The read model of executions knows when somebody must be acting on each at the latest. A `wake` too many is harmless:
an executor that finds nothing to do, or an owner alive, acks it. Tasks that were given out before their stream came
into being were lost with the one before, and are given out again; their ids stay, so that one result counts.
"""

import asyncio
import logging
from datetime import datetime, timedelta

import msgspec
import psycopg

from playhead_contracts import subjects
from playhead_contracts.commands import Wake
from playhead_contracts.errors import Unavailable
from playhead_executor import queries
from playhead_executor.handlers import Executor
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock

log = logging.getLogger("playhead.executor.reconciler")

GRACE = timedelta(seconds=3)
AT_ONCE = 500


class Reconciler:
    """One of any number; the bus's deduplication makes their commands one."""

    def __init__(self, url: str, bus: Bus, clock: Clock, executor: Executor, every_seconds: float):
        self._url = url
        self._bus = bus
        self._clock = clock
        self._executor = executor
        self._every_seconds = every_seconds
        self._tasks_since: datetime | None = None

    async def run(self) -> None:
        """Look every few seconds, for ever."""
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                await self.look()
                await self.look_at_tasks()
            except psycopg.errors.UndefinedTable:
                continue  # the projector has not made its read models yet
            except (psycopg.OperationalError, Unavailable) as unavailable:
                log.warning("nothing reconciled", extra={"reason": str(unavailable).strip()})

    async def look(self) -> int:
        """Send a `wake` for everything overdue; returns for how many."""
        now = self._clock.now()
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            rows = await (await connection.execute(queries.DUE, (now - GRACE, AT_ONCE))).fetchall()
        due = [row for row in rows if not self._executor.holds(row[0])]
        round_number = int(now.timestamp() // max(self._every_seconds, 1))
        for execution_id, tenant, version in due:
            wake = Wake(
                id=f"reconcile:{execution_id}:{version}:{round_number}",
                tenant=tenant,
                execution_id=execution_id,
            )
            await self._bus.send(subjects.execution_command(tenant, Wake.kind()), msgspec.json.encode(wake), wake.id)
        if due:
            log.info("overdue executions woken", extra={"count": len(due)})
        return len(due)

    async def look_at_tasks(self) -> int:
        """Give out again what was out when the stream of tasks was lost; returns how many executions had such tasks."""
        since = await self._bus.stream_created(subjects.TASKS_STREAM)
        if since == self._tasks_since:
            return 0
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            rows = await (await connection.execute(queries.DISPATCHED_BEFORE, (since,))).fetchall()
        for (execution_id,) in rows:
            await self._executor.give_out_again(execution_id)
        # Only now: had something failed, it would be looked for again.
        self._tasks_since = since
        if rows:
            log.warning("tasks given out again", extra={"executions": len(rows)})
        return len(rows)
