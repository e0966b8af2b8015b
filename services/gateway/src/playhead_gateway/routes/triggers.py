"""`/v1/triggers`: workflows that are started by events."""

from typing import Annotated

from litestar import Router, delete, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from playhead_gateway.handlers import triggers
from playhead_gateway.paging import Page
from playhead_gateway.read_models import TriggerRow
from playhead_gateway.routes.openapi import problems, says, takes_document
from playhead_gateway.routes.replies import AnyResponse, respond, show
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of

Limit = Annotated[int, QueryParameter(ge=1, le=200)]


@post(
    "/",
    guards=[needs("workflows:write")],
    operation_class=takes_document(),
    responses={
        200: says(triggers.PublishedTrigger, "It is there already"),
        201: says(triggers.PublishedTrigger, "A new version"),
        **problems(413, 415, 422),
    },
)
async def publish_trigger(request: AnyRequest) -> AnyResponse:
    """Have a workflow started for each event that comes from now on and fits. As JSON or YAML by its content type."""
    body, kind = await request.body(), request.headers.get("content-type")
    return respond(await triggers.publish(services_of(request), caller_of(request), body, kind))


@get(
    "/",
    guards=[needs("workflows:read")],
    responses={200: says(Page[TriggerRow], "By id"), **problems(400)},
)
async def list_triggers(request: AnyRequest, cursor: FromQuery[str | None] = None, limit: Limit = 50) -> AnyResponse:
    """What is there, and what it has started."""
    return show(await triggers.list_triggers(services_of(request), caller_of(request), cursor, limit))


@get(
    "/{trigger_id:str}",
    guards=[needs("workflows:read")],
    responses={200: says(triggers.TriggerView, "The trigger"), **problems(404)},
)
async def show_trigger(request: AnyRequest, trigger_id: FromPath[str]) -> AnyResponse:
    """A trigger with its document, and what it has started."""
    return show(await triggers.show(services_of(request), caller_of(request), trigger_id))


@delete(
    "/{trigger_id:str}",
    status_code=200,
    guards=[needs("workflows:write")],
    responses={200: says(triggers.RemovedTrigger, "Removed"), **problems(404)},
)
async def remove_trigger(request: AnyRequest, trigger_id: FromPath[str]) -> AnyResponse:
    """Start nothing for events that come from now on."""
    return show(await triggers.remove(services_of(request), caller_of(request), trigger_id))


ROUTER = Router(
    "/v1/triggers",
    route_handlers=[publish_trigger, list_triggers, show_trigger, remove_trigger],
    tags=["triggers"],
)
