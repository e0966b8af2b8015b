"""Filling in what the log holds apart: large values (see `blobs.py`), what forks have taken over, and sealed values
(see `sealing.py`), which were sealed before anything was stored apart.

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
    Seal,
    WithBlobs,
    decode_data,
    decode_envelope,
    decode_event,
    encode_data,
    join,
    split,
)
from playhead_contracts.ids import ExecutionId, StreamId, TenantId, execution_stream
from playhead_eventlog import queries
from playhead_eventlog.blobs import put_back
from playhead_eventlog.reader import Reader
from playhead_eventlog.sealing import Keys, open_fields
from playhead_eventlog.stored import BlobKey, BrokenHashChain, may_be_sealed, may_refer, references_in
from playhead_eventlog.vault import Vault

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
    meta: bytes

    @property
    def seal(self) -> Seal | None:
        return decode_envelope(self.meta).seal if may_be_sealed(self.meta) else None

    @property
    def blobs(self) -> References:
        """The references of what is reused, if it is stored apart: of a container's start its inputs, else outputs."""
        wanted = "inputs" if _STARTED in self.data else "outputs"
        return {name: each for name, each in references_in(self.data).items() if name.partition(".")[0] == wanted}


async def hydrate(reader: Reader, events: list[Event], vault: Vault | None) -> list[Event]:
    """See `EventLog.hydrate`. Without the vault, what is sealed stays so."""
    reused = {event.data.reference for event in events if isinstance(event.data, _Reused)}
    large = [(event.envelope.tenant, blobs) for event in events if (blobs := _blobs(event))]
    sealed = {event.envelope.seal.key_id for event in events if event.envelope.seal is not None}
    if not reused and not large and not sealed:
        return events
    originals = await _originals(reader, reused)
    wanted = large + [(original.tenant, original.blobs) for original in originals.values()]
    contents = await reader.blobs({key for tenant, blobs in wanted for key in _keys(tenant, blobs)})
    sealed |= {original.seal.key_id for original in originals.values() if original.seal is not None}
    keys: Keys = {} if vault is None else await vault.keys(sealed)
    found = {reference: _decoded(original, contents, keys) for reference, original in originals.items()}
    return [_whole(event, found, contents, keys) for event in events]


async def whole(reader: Reader, frame: bytes, vault: Vault | None) -> bytes:
    """See `EventLog.whole`."""
    if not may_refer(frame) and (vault is None or not may_be_sealed(frame)):
        return frame
    meta, data = split(frame)
    references, envelope = references_in(data), decode_envelope(meta)
    if references:
        contents = await reader.blobs(_keys(envelope.tenant, references))
        owner = _owner(envelope.stream_id, envelope.version)
        data = put_back(data, references, contents, envelope.tenant, owner)
    if vault is not None and envelope.seal is not None:
        data = open_fields(data, envelope.seal, await vault.keys([envelope.seal.key_id]), envelope.tenant)
    return join(meta, data)


async def _originals(reader: Reader, references: set[BlockReference]) -> dict[BlockReference, _Original]:
    if not references:
        return {}
    ordered = list(references)
    streams = [execution_stream(reference.execution_id) for reference in ordered]
    rows = await reader.fetch(queries.READ_EVENTS, (streams, [reference.version for reference in ordered]))
    found: dict[BlockReference, _Original] = {}
    for stream_id, version, tenant, text, meta in rows:
        execution_id = ExecutionId(str(stream_id).removeprefix("execution:"))
        reference = BlockReference(execution_id=execution_id, version=int(version))
        found[reference] = _Original(StreamId(stream_id), int(version), TenantId(tenant), text.encode(), meta.encode())
    for reference in references - found.keys():
        if (original := await _archived(reader, reference)) is not None:
            found[reference] = original
    if missing := references - found.keys():
        raise BrokenHashChain(f"reused blocks refer to completions that are not in the log: {missing}")
    return found


async def _archived(reader: Reader, reference: BlockReference) -> _Original | None:
    """The event from the archive, if its execution was moved there."""
    stream = execution_stream(reference.execution_id)
    for raw in await reader.archived(stream, reference.version - 1, 1):
        return _Original(stream, raw.version, decode_envelope(raw.meta).tenant, raw.data, raw.meta)
    return None


def _decoded(original: _Original, contents: Contents, keys: Keys) -> EventData:
    owner = _owner(original.stream_id, original.version)
    data = put_back(original.data, original.blobs, contents, original.tenant, owner)
    if keys and original.seal is not None:
        data = open_fields(data, original.seal, keys, original.tenant)
    return decode_event(original.meta, data).data


def _whole(event: Event, originals: Mapping[BlockReference, EventData], contents: Contents, keys: Keys) -> Event:
    data, envelope, blobs = event.data, event.envelope, _blobs(event)
    is_to_open = bool(keys) and envelope.seal is not None
    if blobs or is_to_open:
        content = put_back(
            encode_data(data), blobs, contents, envelope.tenant, _owner(envelope.stream_id, event.version)
        )
        if is_to_open and envelope.seal is not None:
            content = open_fields(content, envelope.seal, keys, envelope.tenant)
        data = decode_data(content)
    if isinstance(data, _Reused):
        data = _filled(data, originals[data.reference])
    return event if data is event.data else replace(event, data=data)


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
