"""What is stored: events as bytes, the heads of streams, the hash chain, and what can be wrong with them."""

from hashlib import sha256

import msgspec

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_contracts.events import Event, decode_data, decode_envelope, join
from playhead_contracts.ids import StreamId


class LogUnavailable(Unavailable):
    """PostgreSQL does not answer. What was asked may or may not have happened; ask again with the same event ids."""


class EventIdReused(Corrupt):
    """An event id that is already in the log, in another place. Ids are made once and never by hand."""


class BrokenHashChain(Corrupt):
    """A stored event is not what was written, or one is missing."""


class StreamHead(msgspec.Struct, frozen=True):
    """Where a stream ends: the version and the hash of its newest event."""

    version: int
    hash: bytes


GENESIS = StreamHead(0, sha256(b"playhead event log").digest())
"""The head of every stream that has no event yet."""


class RawEvent(msgspec.Struct, frozen=True):
    """An event as it is stored, byte for byte."""

    position: int
    stream_id: StreamId
    version: int
    type: str
    data: bytes
    meta: bytes
    prev_hash: bytes
    hash: bytes

    def frame(self) -> bytes:
        """The event as one JSON object, without re-encoding."""
        return join(self.meta, self.data)

    def decode(self) -> Event:
        return Event(envelope=decode_envelope(self.meta), data=decode_data(self.data), position=self.position)


def chain(previous: bytes, meta: bytes, data: bytes) -> bytes:
    """The hash of an event: sha256 over the previous hash and the stored bytes."""
    return sha256(previous + meta + data).digest()
