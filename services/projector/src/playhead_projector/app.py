"""Wiring: the one place that makes log, tails and bus of a projector, and hands them on."""

import asyncio
import logging

from playhead_eventlog import open_log, open_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.checkpoints.signer import Signer
from playhead_projector.courier import Courier
from playhead_projector.extensions import every_projection, installed
from playhead_projector.projector import Projector
from playhead_projector.relay import Relay
from playhead_projector.settings import Settings
from playhead_projector.stream_keeper import StreamKeeper
from playhead_projector.triggering import TriggerRunner
from playhead_runtime.bus import connect_as
from playhead_runtime.clock import Clock
from playhead_runtime.health import health_server

log = logging.getLogger("playhead.projector")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Keep read models and bus copy up to date, carry facts between executions, and start what triggers name.

    Until `stop` is set. Signs the log, too, if it is told where to and with what. Raises LogUnavailable or
    BusUnavailable when it cannot begin, and BadSetting; later it waits for what is away.
    """
    url = settings.database_url
    signing, sizes = settings.signing(), settings.streams()
    async with (
        open_log(url, master_key=settings.vault_key, archive_url=settings.archive_url) as event_log,
        # A tail wakes one reader.
        open_tail(event_log, url) as projector_tail,
        open_tail(event_log, url) as relay_tail,
        open_tail(event_log, url) as courier_tail,
        open_tail(event_log, url) as trigger_tail,
        connect_as(settings, "projector") as bus,
    ):
        projector = Projector(event_log, projector_tail, url, every_projection(), installed().faults)
        keeper = StreamKeeper(bus, settings.stream_replicas, sizes)
        await keeper.begin()
        relay = Relay(event_log, relay_tail, bus, url, keeper.provision_events)
        courier = Courier(event_log, courier_tail, bus, url, Clock())
        triggers = TriggerRunner(event_log, trigger_tail, bus, url)
        checks = {
            "bus": bus.check,
            "log": event_log.ping,
            "read models": projector.check,
            "bus copy": relay.check,
            "courier": courier.check,
            "triggers": triggers.check,
        }
        signer = None
        if signing is not None:
            signer = Signer(event_log, url, signing, Clock())
            checks["checkpoints"] = signer.check
        async with health_server(settings.health_host, settings.health_port, checks), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(projector.run(), name="projector"),
                group.create_task(projector.snapshotting.run(), name="snapshots"),
                group.create_task(relay.run(), name="relay"),
                group.create_task(keeper.run(), name="streams"),
                group.create_task(courier.run(), name="courier"),
                group.create_task(triggers.run(), name="triggers"),
            ]
            if signer is not None:
                tasks.append(group.create_task(signer.run(), name="checkpoints"))
            log.info("projector ready")
            await stop.wait()
            await stop_tasks(*tasks)
