"""The stream of the bus copy: how far it has come, and putting a batch at its end.

The stream is its own checkpoint: its last message says which position of the log it holds. A batch names the sequence
it follows, so a batch whose answer was lost is found by looking at the end of the stream again, and two relays cannot
both write.

An empty stream has no last message. Three things can have happened, and the stream's own state tells them apart:
it was made anew (no sequence was ever given out) or somebody emptied it (its last message was younger than `max_age`):
it was wiped and gets the whole log again. Or everything in it grew too old: it goes on where it was.
"""

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_contracts.ids import TenantId
from playhead_contracts.subjects import EVENTS_FILTER, EVENTS_STREAM, events_of_tenant
from playhead_projector.bus_copy import EVENT_HEADER, ID_HEADER, POSITION_HEADER, BusMessage, atomic_batch
from playhead_runtime.bus import Bus, BusUnavailable
from playhead_runtime.ids import new_id

_ANSWER_SECONDS = 10.0
_NO_MESSAGE = 10037
_STREAM_NOT_FOUND = 10059
_WRONG_LAST_SEQUENCE = 10071
_DUPLICATE_IDS = 10201


class StreamGone(BusUnavailable):
    """There is no stream for the bus copy."""


class StreamMoved(BusUnavailable):
    """The stream is not where it was: look at its end again."""


class IdsStillKnown(BusUnavailable):
    """The stream was emptied so recently that it still takes its old messages for duplicates."""


class BatchRefused(Corrupt):
    """The bus will not take this batch, now or later."""


class StreamEnd(msgspec.Struct, frozen=True):
    """Where the stream ends: its last sequence, and the event that its last message is a copy of.

    `position` is None when the stream does not tell: everything in it has grown too old.
    """

    sequence: int
    position: int | None
    event_id: str | None = None
    subject: str | None = None
    """Of the last message that is there, with its sequence: when it is gone, somebody emptied the stream."""
    subject_sequence: int = 0

    def expected(self) -> str:
        """What a message says that may only follow this end, as header lines."""
        lines = f"Nats-Expected-Last-Sequence: {self.sequence}\r\n"
        if self.subject is not None:
            lines += (
                f"Nats-Expected-Last-Subject-Sequence: {self.subject_sequence}\r\n"
                f"Nats-Expected-Last-Subject-Sequence-Subject: {self.subject}\r\n"
            )
        return lines


class _ApiError(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class _Config(msgspec.Struct, frozen=True):
    max_age: int = 0


class _State(msgspec.Struct, frozen=True):
    messages: int
    first_seq: int
    last_seq: int
    last_ts: datetime


class _Info(msgspec.Struct, frozen=True):
    error: _ApiError | None = None
    ts: datetime | None = None
    config: _Config | None = None
    state: _State | None = None


class _Stored(msgspec.Struct, frozen=True):
    seq: int
    subject: str
    hdrs: str = ""


class _Got(msgspec.Struct, frozen=True):
    error: _ApiError | None = None
    message: _Stored | None = None


class _BatchAnswer(msgspec.Struct, frozen=True):
    error: _ApiError | None = None
    seq: int = 0


async def find_end(bus: Bus) -> StreamEnd:
    """Where the stream ends now. Raises StreamGone, BusUnavailable."""
    info = await _info(bus)
    assert info.state is not None
    state = info.state
    if state.messages:
        return await _last_copy(bus, state)
    if state.last_seq == 0 or not _is_aged_out(info):
        return StreamEnd(state.last_seq, 0)
    return StreamEnd(state.last_seq, None)


async def is_untouched(bus: Bus, end: StreamEnd) -> bool:
    """Whether the stream is as we left it: nobody wiped it. Raises StreamGone, BusUnavailable."""
    info = await _info(bus)
    assert info.state is not None
    is_empty = info.state.messages == 0
    return info.state.last_seq == end.sequence and (not is_empty or end.sequence == 0 or _is_aged_out(info))


async def last_of_tenant(bus: Bus, tenant: TenantId) -> int | None:
    """The position of the tenant's newest event in the stream; None when the stream does not tell.

    Raises BusUnavailable.
    """
    got = await _get(bus, {"last_by_subj": events_of_tenant(tenant)})
    position = None if got is None else _headers(got.hdrs).get(POSITION_HEADER)
    return None if position is None else int(position)


async def empty(bus: Bus) -> StreamEnd:
    """Take everything out of the stream; gives its end then. Raises StreamGone, BusUnavailable."""
    error = msgspec.json.decode(await bus.api(f"STREAM.PURGE.{EVENTS_STREAM}", b""), type=_Got).error
    if error is not None:
        raise _failed(error)
    info = await _info(bus)
    assert info.state is not None
    return StreamEnd(info.state.last_seq, 0)


async def put(bus: Bus, messages: Sequence[BusMessage], end: StreamEnd, with_ids: bool) -> StreamEnd:
    """Append a batch to a stream that is at `end`; gives its new end when all of it is stored.

    Raises StreamMoved when it is not at `end`, IdsStillKnown, BatchRefused, and BusUnavailable when it is not known
    whether the batch is stored: then `find_end` tells.
    """
    batch_id = new_id()
    answer = msgspec.json.decode(
        await bus.request_framed(
            messages[-1].subject,
            lambda reply: atomic_batch(messages, batch_id, end.expected(), reply, with_ids),
            _ANSWER_SECONDS,
        ),
        type=_BatchAnswer,
    )
    error = answer.error
    if error is None:
        last = messages[-1]
        return StreamEnd(answer.seq, last.position, last.event_id, last.subject, answer.seq)
    text = f"{EVENTS_STREAM}: {error.description} ({error.err_code})"
    if error.err_code == _WRONG_LAST_SEQUENCE:
        raise StreamMoved(text)
    if error.err_code == _DUPLICATE_IDS and with_ids:
        raise IdsStillKnown(text)
    if error.code >= 500 or error.code in (408, 409, 429):
        raise BusUnavailable(text)
    raise BatchRefused(text)


async def _info(bus: Bus) -> _Info:
    info = msgspec.json.decode(await bus.api(f"STREAM.INFO.{EVENTS_STREAM}", b""), type=_Info)
    if info.error is not None:
        raise _failed(info.error)
    return info


def _failed(error: _ApiError) -> BusUnavailable:
    kind = StreamGone if error.err_code == _STREAM_NOT_FOUND else BusUnavailable
    return kind(f"{EVENTS_STREAM}: {error.description} ({error.err_code})")


async def _get(bus: Bus, query: dict[str, object]) -> _Stored | None:
    """A message of the stream, if there is one."""
    body = await bus.api(f"STREAM.MSG.GET.{EVENTS_STREAM}", msgspec.json.encode(query))
    got = msgspec.json.decode(body, type=_Got)
    if got.error is not None and got.error.err_code != _NO_MESSAGE:
        raise _failed(got.error)
    return got.message


def _is_aged_out(info: _Info) -> bool:
    """Of an empty stream: whether its last message was old enough to go by itself."""
    assert info.ts is not None
    assert info.config is not None
    assert info.state is not None
    max_age = timedelta(microseconds=info.config.max_age / 1000)
    return bool(max_age) and info.ts - info.state.last_ts >= max_age


async def _last_copy(bus: Bus, state: _State) -> StreamEnd:
    """The newest message that is ours. Others may have the right to publish here; what they did is passed over."""
    query: dict[str, object] = {"last_by_subj": EVENTS_FILTER}
    sequence = state.last_seq
    last: _Stored | None = None
    while sequence >= state.first_seq:
        found = await _get(bus, query)
        if found is not None:
            last = last or found
            headers = _headers(found.hdrs)
            if POSITION_HEADER in headers:
                position = int(headers[POSITION_HEADER])
                event_id = headers.get(EVENT_HEADER) or headers.get(ID_HEADER)
                return StreamEnd(state.last_seq, position, event_id, last.subject, last.seq)
            sequence = found.seq
        sequence -= 1
        query = {"seq": sequence}
    return StreamEnd(state.last_seq, 0)


def _headers(hdrs: str) -> dict[str, str]:
    lines = base64.b64decode(hdrs).decode().split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}
