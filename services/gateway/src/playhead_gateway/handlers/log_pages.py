"""The log of a tenant, to be read from any position: what the bus does not hold any more, or not yet.

Every event is given byte for byte as it is stored, with its position added at the end; a value that the log stores
apart is named by its digest, and one that is sealed stays sealed. So it is what the bus copy has, in the same order.
"""

import zlib
from collections.abc import AsyncGenerator, Sequence
from urllib.parse import urlencode

import msgspec

from playhead_eventlog import RawEvent
from playhead_gateway.access import Caller
from playhead_gateway.services import Services

PATH = "/v1/log"
MOST_EVENTS = 1000
_READ_EVENTS = 200
_STRETCHES = 20
"""How many stretches of the log one page may read through; then it says how far it came."""
_GZIP = 16 + zlib.MAX_WBITS


class LogPage(msgspec.Struct, frozen=True):
    """Some of a tenant's events, in the order of commits. All of them up to position `until` have been looked at.

    `next_cursor` asks for the rest; null at the end of the log, where `after` with `until` asks for what came since.
    """

    items: Sequence[msgspec.Raw]
    until: int
    next_cursor: str | None = None


class Wanted(msgspec.Struct, frozen=True):
    """Which events: after a position, of some types (one that ends in a dot stands for all that begin so)."""

    after: int
    types: tuple[str, ...] = ()

    def link_to(self, after: int, limit: int) -> str:
        """Where the events are that follow."""
        query = [("after", str(after)), ("limit", str(limit)), *(("type", each) for each in self.types)]
        return f"{PATH}?{urlencode(query)}"


async def log_page(services: Services, caller: Caller, wanted: Wanted, limit: int) -> LogPage:
    """At most `limit` events; fewer, or none, when there are none or few of these types in a long stretch of the log.

    Raises LogUnavailable.
    """
    last = await services.log.last_position()
    items: list[msgspec.Raw] = []
    until = wanted.after
    for _ in range(_STRETCHES):
        if until >= last or len(items) >= limit:
            break
        found = await services.log.read_tenant(caller.tenant, until, limit - len(items), wanted.types or None)
        items += [msgspec.Raw(line_of(raw)) for raw in found.events]
        until = found.until
    return LogPage(items, until, str(until) if until < last else None)


async def log_lines(
    services: Services, caller: Caller, wanted: Wanted, until: int, limit: int | None
) -> AsyncGenerator[bytes]:
    """One event a line, in order, up to position `until`, at most `limit` of them; in memory for a few at a time.

    Raises LogUnavailable in the middle, too: then the lines end without an end.
    """
    after, left = wanted.after, limit
    while after < until and left != 0:
        most = _READ_EVENTS if left is None else min(left, _READ_EVENTS)
        found = await services.log.read_tenant(caller.tenant, after, most, wanted.types or None)
        after = found.until
        events = [raw for raw in found.events if raw.position <= until]
        if left is not None:
            left -= len(events)
        if events:
            yield b"".join(line_of(raw) + b"\n" for raw in events)


async def zipped(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same as gzip; what has been given can be unpacked at once."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    try:
        async for chunk in chunks:
            yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield packer.flush()
    finally:
        await chunks.aclose()


def line_of(raw: RawEvent) -> bytes:
    """The stored bytes of an event, and its position as the last member."""
    return b'%b,"position":%d}' % (raw.frame()[:-1], raw.position)
