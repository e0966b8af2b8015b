"""The whole log of a tenant as server-sent events: every fact once, in the order of commits, and on as they come.

The bus only wakes the reader: what is told is read from the log, in pages, whenever the client has taken the last one.
So nothing is lost, whatever the bus loses, and a client that is slow costs no memory.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from http import HTTPStatus

import msgspec

from playhead_contracts import subjects
from playhead_contracts.ids import TenantId
from playhead_eventlog import RawEvent
from playhead_gateway.access import Caller
from playhead_gateway.handlers.listening import PING_SECONDS, StreamReply
from playhead_gateway.problems import BadRequest, Stopping, tell
from playhead_gateway.services import Services

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
"""Not every append is told on the bus."""
_PAGE = 200
_LAST_POSITION = 2**63 - 1


class Filter(msgspec.Struct, frozen=True):
    """Which facts are wanted: of a workflow, of some types (one that ends in a dot stands for all that begin so)."""

    workflow: str | None = None
    types: tuple[str, ...] = ()


class _Told(msgspec.Struct):
    workflow_id: str | None = None


_decode_told = msgspec.json.Decoder(_Told).decode


def follow_tenant(services: Services, caller: Caller, wanted: Filter, after: int) -> StreamReply:
    """The facts of the caller's tenant after a position. The stream has no end of its own."""
    return StreamReply(_tail(services, caller.tenant, wanted, after))


def read_position(text: str) -> int:
    """The position that a follower has seen last. Raises BadRequest for what is none."""
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _LAST_POSITION:
        raise BadRequest(f"{text[:32]!r} is no position in the log: 0 for the beginning, or the last id you have")
    return int(text)


async def _tail(services: Services, tenant: TenantId, wanted: Filter, after: int) -> AsyncGenerator[bytes]:
    loop = asyncio.get_running_loop()
    yield b"retry: 1000\n\n"
    try:
        async with services.follows.news(subjects.live_of_tenant(tenant)) as news:
            spoken = loop.time()
            while True:
                if services.follows.is_stopping:
                    raise Stopping
                news.clear()
                found = await services.log.read_tenant(tenant, after, _PAGE, wanted.types or None)
                if told := [await _encoded(services, raw) for raw in found.events if _is_wanted(raw, wanted)]:
                    yield b"".join(told)
                    spoken = loop.time()
                if found.until == after:
                    await news.wait(LOOK_AGAIN_SECONDS)
                after = found.until
                if loop.time() - spoken >= PING_SECONDS:
                    yield b": ping\n\n"
                    spoken = loop.time()
    except Exception as exc:
        problem = tell(exc)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.exception("stream failed", extra={"tenant": tenant})
        yield b"event: error\ndata: " + problem.body + b"\n\n"


def _is_wanted(raw: RawEvent, wanted: Filter) -> bool:
    return wanted.workflow is None or _decode_told(raw.meta).workflow_id == wanted.workflow


async def _encoded(services: Services, raw: RawEvent) -> bytes:
    frame = await services.log.whole(raw.frame(), opened=True)
    data = b'%b,"position":%d}' % (frame[:-1], raw.position)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (raw.position, raw.type.encode(), data)
