"""`/v1/events`: events from outside, which `wait` blocks wait for; and everything that happens, as a stream."""

from typing import Annotated

from litestar import Router, get, post
from litestar.params import FromQuery, HeaderParameter, QueryParameter

from playhead_gateway.cloud_events import is_batch, read_batch, read_cloud_event
from playhead_gateway.handlers import receiving, tailing
from playhead_gateway.routes.openapi import problems, says, says_events, takes_cloud_event
from playhead_gateway.routes.replies import AnyResponse, respond
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of

LastEventId = Annotated[str | None, HeaderParameter(name="Last-Event-ID")]
After = Annotated[str | None, QueryParameter(description="The position seen last")]
Taken = receiving.EventTaken | list[receiving.EventTaken]
Types = Annotated[
    list[str] | None,
    QueryParameter(name="type", description="A type, or with a dot at its end all that begin so; any number of them"),
]


@post(
    "/v1/events",
    status_code=202,
    guards=[needs("executions:run")],
    operation_class=takes_cloud_event(),
    responses={
        200: says(Taken, "It was recorded before"),
        202: says(Taken, "It is recorded; of a batch, each in its turn"),
        **problems(400, 409, 413, 415, 422),
    },
)
async def receive_event(request: AnyRequest) -> AnyResponse:
    """Take a CloudEvent 1.0, structured or binary, or a batch. The same source and id again is the same event."""
    services, caller, body = services_of(request), caller_of(request), await request.body()
    if is_batch(request.headers.get("content-type")):
        return respond(await receiving.receive_batch(services, caller, read_batch(body)))
    return respond(await receiving.receive_event(services, caller, read_cloud_event(request.headers.items(), body)))


@get(
    "/v1/events/stream",
    guards=[needs("executions:read")],
    responses={200: says_events("Server-sent events; the stream does not end by itself"), **problems(400)},
)
async def stream_events(
    request: AnyRequest,
    workflow: FromQuery[str | None] = None,
    types: Types = None,
    after: After = None,
    last_event_id: LastEventId = None,
) -> AnyResponse:
    """Everything that has happened and happens, of all executions, in the order of the log; the id is the position."""
    wanted = tailing.Filter(workflow, tuple(types or ()))
    seen = tailing.read_position(last_event_id or after or "0")
    return respond(tailing.follow_tenant(services_of(request), caller_of(request), wanted, seen))


ROUTER = Router("/", route_handlers=[receive_event, stream_events], tags=["events"])
