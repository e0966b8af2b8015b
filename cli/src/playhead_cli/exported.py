"""What an export holds: one JSON object a line, in the order of the log.

A line is an event as it is stored, byte for byte, or a large value that events of a tenant refer to by its digest.
The line of a value says `"kind":"blob"`, stands before the first event that refers to it, and ends with the member
`content`, whose bytes are those that `digest` is the sha256 of and `size_bytes` counts.
"""

from collections.abc import AsyncGenerator, Iterable

import msgspec

from playhead_contracts.events import BlobReference, decode_envelope
from playhead_eventlog import BlobKey, BrokenBlob, EventLog, RawEvent, fault_of


class _BlobLine(msgspec.Struct):
    """Its fields in the order in which they are written."""

    kind: str
    tenant: str
    digest: str
    size_bytes: int
    content: msgspec.Raw


class Export:
    """The lines of one export. A blob is in it once."""

    def __init__(self, log: EventLog):
        self._log = log
        self._written: set[BlobKey] = set()

    async def lines(self, events: Iterable[RawEvent]) -> AsyncGenerator[bytes]:
        """The lines of the next events. Raises BrokenBlob when a value is not what was written, or not there."""
        for event in events:
            for field, reference in event.blobs.items():
                key = BlobKey(decode_envelope(event.meta).tenant, reference.digest)
                if key not in self._written:
                    self._written.add(key)
                    yield await self._blob(key, reference, f"{field} of {event.stream_id} version {event.version}")
            yield event.frame() + b"\n"

    async def _blob(self, key: BlobKey, reference: BlobReference, owner: str) -> bytes:
        content = (await self._log.blobs([key])).get(key)
        fault = fault_of(reference, content)
        if content is None or fault is not None:
            raise BrokenBlob(f"{owner}: {fault}")
        line = _BlobLine("blob", key.tenant, key.digest, len(content), msgspec.Raw(content))
        return msgspec.json.encode(line) + b"\n"
