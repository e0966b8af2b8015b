"""`/a/{token}`: the page behind a link. It needs no key, and whatever goes wrong is a page, too."""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response, Router, post, route
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from playhead_contracts.errors import Refused, Unavailable
from playhead_gateway.handlers.deciding import Decided, Page, decide, show_page
from playhead_gateway.page.rendering import HEADERS, Outcome, render
from playhead_gateway.problems import TooLarge
from playhead_gateway.services import AnyRequest, services_of
from playhead_runtime.links import LinkExpired, LinkInvalid

log = logging.getLogger(__name__)

_INVALID = Outcome(
    title="There is nothing behind this link",
    text="It may have been cut off on its way to you. Open it from where it was sent, or ask for a new one.",
)
_EXPIRED = Outcome(
    title="This link is over",
    text="Links work for a limited time. If an answer is still wanted, whoever sent it can give you a new one.",
)
_NOT_NOW = Outcome(
    title="This cannot be shown just now", text="Nothing is lost. Wait a moment, then open the link again."
)
_BROKEN = Outcome(title="Something went wrong", text="Nothing was decided. Try again, or tell whoever sent the link.")


@route("/{token:str}", http_method=["GET", "HEAD"])
async def show(request: AnyRequest, token: FromPath[str]) -> Response[bytes]:
    """The question, or what became of it. Decides nothing: previews and mail scanners open links, too."""
    return _respond(await show_page(services_of(request), token))


@post("/{token:str}")
async def answer(request: AnyRequest, token: FromPath[str]) -> Response[bytes]:
    """Take what stands in the form. After an answer the same address is to be looked at again."""
    body = await request.body()
    taken = await decide(services_of(request), token, body, request.headers.get("content-type"))
    match taken:
        case Page():
            return _respond(taken)
        case Decided():
            # Relative, so that it leads back through whatever proxy the person came by.
            headers = {**HEADERS, "location": token}
            return Response(b"", status_code=HTTPStatus.SEE_OTHER, media_type="text/html", headers=headers)


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Every error as a page. The path is not logged: it is the authority to answer."""
    match error:
        case LinkInvalid():
            return _respond(Page(_INVALID, HTTPStatus.NOT_FOUND))
        case LinkExpired():
            return _respond(Page(_EXPIRED, HTTPStatus.GONE))
        case Unavailable():
            return _respond(Page(_NOT_NOW, HTTPStatus.SERVICE_UNAVAILABLE))
        case HTTPException() if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return _respond(Page(Outcome(title=TooLarge.title), error.status_code))
        case Refused():
            return _respond(Page(Outcome(title=error.title, text=error.detail), error.status))
        case HTTPException() if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return _respond(Page(Outcome(title=HTTPStatus(error.status_code).phrase), error.status_code))
        case _:
            log.error("page failed", exc_info=error, extra={"method": request.method})
            return _respond(Page(_BROKEN, HTTPStatus.INTERNAL_SERVER_ERROR))


def _respond(page: Page) -> Response[bytes]:
    headers = dict(HEADERS)
    if page.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    return Response(render(page.content), status_code=page.status, media_type="text/html", headers=headers)


ROUTER = Router("/a", route_handlers=[show, answer], include_in_schema=False, exception_handlers={Exception: _on_error})
