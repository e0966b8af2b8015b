"""`/v1/audit`: who did what."""

from typing import Annotated

from litestar import Router, get
from litestar.params import FromQuery, QueryParameter

from playhead_gateway.access import ADMIN
from playhead_gateway.handlers.auditing import Asked, Operation, Performed, list_operations
from playhead_gateway.paging import Page, read_moment
from playhead_gateway.routes.openapi import problems, says
from playhead_gateway.routes.replies import AnyResponse, show
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


@get(
    "/",
    guards=[needs(ADMIN)],
    responses={200: says(Page[Performed], "Newest first"), **problems(400)},
)
async def list_audit(
    request: AnyRequest,
    operation: FromQuery[Operation | None] = None,
    actor: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: Limit = 100,
) -> AnyResponse:
    """Who published, started, cancelled, answered, reran, exported, forgot, made keys: read from the log, newest first.

    `actor` is the name of a person or a key. A page may be short and still have a `next_cursor`.
    """
    asked = Asked(
        operation=operation, actor=actor, since=read_moment("since", since), until=read_moment("until", until)
    )
    return show(await list_operations(services_of(request), caller_of(request), asked, cursor, limit))


ROUTER = Router("/v1/audit", route_handlers=[list_audit], tags=["operations"])
