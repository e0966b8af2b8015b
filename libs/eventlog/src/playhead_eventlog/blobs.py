"""Large values: what of an event is stored beside it, and putting that back.

People and programs decide how large the inputs and outputs of a block are, and everybody who reads past an event would
pay for it. So of an event that is larger than `BLOB_BYTES`, each field of `FIELDS` that is so by itself is left out of
the event and stored in `log.blobs`, under the sha256 of its JSON. What is stored of the event has the member `blobs` in
its place: for each such field the digest and the size. All of this is done on bytes, the very ones that were encoded
once, so what is read back is what was written.

- The hash chain covers the digest, and the digest covers the content.
- A blob is stored in the transaction of the event that refers to it. It is never changed and never removed.
- The same value is stored once for a tenant, however often it is handed on.
"""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from playhead_contracts.events import (
    BlobReference,
    BlockCompleted,
    BlockDispatched,
    BlockFailed,
    BlockOverridden,
    BlockRetryScheduled,
    BlockStarted,
    BlockStepCompleted,
    ChildEnded,
    EventMatched,
    ExecutionCompleted,
    ExecutionCreated,
    IterationCompleted,
    TaskAnswered,
    WithBlobs,
)
from playhead_contracts.ids import TenantId
from playhead_eventlog.stored import Blob, BlobKey, BrokenBlob

BLOB_BYTES = 256 * 1024
"""A value is stored apart when its JSON is larger than this."""

FIELDS: Mapping[type[WithBlobs], tuple[str, ...]] = {
    ExecutionCreated: ("input", "variables", "plan"),
    ExecutionCompleted: ("output",),
    BlockStarted: ("inputs", "watch.captured"),
    BlockCompleted: ("outputs", "inputs", "variables"),
    BlockFailed: ("inputs", "error.details"),
    BlockRetryScheduled: ("inputs", "error.details"),
    BlockStepCompleted: ("outputs",),
    BlockOverridden: ("outputs",),
    BlockDispatched: ("inputs",),
    IterationCompleted: ("outputs", "error.details"),
    TaskAnswered: ("outputs", "error.details"),
    EventMatched: ("event.data",),
    ChildEnded: ("outputs", "error.details"),
}
"""What may be stored apart. All of these fields have a default; one with a dot is a field of a field."""

_Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(_Members)
_references = msgspec.json.Decoder(dict[str, BlobReference])
_encoder = msgspec.json.Encoder(order="sorted")


def set_apart(kind: type[WithBlobs], data: bytes, tenant: TenantId) -> tuple[bytes, list[Blob]]:
    """Encoded data without its large values, and these. Values of which none is too large stay, whatever their sum."""
    members = _members.decode(data)
    blobs: list[Blob] = []
    references = _references.decode(members["blobs"]) if "blobs" in members else {}
    for field in FIELDS.get(kind, ()):
        content = _taken(members, field)
        if content is not None:
            digest = digest_of(content)
            blobs.append(Blob(BlobKey(tenant, digest), content))
            references[field] = BlobReference(digest=digest, size_bytes=len(content))
    if not blobs:
        return data, []
    members["blobs"] = msgspec.Raw(_encoder.encode(references))
    return _encoder.encode(members), blobs


def put_back(
    data: bytes,
    references: Mapping[str, BlobReference],
    contents: Mapping[BlobKey, bytes],
    tenant: TenantId,
    owner: str,
) -> bytes:
    """Stored data with the values of `references` in their fields; `blobs` stays.

    Raises BrokenBlob, which names `owner`, when a content is missing or is not what its digest says.
    """
    if not references:
        return data
    members = _members.decode(data)
    for field, reference in references.items():
        content = contents.get(BlobKey(tenant, reference.digest))
        fault = fault_of(reference, content)
        if content is None or fault is not None:
            raise BrokenBlob(f"{field} of {owner}: {fault}")
        outer, _, inner = field.partition(".")
        if inner:
            nested = _members.decode(members[outer])
            nested[inner] = msgspec.Raw(content)
            content = _encoder.encode(nested)
        members[outer] = msgspec.Raw(content)
    return _encoder.encode(members)


def fault_of(reference: BlobReference, content: bytes | None) -> str | None:
    """What is wrong with the content that was found for a reference, if anything is."""
    if content is None:
        return f"its value, blob {reference.digest}, is not in the log"
    if digest_of(content) != reference.digest:
        return f"its value, blob {reference.digest}, is not what was written"
    return None


def digest_of(content: bytes) -> str:
    """The name of a blob."""
    return f"sha256:{sha256(content).hexdigest()}"


def _taken(members: _Members, field: str) -> bytes | None:
    """Take a field out of the members of an object if it is too large to stay there."""
    outer, _, inner = field.partition(".")
    value = members.get(outer)
    # What is inside of something small is small.
    if value is None or len(value_bytes := bytes(value)) <= BLOB_BYTES:
        return None
    if not inner:
        del members[outer]
        return value_bytes
    nested = _members.decode(value_bytes)
    content = _taken(nested, inner)
    if content is not None:
        members[outer] = msgspec.Raw(_encoder.encode(nested))
    return content
