"""Making links to the page on which one pause is answered."""

from datetime import datetime, timedelta
from http import HTTPStatus
from secrets import token_hex

import msgspec

from playhead_contracts.durations import parse_duration
from playhead_contracts.errors import Fault, Refused
from playhead_contracts.pointers import pointer
from playhead_engine.pauses.refusals import check_open
from playhead_gateway.access import Caller
from playhead_gateway.bodies import IssueLink
from playhead_gateway.handlers.answering import find_pause
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.problems import InvalidRequest
from playhead_gateway.services import Services
from playhead_runtime.links import Link, page_url


class LinksAreOff(Refused):
    problem, title, status = "links-are-off", "No links are made here", 409

    def __init__(self) -> None:
        super().__init__("set PLAYHEAD_LINK_SECRET to a random text of at least 32 bytes, for gateway and hitl alike")


class IssuedLink(msgspec.Struct, frozen=True, kw_only=True, rename={"subject": "for"}):
    """Where the pause can be answered. Whoever has `url` can answer, as `for`; the gateway does not keep it."""

    url: str
    subject: str | None
    expires_at: datetime


async def issue_link(services: Services, caller: Caller, pause_id: str, order: IssueLink) -> Reply:
    """A new link to an open pause.

    Raises LinksAreOff, InvalidRequest, PauseUnknown, PauseClosed and PauseExpiredAlready.
    """
    settings, now = services.settings, services.clock.now()
    links = settings.links()
    if links is None:
        raise LinksAreOff
    lasts, subject = _duration(order.expires_in), _person(order.subject)
    state, pause = await find_pause(services, caller, pause_id)
    check_open(state, pause, now)
    expires_at = settings.link_end(now, pause.expires_at) if lasts is None else now + lasts
    link = Link(
        tenant=state.tenant,
        execution_id=state.execution_id,
        pause_id=pause.pause_id,
        subject=subject,
        groups=order.groups,
        expires_at=expires_at.replace(microsecond=0),
        link_id=token_hex(16),
    )
    url = page_url(settings.base_url, links.issue(link))
    body = IssuedLink(url=url, subject=subject, expires_at=link.expires_at)
    return Reply(status=HTTPStatus.CREATED, body=body)


def _person(name: str | None) -> str | None:
    if name is None:
        return None
    found = name.removeprefix("user:").strip()
    if not found or found.startswith(("group:", "scope:", "link:")):
        raise InvalidRequest(
            "a link is for one person", errors=[Fault(pointer("for"), "name a person; groups go into `groups`")]
        )
    return found


def _duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        lasts = parse_duration(text)
    except ValueError as exc:
        raise InvalidRequest("that is no duration", errors=[Fault(pointer("expires_in"), str(exc))]) from exc
    if lasts < timedelta(seconds=1):
        raise InvalidRequest("the link would be over at once", errors=[Fault(pointer("expires_in"), "should be > 1s")])
    return lasts
