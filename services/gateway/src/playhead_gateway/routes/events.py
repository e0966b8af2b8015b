"""`/v1/events`: events from outside, which `wait` blocks wait for."""

from litestar import Router, post

from playhead_gateway.cloud_events import read_cloud_event
from playhead_gateway.handlers import receiving
from playhead_gateway.routes.openapi import problems, says, takes_cloud_event
from playhead_gateway.routes.replies import AnyResponse, respond
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of


@post(
    "/v1/events",
    status_code=202,
    guards=[needs("executions:run")],
    operation_class=takes_cloud_event(),
    responses={
        200: says(receiving.EventTaken, "It was recorded before"),
        202: says(receiving.EventTaken, "It is recorded"),
        **problems(400, 409, 413, 415, 422),
    },
)
async def receive_event(request: AnyRequest) -> AnyResponse:
    """Take a CloudEvent 1.0, structured or binary. The same source and id again is the same event."""
    event = read_cloud_event(request.headers.items(), await request.body())
    return respond(await receiving.receive_event(services_of(request), caller_of(request), event))


ROUTER = Router("/", route_handlers=[receive_event], tags=["events"])
