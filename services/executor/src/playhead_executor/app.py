"""Wiring: the one place that makes log, bus and clock of an executor, and hands them on."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

from playhead_blocks import BlockType
from playhead_contracts import subjects
from playhead_engine.traits import BlockTraits
from playhead_eventlog import open_log
from playhead_eventlog.stopping import stop_tasks
from playhead_executor.blocks.contract import BlockRunner
from playhead_executor.blocks.extension import ExtensionRunner
from playhead_executor.blocks.function import FunctionRunner
from playhead_executor.blocks.http import HttpRunner
from playhead_executor.definitions import Definitions
from playhead_executor.handlers import Executor
from playhead_executor.reconciler import Reconciler
from playhead_executor.secrets import Secrets
from playhead_executor.settings import Settings
from playhead_executor.subscribers import Subscriber
from playhead_executor.work import Workshop
from playhead_runtime.addresses import AllowedAddresses
from playhead_runtime.bus import connect_as
from playhead_runtime.clock import Clock
from playhead_runtime.extensions import custom_block_types
from playhead_runtime.health import health_server
from playhead_runtime.ids import new_id
from playhead_runtime.provision import provision
from playhead_runtime.tracing import tracing

log = logging.getLogger("playhead.executor")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one executor until `stop` is set. Raises LogUnavailable or BusUnavailable when it cannot begin."""
    name = settings.executor_name or f"{socket.gethostname().replace('.', '-')}-{os.getpid()}-{new_id()[-6:]}"
    extensions = custom_block_types()
    clock = Clock()
    async with (
        tracing("executor") as tracer,
        open_log(
            settings.database_url,
            patience_seconds=settings.patience_seconds,
            master_key=settings.vault_key,
            archive_url=settings.archive_url,
        ) as event_log,
        connect_as(settings, f"executor {name}") as bus,
        FunctionRunner(most=settings.allowance()) as function_runner,
        HttpRunner(AllowedAddresses(settings.http_allow), settings.http_max_response_bytes) as http_runner,
        health_server(settings.health_host, settings.health_port, {"bus": bus.check, "log": event_log.ping}),
    ):

        async def provisioned() -> None:
            await provision(bus, settings.stream_replicas, ack_wait_seconds=settings.lease_seconds)

        await provisioned()
        runners: dict[str, BlockRunner] = {"function": function_runner, "http": http_runner}
        runners |= {kind: ExtensionRunner(extension) for kind, extension in extensions.items()}
        workshop = Workshop(runners, Secrets(os.environ, settings.secrets_dir), settings.max_output_bytes)
        executor = Executor(
            name, event_log, bus, clock, Definitions(event_log, traits(extensions), settings.limits()), workshop, tracer
        )
        nudges = await bus.serve(subjects.nudge(name), executor.answer_nudge)
        subscriber = Subscriber(
            executor, bus, clock, settings.max_executions, settings.lease_seconds, tracer, provisioned
        )
        reconciler = Reconciler(settings.database_url, bus, clock, executor, settings.reconcile_seconds)
        reconciling = asyncio.create_task(reconciler.run(), name="reconciler")
        log.info("executor ready", extra={"executor": name})
        try:
            await subscriber.run(stop, settings.stop_grace_seconds)
        finally:
            await stop_tasks(reconciling)
            await nudges.unsubscribe()


def traits(extensions: Mapping[str, BlockType]) -> dict[str, BlockTraits]:
    """What the engine must know of registered block types."""
    return {
        kind: BlockTraits(effects=extension.effects, config_schema=extension.config_schema)
        for kind, extension in extensions.items()
    }
