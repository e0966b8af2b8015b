"""`/v1/subjects`: the people whose values are sealed."""

from litestar import Router, post

from playhead_gateway.access import ADMIN
from playhead_gateway.bodies import read_body
from playhead_gateway.handlers.forgetting import ForgetSubject, Forgotten, forget_subject
from playhead_gateway.routes.openapi import problems, says, takes
from playhead_gateway.routes.replies import AnyResponse, show
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of


@post(
    "/forget",
    status_code=200,
    guards=[needs(ADMIN)],
    operation_class=takes(ForgetSubject),
    responses={200: says(Forgotten, "Forgotten"), **problems(400, 409, 413, 415, 422)},
)
async def forget(request: AnyRequest) -> AnyResponse:
    """Destroy the key of a person: the values that were sealed with it can never be read again, wherever they are."""
    order = read_body(await request.body(), ForgetSubject, request.headers.get("content-type"))
    return show(await forget_subject(services_of(request), caller_of(request), order))


ROUTER = Router("/v1/subjects", route_handlers=[forget], tags=["subjects"])
