"""Filling in what the log holds apart: large values (see `blobs.py`), and what forks have taken over.

What is reused (a block, an iteration, the beginning of a container) is in the event that it refers to, which may itself
refer to a large value. However many events there are, it takes one query for those events and one for the values.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from playhead_contracts.events import (
    BlobReference,
    BlockCompleted,
    BlockOverridden,
    BlockReference,
    BlockReused,
    BlockStarted,
    ContainerReused,
    Event,
    EventData,
    IterationCompleted,
    IterationReused,
    WithBlobs,
    decode_data,
    decode_envelope,
    encode_data,
    join,
    split,
)
from playhead_contracts.ids import ExecutionId, StreamId, TenantId, execution_stream
from playhead_eventlog import queries
from playhead_eventlog.blobs import put_back
from playhead_eventlog.reader import Reader
from playhead_eventlog.stored import BlobKey, BrokenHashChain, may_refer, references_in

_STARTED = b'"type":"block.started"'

References = Mapping[str, BlobReference]
Contents = Mapping[BlobKey, bytes]


_Reused = BlockReused | IterationReused | ContainerReused


class _Original(NamedTuple):
    """The event that holds what is reused."""

    stream_id: StreamId
    version: int
    tenant: TenantId
    data: bytes

    @property
    def blobs(self) -> References:
        """The references of what is reused, if it is stored apart: of a container's start its inputs, else outputs."""
        wanted = "inputs" if _STARTED in self.data else "outputs"
        return {name: each for name, each in references_in(self.data).items() if name.partition(".")[0] == wanted}


async def hydrate(reader: Reader, events: list[Event]) -> list[Event]:
    """See `EventLog.hydrate`."""
    reused = {event.data.reference for event in events if isinstance(event.data, _Reused)}
    large = [(event.envelope.tenant, blobs) for event in events if (blobs := _blobs(event))]
    if not reused and not large:
        return events
    originals = await _originals(reader, reused)
    wanted = large + [(original.tenant, original.blobs) for original in originals.values()]
    contents = await reader.blobs({key for tenant, blobs in wanted for key in _keys(tenant, blobs)})
    found = {reference: _decoded(original, contents) for reference, original in originals.items()}
    return [_whole(event, found, contents) for event in events]


async def whole(reader: Reader, frame: bytes) -> bytes:
    """See `EventLog.whole`."""
    if not may_refer(frame):
        return frame
    meta, data = split(frame)
    references = references_in(data)
    if not references:
        return frame
    envelope = decode_envelope(meta)
    contents = await reader.blobs(_keys(envelope.tenant, references))
    owner = _owner(envelope.stream_id, envelope.version)
    return join(meta, put_back(data, references, contents, envelope.tenant, owner))


async def _originals(reader: Reader, references: set[BlockReference]) -> dict[BlockReference, _Original]:
    if not references:
        return {}
    ordered = list(references)
    streams = [execution_stream(reference.execution_id) for reference in ordered]
    rows = await reader.fetch(queries.READ_EVENTS, (streams, [reference.version for reference in ordered]))
    found: dict[BlockReference, _Original] = {}
    for stream_id, version, tenant, text in rows:
        execution_id = ExecutionId(str(stream_id).removeprefix("execution:"))
        reference = BlockReference(execution_id=execution_id, version=int(version))
        found[reference] = _Original(StreamId(stream_id), int(version), TenantId(tenant), text.encode())
    if missing := references - found.keys():
        raise BrokenHashChain(f"reused blocks refer to completions that are not in the log: {missing}")
    return found


def _decoded(original: _Original, contents: Contents) -> EventData:
    owner = _owner(original.stream_id, original.version)
    return decode_data(put_back(original.data, original.blobs, contents, original.tenant, owner))


def _whole(event: Event, originals: Mapping[BlockReference, EventData], contents: Contents) -> Event:
    data, envelope = event.data, event.envelope
    if isinstance(data, _Reused):
        return replace(event, data=_filled(data, originals[data.reference]))
    if blobs := _blobs(event):
        owner = _owner(envelope.stream_id, envelope.version)
        return replace(event, data=decode_data(put_back(encode_data(data), blobs, contents, envelope.tenant, owner)))
    return event


def _filled(data: _Reused, original: EventData) -> _Reused:
    match data, original:
        case BlockReused(), BlockCompleted() | BlockOverridden():
            return replace(data, outputs=original.outputs)
        case IterationReused(), IterationCompleted():
            return replace(data, outputs=original.outputs, error=original.error)
        case ContainerReused(), BlockStarted():
            return replace(data, container=original.container, inputs=original.inputs)
        case _:
            what = f"{data.reference.execution_id} version {data.reference.version}"
            raise BrokenHashChain(f"{data.type_name()} refers to {what}, which is a {original.type_name()}")


def _blobs(event: Event) -> References:
    return event.data.blobs if isinstance(event.data, WithBlobs) else {}


def _keys(tenant: TenantId, blobs: References) -> set[BlobKey]:
    return {BlobKey(tenant, reference.digest) for reference in blobs.values()}


def _owner(stream_id: StreamId, version: int) -> str:
    return f"{stream_id} version {version}"
