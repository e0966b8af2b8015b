"""Wiring of the three loops, and of what wakes them."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg

from playhead_eventlog import EventLog, open_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_hitl import queries
from playhead_hitl.notifying.notifier import Notifier
from playhead_hitl.notifying.posting import Poster
from playhead_hitl.notifying.sender import MARGIN, Sender
from playhead_hitl.notifying.store import open_store
from playhead_hitl.notifying.telling import Teller
from playhead_hitl.settings import Settings
from playhead_runtime.addresses import AllowedAddresses
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.health import Checks

log = logging.getLogger("playhead.hitl.notifying")

LISTEN_AGAIN_SECONDS = 1.0
STOP_SECONDS = 3.0
"""How long what is in flight may take to end. What does not is sent again, by whoever comes next."""


@asynccontextmanager
async def notifying(settings: Settings, event_log: EventLog, bus: Bus, clock: Clock) -> AsyncGenerator[Checks]:
    """Tell webhooks until the end of the block; gives the health checks of that.

    Raises BadAddressRule. What is away later is waited for, and what is wrong stops nothing beside this.
    """
    timeout_seconds = settings.webhook_timeout_seconds
    allowed = AllowedAddresses(settings.webhook_allow, "PLAYHEAD_WEBHOOK_ALLOW")
    async with (
        open_store(settings.database_url) as store,
        open_tail(event_log, settings.database_url) as tail,
        Poster(allowed, timeout_seconds) as poster,
    ):
        teller = Teller(store, event_log, bus, clock)
        sender = Sender(
            store,
            event_log,
            poster,
            settings,
            clock,
            settings.webhook_schedule(),
            timedelta(seconds=timeout_seconds) + MARGIN,
            teller.wake,
        )

        def wake() -> None:
            sender.wake()
            teller.wake()

        keep = timedelta(days=settings.webhook_keep_days)
        notifier = Notifier(event_log, tail, settings.database_url, keep, wake)
        sending = asyncio.create_task(sender.run(), name="sender")
        tasks = [
            asyncio.create_task(notifier.run(), name="notifier"),
            asyncio.create_task(teller.run(), name="teller"),
            asyncio.create_task(_listen(settings.database_url, sender), name="news of deliveries"),
        ]
        try:
            yield {"notifier": notifier.check, "webhook sender": sender.check, "teller": teller.check}
        finally:
            sender.stop()
            await asyncio.wait([sending], timeout=STOP_SECONDS)
            await stop_tasks(sending, *tasks)


async def _listen(url: str, sender: Sender) -> None:
    """Wake the sender for deliveries that others have made: the gateway, or another hitl's notifier."""
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(queries.LISTEN)
                sender.wake()
                async for _ in connection.notifies():
                    sender.wake()
        except psycopg.OperationalError:
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
