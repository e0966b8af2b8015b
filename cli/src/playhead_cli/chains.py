"""Checking hash chains and large values: whether what is stored is what was written. Pure; bytes in, faults out.

What is kept in memory is one entry a stream, some hundred bytes, however many events there are.

A chain says that something is wrong, and where it was noticed first. Which event it is, and what became of it, is told
from what stands around it: a version that is missing may still come later, where it does not belong; an event that does
not follow the one before it is itself the wrong one only if the next does not follow it either.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from playhead_contracts.events import Envelope, decode_envelope
from playhead_contracts.ids import StreamId
from playhead_eventlog import GENESIS, BlobKey, RawEvent, StreamHead, chain, fault_of
from playhead_eventlog.auditing import StoredRow

Kind = Literal["altered", "removed", "inserted", "reordered"]


class Break(msgspec.Struct, frozen=True):
    """Where the log is not what was written. Of an event that is gone, `position` is that of the one before it."""

    stream_id: StreamId
    version: int
    position: int
    kind: Kind
    reason: str


class _Reached(NamedTuple):
    """How far a stream was read."""

    version: int
    hash: bytes
    position: int


class _Doubt(NamedTuple):
    """What would make something else of a break that was told: `version` turns up after all, or the next event does
    not follow `hash`.
    """

    otherwise: Break
    version: int = 0
    hash: bytes = b""


_NOTHING = _Reached(GENESIS.version, GENESIS.hash, 0)


class Chains:
    """The chains of any number of streams, checked event by event, in the order of the log or of one stream."""

    def __init__(self) -> None:
        self.events = 0
        self.streams = 0
        self.breaks: dict[StreamId, Break] = {}
        """Where chains do not hold. What follows in the same stream proves nothing."""
        self.broken_blobs: list[Break] = []
        """The events whose large values are not there, or are others. Their chains may hold all the same."""
        self.misplaced: list[Break] = []
        """Events that do not stand where their position says."""
        self._blob_faults: dict[BlobKey, str | None] = {}
        self._reached: dict[StreamId, _Reached] = {}
        self._doubts: dict[StreamId, _Doubt] = {}
        self._before: RawEvent | None = None

    @property
    def blobs(self) -> int:
        """How many large values were looked at, each once."""
        return len(self._blob_faults)

    @property
    def faults(self) -> list[Break]:
        """All of them; the first one in the log is the first."""
        found = [*self.breaks.values(), *self.broken_blobs, *self.misplaced]
        return sorted(found, key=lambda fault: fault.position or sys.maxsize)

    def reached(self, stream_id: StreamId) -> int:
        """The version up to which a stream was read."""
        return self._reached.get(stream_id, _NOTHING).version

    def check_order(self, events: Iterable[RawEvent]) -> None:
        """Look at the positions of the next events, of the whole log or of one stream, after `check`."""
        for event in events:
            before, self._before = self._before, event
            if before is None or event.position > before.position or event.stream_id in self.breaks:
                continue
            if event.position == before.position:
                self._misplaced(event, "inserted", "another event stands at its position")
            else:
                self._misplaced(before, "reordered", f"version {event.version} stands before it in the log")

    def check(self, events: Iterable[RawEvent]) -> None:
        """Look at the next events."""
        for event in events:
            self.events += 1
            before = self._reached.get(event.stream_id)
            if before is None:
                self.streams += 1
                before = _NOTHING
            self._reached[event.stream_id] = _Reached(event.version, event.hash, event.position)
            if event.stream_id in self.breaks:
                self._reconsider(event)
            elif not _holds(event, before):
                self._note(event, before)

    def unseen_blobs(self, event: RawEvent) -> set[BlobKey]:
        """The large values that have to be read to check an event, which `check` has looked at."""
        if event.stream_id in self.breaks or not event.blobs:
            return set()
        tenant = decode_envelope(event.meta).tenant
        return {BlobKey(tenant, blob.digest) for blob in event.blobs.values()} - self._blob_faults.keys()

    def check_blobs(self, event: RawEvent, contents: Mapping[BlobKey, bytes]) -> None:
        """Look at the large values of an event. `contents` has those that were found of its `unseen_blobs`."""
        if event.stream_id in self.breaks or not event.blobs:
            return
        tenant = decode_envelope(event.meta).tenant
        for field, reference in event.blobs.items():
            key = BlobKey(tenant, reference.digest)
            if key not in self._blob_faults:
                content = contents.get(key)
                self._blob_faults[key] = fault_of(reference, content)
            if fault := self._blob_faults[key]:
                kind: Kind = "removed" if "not in the log" in fault else "altered"
                broken = Break(event.stream_id, event.version, event.position, kind, f"{field}: {fault}")
                self.broken_blobs.append(broken)

    def check_head(self, stream_id: StreamId, head: StreamHead) -> None:
        """Whether a stream, which was read at least so far, ends where `log.heads` says that it did."""
        reached = self._reached.pop(stream_id, _NOTHING)
        doubt = self._doubts.get(stream_id)
        if doubt is not None and doubt.hash and doubt.otherwise.version == head.version and doubt.hash != head.hash:
            self.breaks[stream_id] = doubt.otherwise
        if stream_id in self.breaks:
            return
        if reached.version < head.version:
            ends = f"it ends at version {reached.version}" if reached.version else "none of it is there"
            reason = f"{ends}, but version {head.version} was written: the end is missing"
            self._break(stream_id, reached.version + 1, reached.position, "removed", reason)
        elif reached.version > head.version:
            reason = f"it stands behind version {head.version}, where log.heads says that its stream ends"
            self._break(stream_id, head.version + 1, reached.position, "inserted", reason)
        elif reached.hash != head.hash:
            reason = "it is not the event that log.heads says its stream ends with"
            self._break(stream_id, reached.version, reached.position, "altered", reason)

    def end(self) -> None:
        """After the last head: streams that have none were not written by us, or their head was removed."""
        for stream_id, reached in self._reached.items():
            if stream_id not in self.breaks:
                reason = "log.heads knows nothing of its stream: it was put there past `log.append`"
                self._break(stream_id, reached.version, reached.position, "inserted", reason)
        self._reached.clear()

    def _break(self, stream_id: StreamId, version: int, position: int, kind: Kind, reason: str) -> None:
        self.breaks[stream_id] = Break(stream_id, version, position, kind, reason)

    def _misplaced(self, event: RawEvent, kind: Kind, reason: str) -> None:
        self.misplaced.append(Break(event.stream_id, event.version, event.position, kind, reason))

    def _note(self, event: RawEvent, before: _Reached) -> None:
        found, doubt = _fault(event, before)
        self.breaks[event.stream_id] = found
        if doubt is not None:
            self._doubts[event.stream_id] = doubt

    def _reconsider(self, event: RawEvent) -> None:
        """An event of a stream that is broken: does it make something else of the break?"""
        doubt = self._doubts.get(event.stream_id)
        if doubt is None:
            return
        if doubt.hash:
            del self._doubts[event.stream_id]
            if event.prev_hash != doubt.hash:
                self.breaks[event.stream_id] = doubt.otherwise
        elif doubt.version in (event.version, _written_as(event)):
            del self._doubts[event.stream_id]
            self.breaks[event.stream_id] = doubt.otherwise


def _holds(event: RawEvent, before: _Reached) -> bool:
    return (
        event.version == before.version + 1
        and event.prev_hash == before.hash
        and event.hash == chain(event.prev_hash, event.meta, event.data)
        and _differing(event) is None
    )


def _fault(event: RawEvent, before: _Reached) -> tuple[Break, _Doubt | None]:
    """What is wrong with an event that does not hold."""
    stream_id, version, position = event.stream_id, event.version, event.position

    def at(kind: Kind, reason: str) -> Break:
        return Break(stream_id, version, position, kind, reason)

    if version > before.version + 1:
        missing = before.version + 1
        moved = Break(stream_id, missing, position, "reordered", f"version {version} stands before it in the log")
        reason = f"version {version} comes after version {before.version}: it is missing"
        return Break(stream_id, missing, before.position or position, "removed", reason), _Doubt(moved, missing)
    if version <= before.version:
        return at("inserted", f"version {version} comes after version {before.version}: it stands there twice"), None
    written = _written_as(event)
    if written is not None and written > version:
        moved = at("reordered", f"it was written as version {written}: events were put in each other's place")
        gone = f"what stands there was written as version {written}: it was removed, and those behind it moved up"
        return at("removed", gone), _Doubt(moved, version)
    if written is not None and written < version:
        reason = f"what stands behind it was written as version {written}: something was put in before that"
        return Break(stream_id, written, before.position or position, "inserted", reason), None
    if event.hash != chain(event.prev_hash, event.meta, event.data):
        return at("altered", "its bytes are not those that were hashed when it was written"), None
    if event.prev_hash != before.hash:
        own = at("altered", f"it does not follow version {before.version}, the event before it")
        if not before.version:
            return own, None
        reason = f"it is not the event that version {version} was written after"
        return Break(stream_id, before.version, before.position, "altered", reason), _Doubt(own, hash=event.hash)
    return at("altered", _differing(event) or "it does not hold"), None


def _written_as(event: RawEvent) -> int | None:
    """The version that its envelope says, if that can be read."""
    try:
        return decode_envelope(event.meta).version
    except msgspec.DecodeError:
        return None


def _differing(event: RawEvent) -> str | None:
    """What a column says that the hashed bytes do not say."""
    try:
        envelope = decode_envelope(event.meta)
    except msgspec.DecodeError as error:
        return f"its envelope cannot be read: {error}"
    told = (envelope.stream_id, envelope.version, envelope.type)
    if told != (event.stream_id, event.version, event.type):
        return f"it stands in the log as {event.type} but was written as {envelope.type} of {envelope.stream_id}"
    return _differing_column(event, envelope) if isinstance(event, StoredRow) else None


def _differing_column(row: StoredRow, envelope: Envelope) -> str | None:
    if row.event_id != envelope.id:
        return f"its column event_id says {row.event_id}, and it was written as {envelope.id}"
    if row.tenant != envelope.tenant:
        return f"its column tenant says {row.tenant}, and it was written as one of {envelope.tenant}"
    if row.recorded_at != envelope.recorded_at:
        return f"its column recorded_at says {row.recorded_at}, and it was written at {envelope.recorded_at}"
    return None
