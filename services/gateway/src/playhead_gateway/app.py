"""Wiring: the one place that makes log, bus, pools and clock, and hands them on; and the HTTP server around them."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any

import uvicorn
from litestar import Litestar
from litestar.datastructures import State

from playhead_contracts.errors import Unavailable
from playhead_engine.traits import BlockTraits
from playhead_eventlog import open_log
from playhead_eventlog.migrations import is_current
from playhead_gateway.access import Access
from playhead_gateway.bus import open_door
from playhead_gateway.definitions import Definitions
from playhead_gateway.errands import Errands
from playhead_gateway.follow import Follows
from playhead_gateway.problems import on_error
from playhead_gateway.read_models import open_read_models
from playhead_gateway.routes import (
    audit,
    contracts,
    events,
    executions,
    health,
    links,
    page,
    pauses,
    subjects,
    triggers,
    webhooks,
    workflows,
)
from playhead_gateway.routes.log import ROUTER as LOG_ROUTER
from playhead_gateway.routes.openapi import openapi_config, rendered
from playhead_gateway.services import Services
from playhead_gateway.settings import Settings
from playhead_gateway.traced import Traced
from playhead_gateway.webhook_store import open_webhook_store
from playhead_runtime.bus import connect_as
from playhead_runtime.clock import Clock
from playhead_runtime.extensions import custom_block_types
from playhead_runtime.settings import BadSetting
from playhead_runtime.tracing import OFF, Tracer, tracing

log = logging.getLogger(__name__)


class MigrationsMissing(Unavailable):
    """The database is not at the newest schema."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # signals belong to whoever runs us


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Answer HTTP, and commands and events on the bus, until `stop` is set.

    Open streams end then, and other requests get `stop_seconds`.

    Raises BadSetting when the port is taken, LogUnavailable or BusUnavailable when it cannot begin.
    """
    traits = {
        name: BlockTraits(effects=kind.effects, config_schema=kind.config_schema)
        for name, kind in custom_block_types().items()
    }
    listener = _listen(settings)
    async with (
        tracing("gateway") as tracer,
        open_services(settings, traits, tracer) as services,
        open_door(services) as bus_door,
    ):
        server = _Server(
            uvicorn.Config(
                Traced(build_app(services), tracer),
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=settings.stop_seconds,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        log.info("gateway ready", extra={"host": settings.host, "port": listener.getsockname()[1]})
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            # Before those who wait for results are sent away: what they hold must go to another gateway.
            await bus_door.close()
            services.follows.stop()
            server.should_exit = True
            await serving


@asynccontextmanager
async def open_services(
    settings: Settings, traits: Mapping[str, BlockTraits], tracer: Tracer = OFF
) -> AsyncGenerator[Services]:
    """Everything that calls need, until the end of the block. Raises LogUnavailable and BusUnavailable."""

    async def migrated() -> None:
        if not await is_current(settings.database_url):
            raise MigrationsMissing("the database is not at the newest schema; run `playhead migrate`")

    async with (
        open_log(
            settings.database_url, readers=8, master_key=settings.vault_key, archive_url=settings.archive_url
        ) as event_log,
        open_read_models(settings.database_url) as read_models,
        open_webhook_store(settings.database_url) as webhook_store,
        connect_as(settings, "gateway") as bus,
    ):
        clock, errands = Clock(), Errands()
        services = Services(
            settings=settings,
            log=event_log,
            bus=bus,
            clock=clock,
            tracer=tracer,
            follows=Follows(event_log, bus),
            errands=errands,
            definitions=Definitions(event_log, clock, traits, settings.limits()),
            read_models=read_models,
            webhooks=webhook_store,
            access=Access(read_models, settings.open_tenant),
            checks={"bus": bus.check, "log": event_log.ping, "migrations": migrated},
        )
        try:
            yield services
        finally:
            await errands.finish()


ROUTERS = (
    workflows.ROUTER,
    executions.ROUTER,
    pauses.ROUTER,
    events.ROUTER,
    LOG_ROUTER,
    audit.ROUTER,
    triggers.ROUTER,
    webhooks.ROUTER,
    subjects.ROUTER,
    health.ROUTER,
    links.ROUTER,
    page.ROUTER,
    contracts.ROUTER,
)


def build_app(services: Services) -> Litestar:
    """The ASGI application."""
    return Litestar(
        ROUTERS,
        state=State({"services": services}, deep_copy=False),
        exception_handlers={Exception: on_error},
        openapi_config=openapi_config(version("playhead-gateway")),
        request_max_body_size=services.settings.max_body_bytes,
        logging_config=None,
    )


def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, as it is served at `/schema/openapi.json`."""
    return rendered(Litestar(ROUTERS, openapi_config=openapi_config(version("playhead-gateway"))).openapi_schema)


def _listen(settings: Settings) -> socket.socket:
    # Bound before anything else is opened: a port that is taken is told at once, and by its name.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
    except OSError as exc:
        listener.close()
        raise BadSetting(
            "PLAYHEAD_PORT", str(settings.port), f"nothing can listen there on {settings.host}: {exc.strerror}"
        ) from exc
    return listener
