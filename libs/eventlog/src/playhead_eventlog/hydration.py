"""Filling in what the log holds apart: large values (see `blobs.py`), and the outputs of reused blocks.

The outputs of a reused block are those of the completion that it refers to, which may itself refer to a large value.
However many events there are, it takes one query for the completions and one for the values.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from playhead_contracts.events import (
    BlobReference,
    BlockCompleted,
    BlockReference,
    BlockReused,
    Event,
    Json,
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

References = Mapping[str, BlobReference]
Contents = Mapping[BlobKey, bytes]


class _Original(NamedTuple):
    """The event that holds the outputs of a reused block."""

    stream_id: StreamId
    version: int
    tenant: TenantId
    data: bytes

    @property
    def blobs(self) -> References:
        """The reference of the outputs, if they are stored apart."""
        return {field: reference for field, reference in references_in(self.data).items() if field == "outputs"}


async def hydrate(reader: Reader, events: list[Event]) -> list[Event]:
    """See `EventLog.hydrate`."""
    reused = {event.data.reference for event in events if isinstance(event.data, BlockReused)}
    large = [(event.envelope.tenant, blobs) for event in events if (blobs := _blobs(event))]
    if not reused and not large:
        return events
    originals = await _originals(reader, reused)
    wanted = large + [(original.tenant, original.blobs) for original in originals.values()]
    contents = await reader.blobs({key for tenant, blobs in wanted for key in _keys(tenant, blobs)})
    outputs = {reference: _outputs(original, contents) for reference, original in originals.items()}
    return [_whole(event, outputs, contents) for event in events]


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


def _outputs(original: _Original, contents: Contents) -> Json:
    owner = _owner(original.stream_id, original.version)
    data = decode_data(put_back(original.data, original.blobs, contents, original.tenant, owner))
    if not isinstance(data, BlockCompleted):
        raise BrokenHashChain(f"a reused block refers to {owner}, which is not a completion but a {data.type_name()}")
    return data.outputs


def _whole(event: Event, outputs: Mapping[BlockReference, Json], contents: Contents) -> Event:
    data, envelope = event.data, event.envelope
    if isinstance(data, BlockReused):
        return replace(event, data=replace(data, outputs=outputs[data.reference]))
    if blobs := _blobs(event):
        owner = _owner(envelope.stream_id, envelope.version)
        return replace(event, data=decode_data(put_back(encode_data(data), blobs, contents, envelope.tenant, owner)))
    return event


def _blobs(event: Event) -> References:
    return event.data.blobs if isinstance(event.data, WithBlobs) else {}


def _keys(tenant: TenantId, blobs: References) -> set[BlobKey]:
    return {BlobKey(tenant, reference.digest) for reference in blobs.values()}


def _owner(stream_id: StreamId, version: int) -> str:
    return f"{stream_id} version {version}"
