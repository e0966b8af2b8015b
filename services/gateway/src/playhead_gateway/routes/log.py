"""`/v1/log`: the log of a tenant, in pages, or as lines to the end."""

import gzip
from typing import Annotated

from litestar import Response, Router, get
from litestar.params import HeaderParameter, QueryParameter

from playhead_gateway.handlers import log_pages
from playhead_gateway.handlers.log_pages import LogPage, Wanted
from playhead_gateway.handlers.tailing import read_position
from playhead_gateway.problems import BadRequest
from playhead_gateway.routes.openapi import also_says, problems, says
from playhead_gateway.routes.replies import AnyResponse, ByteStream, encoded
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of

NDJSON = "application/x-ndjson"
UNTIL = "playhead-until"

After = Annotated[str | None, QueryParameter(description="The position seen last; 0, or nothing, for the beginning")]
Cursor = Annotated[str | None, QueryParameter(description="The next_cursor of the page before")]
Limit = Annotated[
    int | None,
    QueryParameter(ge=1, description="At most so many events; if not given 100 in a page, and as lines all"),
]
Types = Annotated[
    list[str] | None,
    QueryParameter(name="type", description="A type, or with a dot at its end all that begin so; any number of them"),
]
Accept = Annotated[str | None, HeaderParameter(name="Accept")]
AcceptEncoding = Annotated[str | None, HeaderParameter(name="Accept-Encoding")]


@get(
    log_pages.PATH,
    guards=[needs("executions:read")],
    operation_class=also_says(NDJSON),
    responses={200: says(LogPage, "A page of events, or one event a line"), **problems(400)},
)
async def read_log(
    request: AnyRequest,
    after: After = None,
    cursor: Cursor = None,
    limit: Limit = None,
    types: Types = None,
    accept: Accept = None,
    accept_encoding: AcceptEncoding = None,
) -> AnyResponse:
    """The tenant's events after a position, in the order of commits, byte for byte as they are stored.

    In pages of at most 1,000. With `Accept: application/x-ndjson` as lines, up to where the log ends now: the header
    `playhead-until` says which position that is.
    """
    if after is not None and cursor is not None:
        raise BadRequest("after and cursor say the same thing: send one of them")
    if any("\0" in each for each in types or ()):
        raise BadRequest("type: no type has the character U+0000 in it")
    wanted = Wanted(read_position(cursor or after or "0"), tuple(types or ()))
    headers = {"vary": "accept, accept-encoding", "cache-control": "no-store"}
    is_zipped = _takes(accept_encoding, "gzip")
    if is_zipped:
        headers["content-encoding"] = "gzip"
    if _takes(accept, NDJSON):
        return await _lines(request, wanted, limit, headers, is_zipped=is_zipped)
    return await _page(request, wanted, min(limit or 100, log_pages.MOST_EVENTS), headers, is_zipped=is_zipped)


async def _page(
    request: AnyRequest, wanted: Wanted, limit: int, headers: dict[str, str], *, is_zipped: bool
) -> Response[bytes]:
    page = await log_pages.log_page(services_of(request), caller_of(request), wanted, limit)
    headers[UNTIL] = str(page.until)
    if page.next_cursor is not None:
        headers["link"] = f'<{wanted.link_to(page.until, limit)}>; rel="next"'
    body = encoded(page)
    return Response(
        gzip.compress(body, 1) if is_zipped else body, status_code=200, media_type="application/json", headers=headers
    )


async def _lines(
    request: AnyRequest, wanted: Wanted, limit: int | None, headers: dict[str, str], *, is_zipped: bool
) -> ByteStream:
    services = services_of(request)
    until = await services.log.last_position()
    headers[UNTIL] = str(max(until, wanted.after))
    lines = log_pages.log_lines(services, caller_of(request), wanted, until, limit)
    return ByteStream(log_pages.zipped(lines) if is_zipped else lines, NDJSON, headers)


def _takes(header: str | None, name: str) -> bool:
    """Whether a list of what is taken has this name, and does not say that it is not wanted (`q=0`)."""
    for part in (header or "").lower().split(","):
        found, *parameters = (each.strip() for each in part.split(";"))
        if found == name:
            return not any(each.startswith("q=") and not each[2:].strip("0.") for each in parameters)
    return False


ROUTER = Router("/", route_handlers=[read_log], tags=["events"])
