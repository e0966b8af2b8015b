"""A small real HTTP server for tests: the outside world that workflows talk to, on loopback."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec


class Received(msgspec.Struct, frozen=True):
    """A request as it arrived. Header names are in lower case; of a repeated one the last value is kept."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class _Answer(msgspec.Struct, frozen=True):
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    delay: float
    seconds_per_byte: float
    times: int
    hang_up: bool
    until: asyncio.Event | None


class OutsideServer:
    """Records every request and answers as it was told; 404 where it was told nothing.

    async with OutsideServer() as server:
        server.respond("/pay", status=503)
        server.respond("/pay", body={"paid": True})     # from the second request on
        ...
        assert server.requests[0].method == "POST"
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._address = (host, port)
        self.requests: list[Received] = []
        self.bytes_sent = 0
        self.open_connections = 0
        self._answers: defaultdict[str, list[_Answer]] = defaultdict(list)
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def respond(
        self,
        path: str,
        status: int = 200,
        body: Any = b"",
        delay: float = 0.0,
        *,
        headers: Mapping[str, str] | None = None,
        seconds_per_byte: float = 0.0,
        times: int = 1,
        hang_up: bool = False,
        until: asyncio.Event | None = None,
        reason: str = "Answer",
    ) -> None:
        """Answer requests for `path`, after `delay` seconds, and not before `until` is set. Several answers for a path
        are given one after the other, and the last one ever after.

        `body` is bytes, a str, or a value that is sent as JSON; it is sent `times` over, and a byte at a time
        if `seconds_per_byte` is set. A server told to `hang_up` closes the connection in place of answering.
        """
        content, content_type = _content(body)
        given = {name.lower(): value for name, value in (headers or {}).items()}
        self._answers[path].append(
            _Answer(status, reason, content_type | given, content, delay, seconds_per_byte, times, hang_up, until)
        )

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, *self._address, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        self.open_connections += 1
        try:
            while received := await _read(reader):
                self.requests.append(received)
                if not await self._answer(received, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self.open_connections -= 1
            self._connections.discard(connection)
            writer.close()

    async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        told = self._answers[received.path]
        answer = (told.pop(0) if len(told) > 1 else told[0]) if told else _NOT_FOUND
        await asyncio.sleep(answer.delay)
        if answer.until is not None:
            await answer.until.wait()
        if answer.hang_up:
            return False
        head = [f"HTTP/1.1 {answer.status} {answer.reason}", f"content-length: {len(answer.body) * answer.times}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        for _ in range(answer.times if received.method != "HEAD" else 0):
            await self._send(answer, writer)
        await writer.drain()
        return True

    async def _send(self, answer: _Answer, writer: asyncio.StreamWriter) -> None:
        pieces = [answer.body]
        if answer.seconds_per_byte:
            pieces = [answer.body[index : index + 1] for index in range(len(answer.body))]
        for piece in pieces:
            await asyncio.sleep(answer.seconds_per_byte)
            writer.write(piece)
            await writer.drain()
            self.bytes_sent += len(piece)


_NOT_FOUND = _Answer(404, "Answer", {}, b"", 0.0, 0.0, 1, False, None)


def _content(body: Any) -> tuple[bytes, dict[str, str]]:
    match body:
        case bytes():
            return body, {}
        case str():
            return body.encode(), {"content-type": "text/plain; charset=utf-8"}
        case _:
            return msgspec.json.encode(body), {"content-type": "application/json"}


async def _read(reader: asyncio.StreamReader) -> Received | None:
    """The next request of a connection, or None if the client has closed it."""
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = line.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Received(method, parts.path, parts.query, headers, body)
