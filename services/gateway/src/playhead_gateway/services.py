"""What a call has to work with, made once in `app.py`."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Receive

from playhead_eventlog import EventLog
from playhead_gateway.access import Access, Caller
from playhead_gateway.definitions import Definitions
from playhead_gateway.errands import Errands
from playhead_gateway.follow import Follows
from playhead_gateway.read_models import ReadModels
from playhead_gateway.settings import Settings
from playhead_gateway.webhook_store import WebhookStore
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.health import Checks
from playhead_runtime.tracing import Tracer


class Services(msgspec.Struct, frozen=True, kw_only=True):
    settings: Settings
    log: EventLog
    bus: Bus
    clock: Clock
    tracer: Tracer
    follows: Follows
    errands: Errands
    definitions: Definitions
    read_models: ReadModels
    webhooks: WebhookStore
    access: Access
    checks: Checks


AnyRequest = Request[Any, Any, Any]
Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]


def services_of(request: AnyRequest) -> Services:
    return request.app.state.services


def caller_of(request: AnyRequest) -> Caller:
    """Who is calling. Only behind `needs`."""
    return request.state.caller


async def has_left(receive: Receive) -> None:
    """Return when the client of a request, whose body was read, has gone away."""
    while (await receive())["type"] != "http.disconnect":
        continue


def needs(*scopes: str) -> Guard:
    """Lets in callers whose key has one of the scopes."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        services: Services = connection.app.state.services
        caller = await services.access.caller(connection.headers)
        caller.check(scopes)
        connection.state.caller = caller

    return guard
