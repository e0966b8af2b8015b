"""The bus: everything that Playhead does with NATS, typed. The one module that touches the untyped client
library.

Three kinds of sending, by what may be lost. `publish` and `send_soon` are for what the log can tell again:
they never fail, and drop messages when the bus is away for long. `send` is for commands: it returns when
JetStream has stored the message, and repeats it under the same message id (which JetStream recognises)
until then. `request` asks somebody who is there now.

Connection: reconnects for ever. What waits for an answer when the connection breaks is told at once, so
that `send` repeats as soon as the bus is back and not after a timeout. Replies and pulls are done here and
in `pull` rather than by the library's JetStream context: measured, 1.5 times as many sends and 1.4 to 2.2
times as many pulled messages a second, and its fetch knows no reconnect.
"""

# nats-py is typed in part only; what it gives is turned into our own types here, and nowhere else.
# pyright: reportUnknownMemberType=false

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from urllib.parse import urlsplit

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from playhead_contracts import subjects
from playhead_runtime.messages import (
    NO_HEADERS,
    BusRejected,
    BusUnavailable,
    Message,
    MessageTooLarge,
    NoAnswer,
    NobodyThere,
    NotAllowed,
)
from playhead_runtime.pull import Delivery, Puller
from playhead_runtime.settings import BusSettings
from playhead_runtime.subscription import Backlog, Subscription

__all__ = [
    "Bus",
    "BusRejected",
    "BusUnavailable",
    "Delivery",
    "Message",
    "MessageTooLarge",
    "NoAnswer",
    "NobodyThere",
    "NotAllowed",
    "Puller",
    "Subscription",
    "connect_as",
    "connect_bus",
]

log = logging.getLogger(__name__)

_RECONNECT_WAIT_SECONDS = 0.25
_CLOSE_SECONDS = 2.0
_ATTEMPT_SECONDS = 2.0
_UNSENT_LIMIT = 16 << 20
"""Bytes that may wait to be written. Beyond its own limit the library waits for a flush that never comes when
the connection breaks meanwhile, and swallows the cancellation of whoever waits. So ours is lower, and kept
here.
"""
_LIBRARY_UNSENT_LIMIT = 64 << 20
_FULL_WAIT_SECONDS = 0.002
_RETRY_WAIT_SECONDS = 0.1
DEFAULT_INBOX_PREFIX = "_INBOX"
_REFUSED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class _ApiError(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct, frozen=True):
    duplicate: bool = False
    error: _ApiError | None = None


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """A request that is under way."""

    subject: str
    answer: asyncio.Future[Message]


_decode_ack = msgspec.json.Decoder(_PubAck).decode


class Bus:
    """An open connection; made by `connect_bus`. Any number of tasks may use it at once."""

    def __init__(self, where: str):
        self._client = Client()
        self._where = where
        self._up = asyncio.Event()
        self._dropping = False
        self._inbox = ""
        self._numbers = count(1)
        self._waiting: dict[str, _Asked] = {}
        self._subscriptions: set[Subscription] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reconnected: set[Callable[[], None]] = set()

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    @property
    def max_payload(self) -> int:
        """The most bytes that the server takes in one message, headers included."""
        return self._client.max_payload

    async def check(self, timeout_seconds: float = 1.0) -> None:
        """Return when the bus and its JetStream answer. Raises BusUnavailable."""
        if not self.is_connected:
            raise BusUnavailable(f"the bus at {self._where} is not connected")
        await self.request("$JS.API.INFO", b"", timeout_seconds)

    # -- sending

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, *, reply: str = ""
    ) -> None:
        """Send to whoever listens now. Lossy: kept for a while when the bus is away, then dropped, with one
        log line.

        Raises MessageTooLarge.
        """
        try:
            await self._write(subject, data, reply, dict(headers) if headers else None)
        except BusUnavailable as exc:
            if not self._dropping:
                self._dropping = True
                log.warning("dropping messages until the bus is back", extra={"bus": self._where, "error": str(exc)})

    async def send(
        self,
        subject: str,
        data: bytes,
        msg_id: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_seconds: float = 10.0,
    ) -> bool:
        """Give a message to the stream that owns `subject`; when this returns, it is stored.

        Returns True if the stream had taken a message with this `msg_id` before (within its duplicate
        window, two minutes): nothing was stored then. Repeats for up to `timeout_seconds`, then raises
        BusUnavailable: the message may be stored or not, so do it again with the same id. Raises
        BusRejected, NotAllowed and MessageTooLarge.
        """
        fields = {**(headers or NO_HEADERS), "Nats-Msg-Id": msg_id}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            try:
                await self._wait_until_up(deadline)
                attempt = min(_ATTEMPT_SECONDS, max(deadline - loop.time(), 0.01))
                answer = await self._ask(subject, data, fields, attempt)
                return _is_duplicate(subject, answer.data)
            except NotAllowed:
                raise  # the server has said no, and would again
            except BusUnavailable as exc:
                if loop.time() + _RETRY_WAIT_SECONDS >= deadline:
                    raise BusUnavailable(f"the bus did not take {subject} in {timeout_seconds:g} s: {exc}") from exc
                # A stream that is not there yet answers at once; do not spin.
                await asyncio.sleep(_RETRY_WAIT_SECONDS)

    async def send_soon(self, subject: str, data: bytes, msg_id: str) -> None:
        """Give a message to the stream that owns `subject`, without waiting: a nudge. Lossy, as `publish`."""
        await self.publish(subject, data, {"Nats-Msg-Id": msg_id})

    async def schedule(self, subject_timer: str, target_subject: str, due: datetime, data: bytes, msg_id: str) -> None:
        """Have `data` sent to `target_subject` at `due` (0 to 0.25 s late). Both subjects belong to one
        stream.

        There is one timer per `subject_timer`: another one, with another `msg_id`, takes its place. A due
        time in the past fires at once. Errors as `send`.
        """
        at = due.astimezone(UTC).strftime("@at %Y-%m-%dT%H:%M:%S.%fZ")
        await self.send(subject_timer, data, msg_id, {"Nats-Schedule": at, "Nats-Schedule-Target": target_subject})

    async def unschedule(self, subject: str) -> None:
        """Take back the timer on this subject; nothing happens if there is none (any more). Raises
        BusUnavailable.
        """
        body = msgspec.json.encode({"filter": subject})
        await self.api(f"STREAM.PURGE.{subjects.COMMANDS_STREAM}", body)

    # -- asking and answering

    async def request(self, subject: str, data: bytes, timeout_seconds: float) -> bytes:
        """Ask whoever serves `subject`, and return the answer.

        Raises NobodyThere at once when nobody does, NotAllowed at once when this user may not ask, and NoAnswer
        after `timeout_seconds`, when the connection broke, or when the other side failed.
        """
        answer = await self._ask(subject, data, None, timeout_seconds)
        if "Nats-Service-Error" in answer.headers:
            raise NoAnswer(f"{subject} failed: {answer.headers['Nats-Service-Error']}")
        return answer.data

    async def serve(self, subject: str, handler: Callable[[bytes], Awaitable[bytes]], queue: str = "") -> Subscription:
        """Answer requests on `subject`, each in a task of its own. Servers with the same `queue` share the
        requests.

        A handler that raises is logged, and its caller gets NoAnswer at once.
        """

        async def on_request(message: Message) -> None:
            task = asyncio.create_task(self._answer(handler, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return await self.listen(subject, on_request, queue)

    async def request_framed(self, subject: str, frames: Callable[[str], bytes], timeout_seconds: float) -> bytes:
        """Send many messages as bytes of the NATS protocol, and return the answer to the last of them.

        `frames` makes them (`HPUB ...`), given the reply subject for the last one, which goes to `subject`.
        For batches whose messages are built more cheaply than one by one. Errors as `request`.
        """

        async def write(reply: str) -> None:
            if not self.is_connected:
                raise BusUnavailable(f"the bus at {self._where} is not connected")
            await self._wait_for_room()
            # The library has no public way to hand over what is framed already.
            await self._client._send_command(frames(reply))  # pyright: ignore[reportPrivateUsage]
            await self._client._flush_pending()  # pyright: ignore[reportPrivateUsage]

        return (await self._exchange(subject, write, timeout_seconds)).data

    async def api(self, name: str, body: bytes, timeout_seconds: float = 5.0) -> bytes:
        """Call the JetStream API (`STREAM.INFO.X`) and return its JSON answer, which may hold an error."""
        return await self.request(f"$JS.API.{name}", body, timeout_seconds)

    async def stream_created(self, stream: str) -> datetime:
        """When a stream came into being: later than before, if it was lost and made anew. Raises BusUnavailable."""
        answer = msgspec.json.decode(await self.api(f"STREAM.INFO.{stream}", b""), type=_StreamInfo)
        if answer.created is None:
            raise BusUnavailable(f"there is no stream {stream}")
        return answer.created

    # -- receiving

    async def subscribe(self, subject: str, queue: str = "") -> Subscription:
        """Get messages by iterating over the result. A reader that is slow loses messages (see `dropped`)."""
        backlog = Backlog()
        return await self._attach(subject, backlog.put, queue, backlog)

    async def listen(
        self, subject: str, callback: Callable[[Message], Awaitable[None]], queue: str = ""
    ) -> Subscription:
        """Have `callback` called for each message, one after another, in the order of arrival."""
        return await self._attach(subject, callback, queue, Backlog())

    async def pull(self, stream: str, durable: str) -> Puller:
        """Take messages from a durable consumer, which `provision` has made."""
        return await Puller.open(self, stream, durable)

    def new_inbox(self) -> str:
        """A subject of this connection alone, for answers."""
        return self._client.new_inbox()

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after each reconnect. Returns a function that ends this."""
        self._reconnected.add(callback)
        return lambda: self._reconnected.discard(callback)

    # -- inside

    async def _ask(self, subject: str, data: bytes, headers: dict[str, str] | None, timeout_seconds: float) -> Message:
        return await self._exchange(subject, lambda reply: self._write(subject, data, reply, headers), timeout_seconds)

    async def _exchange(self, subject: str, send: Callable[[str], Awaitable[None]], timeout_seconds: float) -> Message:
        loop = asyncio.get_running_loop()
        reply = f"{self._inbox}.{next(self._numbers)}"
        future: asyncio.Future[Message] = loop.create_future()
        self._waiting[reply] = _Asked(subject, future)
        late = loop.call_later(
            timeout_seconds, _fail, future, NoAnswer(f"no answer on {subject} in {timeout_seconds:g} s")
        )
        try:
            await send(reply)
            answer = await future
        finally:
            late.cancel()
            del self._waiting[reply]
        if not answer.data and answer.headers.get("Status") == "503":
            raise NobodyThere(subject)
        return answer

    async def _write(self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> None:
        """Hand a message to the connection; while it is away, to what is sent when it is back."""
        await self._wait_for_room()
        # The library looks at the data alone, and over headers that are too much the server breaks the connection.
        size, limit = len(data) + _size_of(headers), self._client.max_payload
        if size > limit:
            raise MessageTooLarge(f"{size} bytes are more than the {limit} of a message")
        try:
            await self._client.publish(subject, data, reply, headers)
        except nats.errors.MaxPayloadError as exc:
            raise MessageTooLarge(f"{size} bytes are more than the {limit} of a message") from exc
        except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError) as exc:
            raise BusUnavailable(f"the bus at {self._where} is away: {exc}") from exc

    async def _wait_for_room(self) -> None:
        """Wait while the bus is slow. Raises BusUnavailable when it is away and the buffer is full."""
        while self._client.pending_data_size > _UNSENT_LIMIT:
            if not self.is_connected:
                raise BusUnavailable(f"the bus at {self._where} is away, and the buffer is full")
            await asyncio.sleep(_FULL_WAIT_SECONDS)

    async def _on_answer(self, message: Message) -> None:
        asked = self._waiting.get(message.subject)
        if asked is not None and not asked.answer.done():
            asked.answer.set_result(message)

    def _refuse(self, error: str) -> bool:
        """Tell those who ask on a subject that this user may not. False if nobody does, or the error is another."""
        refused = _REFUSED.search(error)
        subject = refused[1].casefold() if refused else ""  # the library has it in small letters
        asking = [asked for asked in self._waiting.values() if asked.subject.casefold() == subject]
        for asked in asking:
            _fail(asked.answer, NotAllowed(asked.subject))
        return bool(asking)

    async def _answer(self, handler: Callable[[bytes], Awaitable[bytes]], message: Message) -> None:
        try:
            answer = await handler(message.data)
        except Exception as exc:
            log.exception("request failed", extra={"subject": message.subject})
            failed = {"Nats-Service-Error": type(exc).__name__, "Nats-Service-Error-Code": "500"}
            if message.reply:
                await self.publish(message.reply, b"", failed)
        else:
            if message.reply:
                await self.publish(message.reply, answer)

    async def _attach(
        self,
        subject: str,
        callback: Callable[[Message], Awaitable[None]],
        queue: str,
        backlog: Backlog,
    ) -> Subscription:
        async def on_message(raw: Msg) -> None:
            await callback(Message(raw.subject, raw.data, raw.reply, raw.headers or NO_HEADERS))

        try:
            raw = await self._client.subscribe(subject, queue, on_message)
        except nats.errors.ConnectionClosedError as exc:
            raise BusUnavailable(f"the connection to {self._where} is closed") from exc

        async def stop() -> None:
            self._subscriptions.discard(subscription)
            with suppress(nats.errors.Error):
                await raw.unsubscribe()

        subscription = Subscription(stop, backlog)
        self._subscriptions.add(subscription)
        return subscription

    async def _wait_until_up(self, deadline: float) -> None:
        if self._up.is_set():
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._up.wait()
        except TimeoutError as exc:
            raise BusUnavailable(f"the bus at {self._where} is away") from exc

    # -- the connection

    async def open(
        self, url: str, name: str, user: str | None, password: str | None, inbox_prefix: str, wait_seconds: float
    ) -> None:
        last_error: list[Exception] = []

        async def on_error(exc: Exception) -> None:
            if self._refuse(str(exc)):
                return  # whoever asked is told
            # While the bus is away every attempt fails with the same error: one line per outage, by
            # on_disconnect.
            if self._up.is_set():
                log.warning("bus error", extra={"bus": self._where, "error": repr(exc)})
            # What follows a refused password is only that the connection is closed.
            if not last_error or "authorization" not in str(last_error[0]).lower():
                last_error[:] = [exc]

        async def on_disconnect() -> None:
            if self._up.is_set():
                self._up.clear()
                log.warning("bus connection lost", extra={"bus": self._where})
            for asked in self._waiting.values():
                _fail(asked.answer, NoAnswer(f"the connection to {self._where} broke"))

        async def on_reconnect() -> None:
            log.info("bus connected again", extra={"bus": self._where})
            self._dropping = False
            self._up.set()
            for callback in tuple(self._reconnected):
                callback()

        try:
            async with asyncio.timeout(wait_seconds):
                await self._client.connect(
                    url,
                    name=name,
                    user=user,
                    password=password,
                    inbox_prefix=inbox_prefix,
                    error_cb=on_error,
                    disconnected_cb=on_disconnect,
                    reconnected_cb=on_reconnect,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT_SECONDS,  # pyright: ignore[reportArgumentType] - seconds, as float
                    connect_timeout=2,
                    ping_interval=5,
                    max_outstanding_pings=2,
                    pending_size=_LIBRARY_UNSENT_LIMIT,
                    flush_timeout=_ATTEMPT_SECONDS,
                )
        except (TimeoutError, nats.errors.Error, OSError) as exc:
            cause = last_error[0] if last_error else exc
            raise BusUnavailable(f"no bus at {self._where} within {wait_seconds:g} s: {cause!r}") from exc
        self._inbox = self._client.new_inbox()
        self._up.set()
        await self.listen(f"{self._inbox}.*", self._on_answer)

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        for subscription in self._subscriptions:
            subscription.end()
        # Not drain(): it waits for its whole timeout when a pull has ended without messages. And the flush
        # is short, because a bus that does not answer now must not keep a service from stopping.
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self.is_connected:
                    await self._client.flush(1)
        self._up.clear()
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()


@asynccontextmanager
async def connect_bus(
    url: str,
    name: str,
    *,
    user: str | None = None,
    password: str | None = None,
    inbox_prefix: str | None = None,
    wait_seconds: float = 10.0,
) -> AsyncGenerator[Bus]:
    """Connect, and close at the end. `name` is shown in the monitoring of NATS.

    Tries for `wait_seconds` when there is no server yet, then raises BusUnavailable. `user` and `password`
    may also stand in `url`. `inbox_prefix`: what the subjects of answers begin with, where a user may listen on
    no others; else `_INBOX`.
    """
    parts = urlsplit(url)
    bus = Bus(f"{parts.hostname}:{parts.port or 4222}")
    try:
        await bus.open(url, name, user, password, inbox_prefix or DEFAULT_INBOX_PREFIX, wait_seconds)
        yield bus
    finally:
        await bus.close()


def connect_as(settings: BusSettings, name: str) -> AbstractAsyncContextManager[Bus]:
    """`connect_bus` as the user that the settings say."""
    return connect_bus(
        settings.nats_url,
        name,
        user=settings.nats_user,
        password=settings.nats_password,
        inbox_prefix=settings.nats_inbox_prefix,
    )


class _StreamInfo(msgspec.Struct, frozen=True):
    created: datetime | None = None


def _size_of(headers: dict[str, str] | None) -> int:
    """At least the bytes of headers on the wire: `NATS/1.0`, a line for each, and an empty one."""
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) if headers else 0


def _is_duplicate(subject: str, answer: bytes) -> bool:
    ack = _decode_ack(answer)
    if ack.error is None:
        return ack.duplicate
    text = f"{subject}: {ack.error.description} ({ack.error.err_code})"
    # 409: the same message id is being stored right now by another server of a cluster. 5xx: full, or no
    # leader.
    if ack.error.code == 409 or ack.error.code >= 500:
        raise BusUnavailable(text)
    raise BusRejected(text)


def _fail(future: asyncio.Future[Message], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
