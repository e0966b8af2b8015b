"""Health over HTTP for services that have no HTTP of their own: `GET /health/live` and `GET /health/ready`.

No framework: two fixed answers do not need one, and a service that is in trouble should still be able to
say so.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import msgspec

log = logging.getLogger(__name__)

Checks = Mapping[str, Callable[[], Awaitable[None]]]
"""Per dependency a function that returns when it works, and raises when it does not."""

_CHECK_SECONDS = 2.0
_READ_SECONDS = 5.0


class Readiness(msgspec.Struct, frozen=True):
    """The body of `/health/ready`: `status` is `ready` or `not_ready`; per dependency `ok` or what is
    wrong.
    """

    status: str
    checks: dict[str, str]

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


async def readiness(checks: Checks) -> Readiness:
    """Ask all dependencies at once. One that does not answer in two seconds is not ready."""
    texts = await asyncio.gather(*(_outcome(check) for check in checks.values()))
    status = "ready" if all(text == "ok" for text in texts) else "not_ready"
    return Readiness(status, dict(zip(checks, texts, strict=True)))


@asynccontextmanager
async def health_server(host: str, port: int | None, checks: Checks) -> AsyncGenerator[None]:
    """Answer on this address until the end of the block. No port (None or 0) means no server."""
    if not port:
        yield
        return

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that goes away or dawdles is its own affair.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _respond(head, checks))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(on_connection, host, port)
    try:
        yield
    finally:
        # Not wait_closed(): since Python 3.12 it waits for clients that keep their connection open.
        server.close()


async def _outcome(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer in {_CHECK_SECONDS:g} s"
    except Exception as exc:  # noqa: BLE001 - whatever is wrong with a dependency is the answer
        return str(exc) or type(exc).__name__
    return "ok"


async def _respond(head: bytes, checks: Checks) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
    if method not in (b"GET", b"HEAD"):
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, {"status": "only GET"})
    match path:
        case b"/health/live":
            return _response(HTTPStatus.OK, {"status": "live"})
        case b"/health/ready":
            found = await readiness(checks)
            return _response(HTTPStatus.OK if found.is_ready else HTTPStatus.SERVICE_UNAVAILABLE, found)
        case _:
            return _response(HTTPStatus.NOT_FOUND, {"status": "not found"})


def _response(status: HTTPStatus, body: object) -> bytes:
    data = msgspec.json.encode(body)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + data
