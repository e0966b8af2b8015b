"""Holding the copy on the bus against the log: each message must be what the relay makes of the event at its position.

What is missing before the first message has grown too old, and what the log has behind the last one is on its way, or
was taken away from the end: the stream's own counter of messages tells which.
"""

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from playhead_contracts.subjects import EVENTS_STREAM
from playhead_eventlog import EventLog, RawEvent
from playhead_projector.building import Progress, Told, tell_nobody
from playhead_projector.bus_copy import EVENT_HEADER, ID_HEADER, POSITION_HEADER, bus_message
from playhead_runtime.bus import Bus, BusUnavailable, Delivery, Puller
from playhead_runtime.ids import new_id

_MESSAGES_A_READ = 500
_EVENTS_A_READ = 2000
_FETCH_SECONDS = 1.0
_LEFT_ALONE_SECONDS = 30
_MOST_FAULTS = 1000

_VERSION = "playhead-version"
_ALWAYS = (POSITION_HEADER, _VERSION, ID_HEADER)
_NEWER = frozenset({"ce-dataschema"})
"""Headers that say what an older relay did not, or said otherwise."""


class BusFault(msgspec.Struct, frozen=True):
    """A message that is not the copy of its event, or an event whose copy is not there."""

    kind: Literal["altered", "removed", "inserted", "reordered"]
    sequence: int
    """Of the message, or of the one behind what is missing."""
    position: int
    reason: str


class BusReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on the bus. `behind`: events that the relay has not copied yet."""

    messages: int
    first_position: int
    last_position: int
    behind: int
    faults: tuple[BusFault, ...]

    @property
    def intact(self) -> bool:
        return not self.faults


class _State(msgspec.Struct, frozen=True):
    messages: int
    first_seq: int
    last_seq: int


class _Info(msgspec.Struct, frozen=True):
    state: _State | None = None


async def verify_bus(log: EventLog, bus: Bus, told: Told = tell_nobody) -> BusReport:
    """Compare every message of the stream with the log. Raises BusUnavailable and LogUnavailable."""
    state = await _state(bus)
    checked = _Checked(log, bus.max_payload)
    name = f"verify-{new_id()}"
    async with _reading(bus, name) as puller:
        while checked.sequence < state.last_seq and state.messages:
            batch = await puller.fetch(_MESSAGES_A_READ, _FETCH_SECONDS)
            if not batch and await _is_at_the_end(bus, name):
                break  # the last ones are gone, which the counter shows
            for delivery in batch:
                await checked.look_at(delivery)
            told(Progress(checked.messages, checked.sequence, max(state.last_seq, checked.sequence)))
    if state.messages and checked.sequence < state.last_seq:
        gone = state.last_seq - checked.sequence
        checked.fault("removed", state.last_seq, checked.position, f"{gone} messages were removed from the end")
    return BusReport(
        messages=checked.messages,
        first_position=checked.first,
        last_position=checked.position,
        behind=max(0, await checked.count_behind()),
        faults=tuple(checked.faults),
    )


class _Checked:
    """How far the stream was compared. Events and messages are both read once, side by side."""

    def __init__(self, log: EventLog, max_payload: int):
        self._log = log
        self._max_payload = max_payload
        self._events: deque[RawEvent] = deque()
        self._read_to = 0
        self.faults: list[BusFault] = []
        self.messages = 0
        self.sequence = 0
        self.first = 0
        self.position = 0

    def fault(self, kind: Literal["altered", "removed", "inserted", "reordered"], at: int, pos: int, why: str) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(BusFault(kind, at, pos, why))

    async def look_at(self, delivery: Delivery) -> None:
        self.messages += 1
        self.sequence = sequence = delivery.stream_seq
        headers = {name.lower(): value for name, value in delivery.headers.items()}
        position = _position(headers)
        if position is None:
            self.fault("inserted", sequence, 0, f"a message on {delivery.subject} that the relay did not write")
            return
        if position <= self.position:
            kind = "inserted" if position == self.position else "reordered"
            self.fault(kind, sequence, position, f"position {position} comes after position {self.position}")
            return
        if not self.position:
            # What was before has grown too old for the bus.
            self.first = position
            self._read_to = position - 1
        event = await self._event_at(position, sequence)
        if event is None and await self._log.auditing.was_archived(position):
            # What it says is in the archive; that it was an event stands in the log.
            self.position = position
            return
        if event is None:
            self.fault("inserted", sequence, position, f"the log has no event at position {position}")
            return
        self.position = position
        if reason := _difference(event, delivery, headers, self._max_payload):
            self.fault("altered", sequence, position, f"{event.stream_id} version {event.version}: {reason}")

    async def count_behind(self) -> int:
        """Events of the log that come after the last message."""
        count = 0
        while (event := await self._peek()) is not None:
            count += event.position > self.position
            self._events.popleft()
        return count

    async def _event_at(self, position: int, sequence: int) -> RawEvent | None:
        """The event at a position; those passed over on the way are not on the bus. None, and nothing passed over, if
        the log has none there.
        """
        event = await self._peek()
        if event is None or event.position != position:
            found = await self._log.read_log(position - 1, 1)
            if not found or found[0].position != position:
                return None
        while (event := await self._peek()) is not None and event.position < position:
            what = f"{event.stream_id} version {event.version}: its message is not there"
            self.fault("removed", sequence, event.position, what)
            self._events.popleft()
        return None if event is None else self._events.popleft()

    async def _peek(self) -> RawEvent | None:
        if not self._events:
            self._events.extend(await self._log.read_log(self._read_to, _EVENTS_A_READ))
            if self._events:
                self._read_to = self._events[-1].position
        return self._events[0] if self._events else None


def _position(headers: Mapping[str, str]) -> int | None:
    text = headers.get(POSITION_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() else None


def _difference(event: RawEvent, delivery: Delivery, headers: Mapping[str, str], max_payload: int) -> str | None:
    expected = bus_message(event, max_payload)
    if delivery.subject != expected.subject:
        return f"its subject is {delivery.subject}, and was {expected.subject}"
    if delivery.data != expected.body:
        return "its body is not what was recorded"
    lines = (line.partition(": ") for line in expected.headers.split("\r\n") if line)
    for name, _, value in lines:
        said = headers.get(name.lower())
        if name.lower() not in _NEWER and said != value and (said is not None or name in (*_ALWAYS, EVENT_HEADER)):
            return f"its header {name} is {said!r}, and was {value!r}"
    return None


async def _state(bus: Bus) -> _State:
    info = msgspec.json.decode(await bus.api(f"STREAM.INFO.{EVENTS_STREAM}", b""), type=_Info)
    if info.state is None:
        raise BusUnavailable(f"there is no stream {EVENTS_STREAM}: no projector has made it yet")
    return info.state


async def _is_at_the_end(bus: Bus, consumer: str) -> bool:
    """Whether the stream has nothing more for a consumer: a slow server is not an empty one."""
    answer: dict[str, Any] = msgspec.json.decode(await bus.api(f"CONSUMER.INFO.{EVENTS_STREAM}.{consumer}", b""))
    return answer.get("num_pending", 0) == 0


@asynccontextmanager
async def _reading(bus: Bus, name: str) -> AsyncGenerator[Puller]:
    """A consumer of our own, of the whole stream, which the server forgets when we are gone."""
    config: dict[str, Any] = {
        "name": name,
        "deliver_policy": "all",
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _LEFT_ALONE_SECONDS * 1_000_000_000,
    }
    body = msgspec.json.encode({"stream_name": EVENTS_STREAM, "config": config, "action": "create"})
    answer: dict[str, Any] = msgspec.json.decode(await bus.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.{name}", body))
    if "error" in answer:
        raise BusUnavailable(f"{EVENTS_STREAM} cannot be read: {answer['error'].get('description')}")
    puller = await bus.pull(EVENTS_STREAM, name)
    try:
        yield puller
    finally:
        await puller.close()
        await bus.api(f"CONSUMER.DELETE.{EVENTS_STREAM}.{name}", b"")
