"""The gateway as a client sees it: calls, problem documents, and a stream of events that survives a lost connection."""

import os
import time
from collections.abc import Generator, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from playhead_cli.answers import ProblemDocument
from playhead_cli.facts import TERMINAL
from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import Json
from playhead_gateway.settings import is_loopback

T = TypeVar("T")

USER_AGENT = "playhead-cli"
"""Decisions that come with it are recorded as made at the command line."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 300.0
"""Longer than any gateway waits for an execution that somebody wants to see the result of."""
_SILENCE_SECONDS = 60.0
"""A stream says something every 15 seconds; one that is silent for this long is dead."""
_RECONNECT_SECONDS = 0.5
_GIVE_UP_SECONDS = 30.0
_PATIENCE_SECONDS = 5.0


class GatewayUnreachable(PlayheadError):
    """Nobody answers at the gateway's address."""

    def __init__(self, url: str, cause: Exception):
        super().__init__(
            f"no gateway answers at {url} ({cause}). Start one with `playhead dev`, or say where it is "
            "with --url or PLAYHEAD_URL"
        )


class ProblemAnswered(PlayheadError):
    """The gateway refused, and said why."""

    def __init__(self, problem: ProblemDocument, body: bytes):
        super().__init__(problem.detail or problem.title)
        self.problem = problem
        self.body = body


class Told(msgspec.Struct, frozen=True):
    """One server-sent event: a fact as it is stored. `event_id` is empty for what is not stored (chunks, results)."""

    event_id: str
    event: str
    data: bytes

    @property
    def is_last(self) -> bool:
        return self.event in TERMINAL


class Answer(msgspec.Struct, frozen=True):
    """What the gateway answered. An execution that was started with mode `stream` answers with events."""

    status: int
    content_type: str
    body: bytes

    @property
    def is_stream(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    def as_(self, kind: type[T]) -> T:
        """A JSON body as a struct."""
        return msgspec.json.decode(self.body, type=kind)

    def events(self) -> Iterable[Told]:
        """The events of a stream that has ended."""
        return _server_sent_events([self.body])


_NOTHING_MORE = Told("", "", b"")
"""The execution ended at or before the version asked for: the gateway answers 204."""


class Gateway:
    """A connection to a gateway. A context manager; the key is that of PLAYHEAD_API_KEY."""

    def __init__(self, url: str, api_key: str | None = None):
        self.url = url.rstrip("/")
        key = api_key or os.environ.get("PLAYHEAD_API_KEY")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"user-agent": USER_AGENT} | ({"authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            # No proxy stands between us and this machine.
            trust_env=not is_loopback(urlsplit(self.url).hostname or ""),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> Answer:
        """Ask. What does not answer right now is asked again for a while: asking changes nothing.

        Raises ProblemAnswered and GatewayUnreachable, as all calls do.
        """
        wanted = {name: str(value) for name, value in query.items() if value is not None}
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._call(self._http.build_request("GET", path, params=wanted))
            except ProblemAnswered as refusal:
                if refusal.problem.status != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(_RECONNECT_SECONDS)

    def delete(self, path: str) -> Answer:
        """Have something gone."""
        return self._call(self._http.build_request("DELETE", path))

    def post(self, path: str, body: Mapping[str, Json], headers: Mapping[str, str] | None = None) -> Answer:
        """Send a JSON object, without the members that are None."""
        return self._call(self._post_request(path, body, headers))

    def post_bytes(self, path: str, content: bytes, content_type: str) -> Answer:
        """Send a document as it is."""
        return self._call(
            self._http.build_request("POST", path, content=content, headers={"content-type": content_type})
        )

    def post_stream(
        self, path: str, body: Mapping[str, Json], headers: Mapping[str, str] | None = None
    ) -> Generator[Told]:
        """Send a JSON object and get the facts that follow from it, to the last one or a pause."""
        try:
            yield from self._stream(self._post_request(path, body, headers))
        except httpx.TransportError as error:
            raise GatewayUnreachable(self.url, error) from error

    def watch(self, execution_id: str, after: int = 0) -> Generator[Told]:
        """The facts of an execution after a version, as they happen, to the last one; connects again if it must."""
        version, silent_since = after, time.monotonic()
        while True:
            try:
                request = self._http.build_request(
                    "GET",
                    f"/v1/executions/{execution_id}/stream",
                    params={"follow": "true"},
                    headers={"last-event-id": str(version)},
                )
                for told in self._stream(request):
                    if told is _NOTHING_MORE:
                        return
                    version, silent_since = int(told.event_id or version), time.monotonic()
                    yield told
                    if told.is_last:
                        return
            except httpx.TransportError as error:
                if time.monotonic() - silent_since > _GIVE_UP_SECONDS:
                    raise GatewayUnreachable(self.url, error) from error
            except ProblemAnswered as refusal:
                if refusal.problem.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            time.sleep(_RECONNECT_SECONDS)

    def _post_request(self, path: str, body: Mapping[str, Json], headers: Mapping[str, str] | None) -> httpx.Request:
        given = {name: value for name, value in body.items() if value is not None}
        # As bytes: httpx takes only ASCII for text, and a variable may be any.
        sent = [
            (name.encode(), value.encode())
            for name, value in {"content-type": "application/json", **(headers or {})}.items()
        ]
        return self._http.build_request("POST", path, content=msgspec.json.encode(given), headers=sent)

    def _call(self, request: httpx.Request) -> Answer:
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            raise GatewayUnreachable(self.url, error) from error
        if response.is_error:
            raise _problem(response)
        return Answer(response.status_code, response.headers.get("content-type", ""), response.content)

    def _stream(self, request: httpx.Request) -> Generator[Told]:
        request.extensions["timeout"] |= {"read": _SILENCE_SECONDS}
        response = self._http.send(request, stream=True)
        try:
            if response.is_error:
                response.read()
                raise _problem(response)
            if response.status_code == HTTPStatus.NO_CONTENT:
                yield _NOTHING_MORE
            yield from _server_sent_events(response.iter_bytes())
        finally:
            response.close()


def _server_sent_events(chunks: Iterable[bytes]) -> Generator[Told]:
    # Split by hand: httpx's lines end at U+2028 too, which may stand in JSON.
    rest = b""
    for chunk in chunks:
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            fields = dict(_fields(event))
            if "data" not in fields:
                continue
            told = Told(fields.get("id", b"").decode(), fields.get("event", b"message").decode(), fields["data"])
            if told.event == "error":
                raise ProblemAnswered(_problem_document(told.data), told.data)
            yield told


def _fields(event: bytes) -> Generator[tuple[str, bytes]]:
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name:
            yield name.decode(), value.removeprefix(b" ")


def _problem(response: httpx.Response) -> ProblemAnswered:
    return ProblemAnswered(_problem_document(response.content, response.status_code), response.content)


def _problem_document(body: bytes, status: int = 0) -> ProblemDocument:
    try:
        return msgspec.json.decode(body, type=ProblemDocument)
    except msgspec.DecodeError:
        # Not one of our gateways: a proxy, or another program on this port.
        return ProblemDocument(title=f"HTTP {status}", status=status, detail=body[:300].decode(errors="replace"))
