"""The log as lines: one JSON object each, as exports and archives keep it, from which every byte can be had again.

A line is an event as it is stored, byte for byte, with the members `position` and `hash` after all others; or a large
value that events of a tenant refer to by its digest. The line of a value says `"kind":"blob"`, stands before the first
event that refers to it, and ends with the member `content`, whose bytes are those that `digest` is the sha256 of and
`size_bytes` counts. In an export of a whole log, `"kind":"archived"` stands in the place of an event that is in the
archive, with its hash. What hash an event follows is not told: it is that of the event before it in its stream.
"""

import re
from typing import NamedTuple

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import split
from playhead_contracts.ids import StreamId, TenantId
from playhead_eventlog.stored import Blob, BlobKey, RawEvent

BLOB = "blob"

_END = re.compile(rb',"position":([0-9]+),"hash":"([0-9a-f]{64})"\}\n?\Z')
_END_BYTES = 120
"""More than what `event_line` adds."""


class BrokenLine(Corrupt):
    """A line of an export or an archive is none that was written."""


class EventLine(NamedTuple):
    """What the line of an event says. Its bytes are the stored ones."""

    position: int
    stream_id: StreamId
    version: int
    type: str
    data: bytes
    meta: bytes
    hash: bytes

    def raw(self, previous: bytes) -> RawEvent:
        """The stored event, which follows the hash `previous` in its stream."""
        return RawEvent(
            self.position, self.stream_id, self.version, self.type, self.data, self.meta, previous, self.hash
        )


class _BlobLine(msgspec.Struct):
    """Its fields in the order in which they are written."""

    kind: str
    tenant: TenantId
    digest: str
    size_bytes: int
    content: msgspec.Raw


class _Where(msgspec.Struct):
    stream_id: StreamId
    version: int
    type: str


_blob_decoder = msgspec.json.Decoder(_BlobLine)
_where_decoder = msgspec.json.Decoder(_Where)
_BLOB_BEGINS = b'{"kind":"blob",'


def event_line(event: RawEvent) -> bytes:
    """The line of an event, with the newline."""
    return event.frame()[:-1] + b',"position":%d,"hash":"%s"}\n' % (event.position, event.hash.hex().encode())


def blob_line(key: BlobKey, content: bytes) -> bytes:
    """The line of a large value, with the newline."""
    line = _BlobLine(BLOB, key.tenant, key.digest, len(content), msgspec.Raw(content))
    return msgspec.json.encode(line) + b"\n"


def archived_line(position: int, own: bytes) -> bytes:
    """The line that stands for an event of which the log has only the hash, with the newline."""
    return b'{"kind":"archived","position":%d,"hash":"%s"}\n' % (position, own.hex().encode())


def read_line(line: bytes) -> EventLine | Blob:
    """The inverse of both. That a digest or a hash is right is not looked at. Raises BrokenLine."""
    try:
        return _read_blob(line) if line.startswith(_BLOB_BEGINS) else _read_event(line)
    except msgspec.DecodeError as error:
        raise BrokenLine(f"a line is no event: {error}") from error


def _read_blob(line: bytes) -> Blob:
    blob = _blob_decoder.decode(line)
    return Blob(BlobKey(blob.tenant, blob.digest), bytes(blob.content))


def _read_event(line: bytes) -> EventLine:
    # Only at the end: what people wrote stands before it.
    end = _END.search(line, max(0, len(line) - _END_BYTES))
    if end is None:
        raise BrokenLine('a line does not end with "position" and "hash"')
    meta, data = split(line[: end.start()] + b"}")
    where = _where_decoder.decode(meta)
    own = bytes.fromhex(end[2].decode())
    return EventLine(int(end[1]), where.stream_id, where.version, where.type, data, meta, own)
