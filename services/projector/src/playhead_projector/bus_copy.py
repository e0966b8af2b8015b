"""An event of the log as a message on the bus, and many of them as one atomic batch.

A message is a CloudEvent 1.0 in the binary mode of the NATS binding: attributes are headers `ce-*` with percent-encoded
values, the body is the stored bytes of the event's data. `ce-dataschema` names the JSON Schema of that very form, so
that a reader can tell versions apart. Values that the log stores apart are not in there: the header `playhead-blobs`
has their digests. The trace is in `traceparent`, where programs that know W3C Trace Context look, and in
`ce-traceparent`, where those look that know the extension of CloudEvents for it.

An event that a `publish` block made, or that came from outside, is somebody's own CloudEvent. It goes out as that: id,
type, subject and body are its own. Of one from outside every attribute is its author's and none is ours, as whoever
passes a CloudEvent on has to leave it: a consumer that sends it back to us sends the same event. `playhead-event` says
which event of the log it is, and where it stands are `playhead-position`, `playhead-stream` and `playhead-version`.

A batch is what JetStream calls an atomic publish (ADR-50): all of its messages are stored or none, and its first names
the sequence that the stream must be at.

Headers and frames are put together here as text, because the client library spends more on a message's headers than
all the rest of the relay does on the message (see `bench relay`).
"""

import re
from collections.abc import Sequence

import msgspec
from msgspec import structs

from playhead_contracts import subjects
from playhead_contracts.events import EventPublished, EventReceived
from playhead_contracts.ids import CONTRACT_BASE, EVENT_TYPE_PATTERN, TenantId, WorkflowId, event_schema
from playhead_eventlog import RawEvent

TYPE_PREFIX = "dev.playhead."
POSITION_HEADER = "playhead-position"
PREVIOUS_HEADER = "playhead-previous"
"""The position of the tenant's event before this one, 0 if it is the first: who has not had it has missed something.
Positions themselves prove nothing, for they have holes, and those between belong to other tenants."""
EVENT_HEADER = "playhead-event"
"""The id of the event in our log, where `ce-id` is somebody's own."""
ID_HEADER = "ce-id"
DATAREF_HEADER = "playhead-dataref"
BLOBS_HEADER = "playhead-blobs"

MAX_ATTRIBUTES_BYTES = 16 * 1024
"""What somebody's own attributes may take as headers; JetStream stores 64 KiB of headers with a message."""
MAX_TYPE_LENGTH = 200

_VERSION_DIGITS = 10
"""`sequence` compares as text; a version is a 32-bit number."""

_NOT_PLAIN = re.compile(r"[^\x21\x23\x24\x26-\x7e]")
_TYPE = re.compile(EVENT_TYPE_PATTERN)
_EXTENSION = re.compile(r"[a-z0-9]{1,64}")
_CORE = frozenset(("id", "source", "specversion", "type", "subject", "time", "data"))
"""Names that no further attribute of somebody's own event may have."""


class BusMessage(msgspec.Struct, frozen=True, gc=False):
    """One event, ready to be framed. `headers` are lines of text, without those of a batch."""

    position: int
    event_id: str
    subject: str
    headers: str
    body: bytes
    tenant: TenantId

    def after(self, previous: int) -> "BusMessage":
        """With the position of the tenant's event before it."""
        return structs.replace(self, headers=f"{self.headers}{PREVIOUS_HEADER}: {previous}\r\n")


class _Meta(msgspec.Struct, frozen=True, gc=False):
    """What the headers need of an event's envelope; moments stay the text that is stored."""

    id: str
    tenant: TenantId
    recorded_at: str
    schema_version: int = 1
    workflow_id: WorkflowId | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class _OwnEvent(msgspec.Struct, frozen=True, gc=False):
    """The CloudEvent in the data of `event.published` or `event.received`."""

    event_id: str
    event_type: str
    content: msgspec.Raw = msgspec.Raw(b"null")
    source: str | None = None
    subject: str | None = None
    time: str | None = None
    attributes: dict[str, str | int | bool] = {}


_meta_decoder = msgspec.json.Decoder(_Meta)
_own_event_decoder = msgspec.json.Decoder(_OwnEvent)


def bus_message(raw: RawEvent, max_payload: int) -> BusMessage:
    """The copy of an event. One that is larger than the bus carries goes without its body: see `playhead-dataref`.

    Raises msgspec.DecodeError when the stored envelope cannot be read.
    """
    meta = _meta_decoder.decode(raw.meta)
    stream_id = _encoded(raw.stream_id)
    workflow_id = meta.workflow_id or _in_place_of_workflow(raw.stream_id)
    told = _own_event(raw, meta, workflow_id, stream_id)
    if told is None:
        subject, body = subjects.event(meta.tenant, workflow_id, raw.type), raw.data
        attributes = (
            f"{ID_HEADER}: {_encoded(meta.id)}\r\n"
            f"ce-source: {_source(meta.tenant, stream_id)}\r\n"
            "ce-specversion: 1.0\r\n"
            f"ce-type: {TYPE_PREFIX}{raw.type}\r\n"
            f"ce-time: {meta.recorded_at}\r\n"
            "ce-datacontenttype: application/json\r\n"
            f"ce-dataschema: {CONTRACT_BASE}{event_schema(raw.type, meta.schema_version)}\r\n"
            f"ce-subject: {stream_id}\r\n"
        )
        if blobs := raw.blobs:
            attributes += f"{BLOBS_HEADER}: {', '.join(reference.digest for reference in blobs.values())}\r\n"
        attributes += _extensions(raw, meta, stream_id)
    else:
        subject, attributes, body = told
        if raw.type == _PUBLISHED:
            attributes += _extensions(raw, meta, stream_id)
    headers = (
        f"{attributes}"
        f"{POSITION_HEADER}: {raw.position}\r\n"
        f"playhead-stream: {stream_id}\r\n"
        f"playhead-version: {raw.version}\r\n"
    )
    if meta.traceparent:
        headers += f"traceparent: {_encoded(meta.traceparent)}\r\n"
    if len(headers) + _BATCH_HEADERS_SIZE + len(body) > max_payload:
        headers += f"{DATAREF_HEADER}: {stream_id}@{raw.version}\r\n"
        body = b""
    return BusMessage(raw.position, meta.id, subject, headers, body, meta.tenant)


def _extensions(raw: RawEvent, meta: _Meta, stream_id: str) -> str:
    """The attributes that CloudEvents calls extensions, as header lines."""
    lines = f"ce-partitionkey: {stream_id}\r\nce-sequence: {raw.version:0{_VERSION_DIGITS}}\r\n"
    if meta.correlation_id:
        lines += f"ce-correlationid: {_encoded(meta.correlation_id)}\r\n"
    if meta.causation_id:
        lines += f"ce-causationid: {_encoded(meta.causation_id)}\r\n"
    if meta.traceparent:
        lines += f"ce-traceparent: {_encoded(meta.traceparent)}\r\n"
    return lines


def _own_event(raw: RawEvent, meta: _Meta, workflow_id: WorkflowId, stream_id: str) -> tuple[str, str, bytes] | None:
    """Subject, attributes and body of somebody's own CloudEvent.

    None for every other event, and for one that the bus cannot carry as what it is: that must not hold up the rest, and
    goes out like any event of the log.
    """
    if raw.type not in _OWN_EVENTS:
        return None
    event = _own_event_decoder.decode(raw.data)
    if len(event.event_type) > MAX_TYPE_LENGTH or not _TYPE.fullmatch(event.event_type):
        return None
    if raw.type == _PUBLISHED:
        subject = subjects.published(meta.tenant, workflow_id, event.event_type)
    else:
        subject = subjects.received(meta.tenant, event.event_type)
    source = _source(meta.tenant, stream_id) if event.source is None else _encoded(event.source)
    others = {"datacontenttype": "application/json"} | event.attributes
    if not all(_EXTENSION.fullmatch(name) and name not in _CORE for name in others):
        return None
    attributes = (
        f"{ID_HEADER}: {_encoded(event.event_id)}\r\n"
        f"ce-source: {source}\r\n"
        "ce-specversion: 1.0\r\n"
        f"ce-type: {event.event_type}\r\n"
        f"{EVENT_HEADER}: {_encoded(meta.id)}\r\n"
    )
    for name, value in others.items():
        # Numbers and booleans have the text that they have in JSON (CloudEvents 1.0.2, section 3.1).
        text = msgspec.json.encode(value).decode() if isinstance(value, bool | int) else value
        attributes += f"ce-{name}: {_encoded(text)}\r\n"
    if time := event.time or (meta.recorded_at if raw.type == _PUBLISHED else None):
        attributes += f"ce-time: {time}\r\n"
    if event.subject is not None:
        attributes += f"ce-subject: {_encoded(event.subject)}\r\n"
    return (subject, attributes, bytes(event.content)) if len(attributes) <= MAX_ATTRIBUTES_BYTES else None


_PUBLISHED = EventPublished.type_name()
_OWN_EVENTS = frozenset({_PUBLISHED, EventReceived.type_name()})

_BATCH_HEADERS_SIZE = 800
"""More than the headers that `atomic_batch` adds to a message, and a `playhead-dataref`."""


def atomic_batch(
    messages: Sequence[BusMessage], batch_id: str, expected: str, reply: str, with_ids: bool = True
) -> bytes:
    """The frames of one batch; the answer to all of it comes to `reply`. `expected` are header lines for the first
    message, which say where the stream must end.

    `with_ids`: with each event's id as `Nats-Msg-Id`. A batch with one id that is in the stream's duplicate window is
    refused as a whole.
    """
    parts: list[bytes] = []
    count = len(messages)
    for number, message in enumerate(messages, 1):
        headers = f"NATS/1.0\r\nNats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
        if with_ids:
            headers += f"Nats-Msg-Id: {message.event_id}\r\n"
        if number == 1:
            headers += expected
        if number == count:
            headers += "Nats-Batch-Commit: 1\r\n"
        # ASCII by construction, so that its length is its size.
        headers = f"{headers}{message.headers}\r\n"
        to = f"{message.subject} {reply}" if number == count else message.subject
        size = len(headers)
        parts.append(f"HPUB {to} {size} {size + len(message.body)}\r\n{headers}".encode("ascii"))
        parts.append(message.body)
        parts.append(b"\r\n")
    return b"".join(parts)


def _in_place_of_workflow(stream_id: str) -> WorkflowId:
    """The token of the subject for an event that belongs to no workflow: the last part of the stream's name."""
    kind, _, name = stream_id.rpartition(":")
    # `operations:<tenant>`: the tenant is in the subject already.
    return WorkflowId(kind if kind == "operations" else name)


def _source(tenant: TenantId, stream_id: str) -> str:
    return f"/playhead/{_encoded(tenant)}/{stream_id}"


def _encoded(value: str) -> str:
    """A header's value as the binding wants it: percent-encoded but for what is visible ASCII, less `"` and `%`."""
    if _NOT_PLAIN.search(value) is None:
        return value
    return _NOT_PLAIN.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), value)
