"""Checking hash chains and large values: whether what is stored is what was written. Pure; bytes in, faults out."""

from collections.abc import Iterable, Mapping

import msgspec

from playhead_contracts.events import decode_envelope
from playhead_contracts.ids import StreamId
from playhead_eventlog import GENESIS, BlobKey, RawEvent, StreamHead, chain, fault_of


class Break(msgspec.Struct, frozen=True):
    """Where the log is not what was written."""

    stream_id: StreamId
    version: int
    position: int
    reason: str


class Chains:
    """The chains of any number of streams, checked event by event, in the order of the log or of one stream."""

    def __init__(self) -> None:
        self.events = 0
        self.breaks: dict[StreamId, Break] = {}
        """Where chains do not hold. What follows in the same stream proves nothing and is not looked at."""
        self.broken_blobs: list[Break] = []
        """The events whose large values are not there, or are others. Their chains may hold all the same."""
        self._blob_faults: dict[BlobKey, str | None] = {}
        self._heads: dict[StreamId, StreamHead] = {}

    @property
    def streams(self) -> int:
        return len(self._heads)

    @property
    def blobs(self) -> int:
        """How many large values were looked at, each once."""
        return len(self._blob_faults)

    @property
    def faults(self) -> list[Break]:
        return [*self.breaks.values(), *self.broken_blobs]

    def check(self, events: Iterable[RawEvent]) -> None:
        """Look at the next events."""
        for event in events:
            self.events += 1
            head = self._heads.get(event.stream_id, GENESIS)
            self._heads[event.stream_id] = StreamHead(event.version, event.hash)
            if event.stream_id in self.breaks:
                continue
            reason = _fault(event, head)
            if reason is not None:
                self.breaks[event.stream_id] = Break(event.stream_id, event.version, event.position, reason)

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
                self._blob_faults[key] = fault_of(reference, contents.get(key))
            if fault := self._blob_faults[key]:
                broken = Break(event.stream_id, event.version, event.position, f"{field}: {fault}")
                self.broken_blobs.append(broken)

    def end(self, heads: Mapping[StreamId, StreamHead]) -> None:
        """After the last event: whether every stream reaches the head it had before the first one was read."""
        for stream_id, head in heads.items():
            reached = self._heads.get(stream_id, GENESIS)
            if stream_id not in self.breaks and reached.version < head.version:
                reason = (
                    f"it ends at version {reached.version}, but version {head.version} was written: the end is missing"
                )
                self.breaks[stream_id] = Break(stream_id, reached.version + 1, 0, reason)


def _fault(event: RawEvent, head: StreamHead) -> str | None:
    if event.version != head.version + 1:
        return f"version {event.version} follows version {head.version}: an event is missing"
    if event.prev_hash != head.hash:
        return "it does not name the hash of the event before it"
    if event.hash != chain(event.prev_hash, event.meta, event.data):
        return "its bytes are not those that were hashed when it was written"
    # The columns beside the bytes are not hashed, and must say what the bytes say.
    try:
        envelope = decode_envelope(event.meta)
    except msgspec.DecodeError as error:
        return f"its envelope cannot be read: {error}"
    told = (envelope.stream_id, envelope.version, envelope.type)
    if told != (event.stream_id, event.version, event.type):
        return f"it stands in the log as {event.type} but was written as {envelope.type} of {envelope.stream_id}"
    return None
