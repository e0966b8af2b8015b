"""Wiring: the one place that makes log, bus and clock of hitl, and hands them on."""

import asyncio
import logging

from faststream.nats import NatsBroker
from faststream.security import SASLPlaintext

from playhead_eventlog import open_log
from playhead_hitl.handlers import Hitl
from playhead_hitl.notifying import notifying
from playhead_hitl.settings import Settings
from playhead_hitl.subscribers import subscribe
from playhead_runtime.bus import DEFAULT_INBOX_PREFIX, connect_as
from playhead_runtime.clock import Clock
from playhead_runtime.health import health_server
from playhead_runtime.provision import provision_streams
from playhead_runtime.tracing import tracing

log = logging.getLogger("playhead.hitl")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Take answers until `stop` is set. Raises LogUnavailable or BusUnavailable when it cannot begin."""
    async with (
        tracing("hitl") as tracer,
        open_log(settings.database_url, master_key=settings.vault_key, archive_url=settings.archive_url) as event_log,
        connect_as(settings, "hitl") as bus,
        notifying(settings, event_log, bus, Clock()) as told,
        health_server(settings.health_host, settings.health_port, {"bus": bus.check, "log": event_log.ping, **told}),
    ):
        await provision_streams(bus, settings.stream_replicas)
        broker = NatsBroker(
            settings.nats_url,
            name="hitl answers",
            security=_login(settings),
            inbox_prefix=settings.nats_inbox_prefix or DEFAULT_INBOX_PREFIX,
            logger=None,
            apply_types=False,  # the handler decodes; converting arguments costs 0.4 ms a message
            graceful_timeout=10,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
        )
        subscribe(broker, Hitl(event_log, bus, Clock()), tracer)
        await broker.start()
        log.info("hitl ready")
        try:
            await stop.wait()
        finally:
            await broker.stop()


def _login(settings: Settings) -> SASLPlaintext | None:
    """The user of the settings; None when it stands in the URL."""
    if settings.nats_user is None:
        return None
    return SASLPlaintext(settings.nats_user, settings.nats_password or "")
