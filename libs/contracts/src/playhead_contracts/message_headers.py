"""The headers of messages on the bus, as schemas.

Headers are made as text, for speed, so that these are written by hand; tests hold messages against them.
"""

from collections.abc import Mapping
from typing import Any

from playhead_contracts.requests import IDEMPOTENCY_HEADER, REPLY_TO_HEADER

Json = dict[str, Any]

_PLAIN: Json = {"type": "string"}


def _headers(required: tuple[str, ...], properties: Json) -> Json:
    return {"type": "object", **({"required": list(required)} if required else {}), "properties": properties}


def _says(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


_ATTRIBUTES: Json = {
    "ce-id": _says("Unique together with `ce-source`: what to deduplicate by."),
    "ce-source": _says("URI reference."),
    "ce-specversion": {"const": "1.0"},
    "ce-type": _PLAIN,
    "ce-time": _says("RFC 3339.", format="date-time"),
    "ce-datacontenttype": _says("JSON, whichever kind of it."),
    "ce-subject": _PLAIN,
    "ce-dataschema": _says("The `$id` of the JSON Schema of the data."),
    "ce-partitionkey": _says("The stream of the log: events of one are in order."),
    "ce-sequence": _says("The version in its stream, comparable as text.", pattern="^[0-9]{10}$"),
    "ce-correlationid": _PLAIN,
    "ce-causationid": _PLAIN,
    "ce-traceparent": _says("W3C Trace Context."),
}
_PLACE: Json = {
    "Nats-Msg-Id": _says("The id of the event in the log."),
    "playhead-position": _says("The place in the whole log: what a consumer keeps as its own.", pattern="^[0-9]+$"),
    "playhead-stream": _says("The stream of the log that it stands in."),
    "playhead-version": _says("The place in its stream.", pattern="^[0-9]+$"),
    "playhead-previous": _says("The position of the tenant's event before it, `0` for the first.", pattern="^[0-9]+$"),
    "playhead-blobs": _says("The digests of large values that are not here but in the log."),
    "playhead-dataref": _says("Stream and version of an event that is larger than the bus carries; it has no body."),
    "traceparent": _says("W3C Trace Context."),
}
_AUTHORS: Json = _ATTRIBUTES | {"ce-sequence": _PLAIN, "ce-partitionkey": _PLAIN, "ce-dataschema": _PLAIN}
"""What somebody else's event says; its further attributes are headers `ce-<name>`, too."""
_CALLING: Json = {
    REPLY_TO_HEADER: _says("Where answers go, if the body does not say."),
    "Nats-Msg-Id": _says("Makes a repeat within two minutes the same message."),
    "Authorization": _says("`Bearer` and a key, as over HTTP."),
    "X-API-Key": _says("A key, as over HTTP."),
    "traceparent": _says("W3C Trace Context."),
}
_OWN: Json = {"playhead-event": _says("The id of the event in the log, where `ce-id` is its author's.")}
_REQUIRED = ("ce-id", "ce-source", "ce-specversion", "ce-type")
_OURS = (*_REQUIRED, "ce-time", "ce-datacontenttype", "ce-partitionkey", "ce-sequence")
_PLACED = ("playhead-position", "playhead-stream", "playhead-version")

HEADERS: Mapping[str, Json] = {
    "EventHeaders": _headers((*_OURS, "ce-dataschema", "ce-subject", *_PLACED), _ATTRIBUTES | _PLACE),
    "PublishedHeaders": _headers((*_OURS, "playhead-event", *_PLACED), _ATTRIBUTES | _PLACE | _OWN),
    "ReceivedHeaders": _headers(
        (*_REQUIRED, "ce-datacontenttype", "playhead-event", *_PLACED), _AUTHORS | _PLACE | _OWN
    ),
    "CloudEventHeaders": _headers(_REQUIRED, _AUTHORS | _CALLING),
    "StructuredHeaders": _headers(
        ("Content-Type",),
        _CALLING | {"Content-Type": {"type": "string", "pattern": "^[aA]pplication/[cC]loud[eE]vents\\+json"}},
    ),
    "CommandHeaders": _headers(
        (), {IDEMPOTENCY_HEADER: _says("Makes a repeat the same command; goes before `id` in the body.")} | _CALLING
    ),
    "WorkerHeaders": _headers((), {"Nats-Msg-Id": _says("An id of the worker's own.")}),
    "DeadLetterHeaders": _headers(
        ("playhead-error",),
        {
            "playhead-error": _says("Why it was given up."),
            "playhead-subject": _says("Where it had been sent."),
            "playhead-problem": _says("The problem document that its sender was told, as JSON."),
            "playhead-caller": _says("Whose key came with it; the key is not kept."),
        },
    ),
}
"""By the name under which the AsyncAPI document has them."""
