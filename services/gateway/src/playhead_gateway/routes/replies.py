"""Handlers' replies as HTTP responses."""

import msgspec
from litestar import Response
from litestar.response import Stream

from playhead_gateway.handlers.listening import Reply, StreamReply

_SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_encode = msgspec.json.Encoder().encode

AnyResponse = Response[bytes] | Stream


def respond(reply: Reply | StreamReply) -> AnyResponse:
    """JSON, or server-sent events."""
    match reply:
        case Reply():
            headers = {} if reply.location is None else {"location": reply.location}
            return Response(
                _encode(reply.body), status_code=reply.status, media_type="application/json", headers=headers
            )
        case StreamReply():
            return Stream(reply.chunks, status_code=200, media_type="text/event-stream", headers=_SSE_HEADERS)


def show(body: object) -> AnyResponse:
    """200 with this body."""
    return respond(Reply(body=body))
