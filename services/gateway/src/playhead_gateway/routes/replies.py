"""Handlers' replies as HTTP responses."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Response
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from playhead_gateway.handlers.listening import Reply, StreamReply
from playhead_gateway.preferences import EVENT_STREAM
from playhead_gateway.services import has_left

_SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
encoded = msgspec.json.Encoder().encode


class ByteStream(Stream):
    """A body in pieces, until they end or the client goes away.

    Litestar's own response cancels the generator again and again until it gives in, so that queries under way break
    their connections, and leaves it to be collected when it was not running. Here it is cancelled once, and closed.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], media_type: str, headers: dict[str, str]):
        super().__init__(chunks, status_code=200, media_type=media_type, headers=headers)
        self._chunks = chunks

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIApp:  # pyright: ignore[reportIncompatibleMethodOverride]
        response: ASGIResponse = super().to_asgi_response(*args, **kwargs)  # pyright: ignore[reportUnknownMemberType]

        async def app(_scope: Scope, receive: Receive, send: Send) -> None:
            tasks: list[asyncio.Task[None]] = []
            try:
                await response.start_response(send)
                tasks.append(asyncio.create_task(_send_all(self._chunks, send), name="event stream"))
                tasks.append(asyncio.create_task(has_left(receive), name="client"))
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._chunks.aclose()

        return app


class EventStream(ByteStream):
    """Server-sent events."""

    def __init__(self, chunks: AsyncGenerator[bytes]):
        super().__init__(chunks, EVENT_STREAM, _SSE_HEADERS)


async def _send_all(chunks: AsyncGenerator[bytes], send: Send) -> None:
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


AnyResponse = Response[bytes] | ByteStream


def respond(reply: Reply | StreamReply) -> AnyResponse:
    """JSON, or server-sent events."""
    match reply:
        case Reply():
            headers = {"location": reply.location, "preference-applied": reply.preference_applied}
            return Response(
                encoded(reply.body),
                status_code=reply.status,
                media_type="application/json",
                headers={name: value for name, value in headers.items() if value is not None},
            )
        case StreamReply():
            return EventStream(reply.chunks)


def show(body: object) -> AnyResponse:
    """200 with this body."""
    return respond(Reply(body=body))
