"""One span for each request, around the whole application; and the caller's place in a trace for all that it does."""

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from playhead_runtime.spans import request, request_answered
from playhead_runtime.tracing import Tracer

_PROBES = "/health/"


class Traced:
    """An ASGI application around another. A stream's span lasts until the stream has ended."""

    def __init__(self, app: ASGIApp, tracer: Tracer):
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_PROBES):
            await self._app(scope, receive, send)
            return
        came = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
        if not self._tracer.is_on:
            with self._tracer.carry(came):
                await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Routed by now. A path that leads nowhere has no template, and its own text is anybody's.
                request_answered(scope["method"], scope.get("path_template"), message["status"])
            await send(message)

        with request(self._tracer, scope["method"], scope["scheme"], came):
            await self._app(scope, receive, sending)
