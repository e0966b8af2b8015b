"""Links to the page on which people answer: made for one pause, by operators."""

from litestar import Router, post
from litestar.params import FromPath

from playhead_gateway.access import ADMIN
from playhead_gateway.bodies import IssueLink, read_body
from playhead_gateway.handlers import linking
from playhead_gateway.routes.openapi import problems, says, takes
from playhead_gateway.routes.replies import AnyResponse, respond
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of


@post(
    "/v1/pauses/{pause_id:str}/links",
    guards=[needs(ADMIN)],
    operation_class=takes(IssueLink),
    responses={201: says(linking.IssuedLink, "The link"), **problems(400, 404, 409, 410, 413, 415, 422)},
)
async def issue_link(request: AnyRequest, pause_id: FromPath[str]) -> AnyResponse:
    """A link with which one person, or whoever holds it, answers this pause without a key."""
    order = read_body(await request.body(), IssueLink, request.headers.get("content-type"))
    return respond(await linking.issue_link(services_of(request), caller_of(request), pause_id, order))


ROUTER = Router("/", route_handlers=[issue_link], tags=["pauses"])
