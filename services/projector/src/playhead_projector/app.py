"""Wiring: the one place that makes log, tails and bus of a projector, and hands them on."""

import asyncio
import logging

from playhead_eventlog import open_log, open_tail
from playhead_projector.courier import Courier
from playhead_projector.extensions import every_projection, installed
from playhead_projector.projector import Projector
from playhead_projector.relay import Relay
from playhead_projector.settings import Settings
from playhead_runtime.bus import connect_bus
from playhead_runtime.clock import Clock
from playhead_runtime.health import health_server
from playhead_runtime.provision import provision_events

log = logging.getLogger("playhead.projector")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Keep read models and bus copy up to date, and carry facts between executions, until `stop` is set.

    Raises LogUnavailable or BusUnavailable when it cannot begin; later it waits for what is away.
    """
    url = settings.database_url
    async with (
        open_log(url) as event_log,
        # A tail wakes one reader.
        open_tail(event_log, url) as projector_tail,
        open_tail(event_log, url) as relay_tail,
        open_tail(event_log, url) as courier_tail,
        connect_bus(settings.nats_url, "projector", user=settings.nats_user, password=settings.nats_password) as bus,
    ):
        projector = Projector(event_log, projector_tail, url, every_projection(), installed().faults)
        relay = Relay(event_log, relay_tail, bus, url, lambda: provision_events(bus, settings.stream_replicas))
        courier = Courier(event_log, courier_tail, bus, url, Clock())
        checks = {
            "bus": bus.check,
            "log": event_log.ping,
            "read models": projector.check,
            "bus copy": relay.check,
            "courier": courier.check,
        }
        async with health_server(settings.health_host, settings.health_port, checks), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(projector.run(), name="projector"),
                group.create_task(projector.snapshotting.run(), name="snapshots"),
                group.create_task(relay.run(), name="relay"),
                group.create_task(courier.run(), name="courier"),
            ]
            log.info("projector ready")
            await stop.wait()
            for task in tasks:
                task.cancel()
