"""Wiring: the one place that makes log, bus and clock of hitl, and hands them on."""

import asyncio
import logging

from faststream.nats import NatsBroker

from playhead_eventlog import open_log
from playhead_hitl.handlers import Hitl
from playhead_hitl.notifying import notifying
from playhead_hitl.settings import Settings
from playhead_hitl.subscribers import subscribe
from playhead_runtime.bus import connect_bus
from playhead_runtime.clock import Clock
from playhead_runtime.health import health_server
from playhead_runtime.provision import provision

log = logging.getLogger("playhead.hitl")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Take answers until `stop` is set. Raises LogUnavailable or BusUnavailable when it cannot begin."""
    async with (
        open_log(settings.database_url) as event_log,
        connect_bus(settings.nats_url, "hitl") as bus,
        notifying(settings, event_log, bus, Clock()) as told,
        health_server(settings.health_host, settings.health_port, {"bus": bus.check, "log": event_log.ping, **told}),
    ):
        await provision(bus)
        broker = NatsBroker(
            settings.nats_url,
            name="hitl answers",
            logger=None,
            apply_types=False,  # the handler decodes; converting arguments costs 0.4 ms a message
            graceful_timeout=10,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
        )
        subscribe(broker, Hitl(event_log, bus, Clock()))
        await broker.start()
        log.info("hitl ready")
        try:
            await stop.wait()
        finally:
            await broker.stop()
