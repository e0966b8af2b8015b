"""What is stored: events as bytes, the heads of streams, the hash chain, and what can be wrong with them."""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import msgspec

from playhead_contracts.errors import Conflict, Corrupt, Unavailable
from playhead_contracts.events import BlobReference, Event, decode_event, join
from playhead_contracts.ids import StreamId, TenantId


class LogUnavailable(Unavailable):
    """PostgreSQL does not answer. What was asked may or may not have happened; ask again with the same event ids."""


class EventIdReused(Corrupt):
    """An event id that is already in the log, in another place. Ids are made once and never by hand."""


class StreamArchived(Conflict):
    """The stream was moved to the archive: it can be read, and forked, and is as it is for ever."""

    def __init__(self, stream_id: StreamId):
        super().__init__(f"{stream_id} is in the archive; nothing can be added to it")


class BrokenHashChain(Corrupt):
    """A stored event is not what was written, or one is missing."""


class BrokenBlob(Corrupt):
    """A large value that an event refers to is not what was written, or is missing."""


class BlobKey(NamedTuple):
    """What a blob is found by."""

    tenant: TenantId
    digest: str


class Blob(msgspec.Struct, frozen=True):
    """A large value, as JSON, that events of its tenant refer to (see `blobs.py`)."""

    key: BlobKey
    content: bytes


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

    @property
    def blobs(self) -> Mapping[str, BlobReference]:
        """The references of the values that are stored apart, by field."""
        return references_in(self.data)

    @property
    def size_bytes(self) -> int:
        """How much there is to read of it, with what is stored apart."""
        return len(self.data) + sum(reference.size_bytes for reference in self.blobs.values())

    def decode(self) -> Event:
        """The event as it is stored: what is stored apart is not filled in (see `EventLog.hydrate`)."""
        return decode_event(self.meta, self.data, self.position)


def chain(previous: bytes, meta: bytes, data: bytes) -> bytes:
    """The hash of an event: sha256 over the previous hash and the stored bytes."""
    return sha256(previous + meta + data).digest()


class _Referring(msgspec.Struct):
    blobs: dict[str, BlobReference] = {}


_referring = msgspec.json.Decoder(_Referring)


def may_refer(stored: bytes) -> bool:
    """Whether a stored event, or its data, may refer to values stored apart. Almost never, and cheap to ask."""
    return b'"blobs":{' in stored


def may_be_sealed(stored: bytes) -> bool:
    """Whether a stored event, or its envelope, may have sealed fields. As cheap to ask."""
    return b'"seal":{' in stored


def references_in(data: bytes) -> Mapping[str, BlobReference]:
    """The references of the values that are stored apart from an event's data, by field."""
    return _referring.decode(data).blobs if may_refer(data) else {}
