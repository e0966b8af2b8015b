"""The log as its own lines (see `playhead_eventlog.lines`): what is stored, byte for byte, and nothing else."""

from collections.abc import AsyncGenerator, Iterable
from typing import BinaryIO

from playhead_cli.exports.reading import Part
from playhead_contracts.events import BlobReference, decode_envelope
from playhead_eventlog import BlobKey, BrokenBlob, EventLog, RawEvent, fault_of
from playhead_eventlog.checkpoints import Place
from playhead_eventlog.lines import archived_line, blob_line, event_line


async def write(part: Part, file: BinaryIO) -> int:
    """Write the events; gives how many. Raises BrokenBlob when a value is not what was written, or not there."""
    count = 0
    lines, archived = Lines(part.log), _Archived(part)
    async for events in part.pages():
        begun = 0
        for end, event in enumerate(events):
            # Almost never inside of a page: what is archived is old, and stands before.
            if await archived.has_before(event.position):
                async for line in lines.of(events[begun:end]):
                    file.write(line)
                begun = end
                async for line in archived.before(event.position):
                    file.write(line)
        async for line in lines.of(events[begun:]):
            file.write(line)
        count += len(events)
    async for line in archived.before(part.until + 1):
        file.write(line)
    return count


class _Archived:
    """What stands in the places of events that are in the archive, if all of the log is exported: their hashes, without
    which nobody could tell from the file that it is of the log that was signed.
    """

    def __init__(self, part: Part):
        self._places = part.log.auditing.archived_places(part.until if part.selection.is_everything else 0)
        self._next: Place | None = None
        self._is_begun = False

    async def has_before(self, position: int) -> bool:
        """Whether there are any before a position that were not asked for yet."""
        if not self._is_begun:
            self._is_begun = True
            self._next = await anext(self._places, None)
        return self._next is not None and self._next.position < position

    async def before(self, position: int) -> AsyncGenerator[bytes]:
        """The lines of these."""
        while await self.has_before(position) and self._next is not None:
            yield archived_line(self._next.position, self._next.hash)
            self._next = await anext(self._places, None)


class Lines:
    """The lines of one export. A large value is in it once."""

    def __init__(self, log: EventLog):
        self._log = log
        self._written: set[BlobKey] = set()

    async def of(self, events: Iterable[RawEvent]) -> AsyncGenerator[bytes]:
        """The lines of the next events. Raises BrokenBlob."""
        for event in events:
            for field, reference in event.blobs.items():
                key = BlobKey(decode_envelope(event.meta).tenant, reference.digest)
                if key not in self._written:
                    self._written.add(key)
                    yield await self._blob(key, reference, f"{field} of {event.stream_id} version {event.version}")
            yield event_line(event)

    async def _blob(self, key: BlobKey, reference: BlobReference, owner: str) -> bytes:
        content = (await self._log.blobs([key])).get(key)
        fault = fault_of(reference, content)
        if content is None or fault is not None:
            raise BrokenBlob(f"{owner}: {fault}")
        return blob_line(key, content)
