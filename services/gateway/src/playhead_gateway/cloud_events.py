"""Reading CloudEvents 1.0 that somebody sent, over HTTP or NATS: structured as JSON, or binary with JSON as their data.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md

The two bindings differ in one place: what the data of a binary event is, is the header `Content-Type` in HTTP and
`ce-datacontenttype` in NATS, where `Content-Type` does nothing but tell that an event is structured.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeGuard, cast
from urllib.parse import unquote

import msgspec
from msgspec import structs

from playhead_contracts.errors import Fault
from playhead_contracts.events import EventReceived, Json
from playhead_contracts.ids import EVENT_TYPE_PATTERN
from playhead_contracts.pointers import pointer
from playhead_engine.watching import OWN_PREFIX, OWN_TYPES
from playhead_gateway.bodies import media_type
from playhead_gateway.problems import BadRequest, InvalidRequest, UnsupportedMediaType

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
HEADER = "ce-"
MAX_BATCH = 1000
"""How many events may come in one batch."""
MAX_TYPE_LENGTH = 200
MAX_TEXT_LENGTH = 1024
MAX_OTHERS = 50
"""How many attributes an event may have besides those that CloudEvents itself knows."""

PLAIN_JSON = ("application/json", "text/json")
"""Kinds of data that say nothing but that it is JSON."""

_TYPE = re.compile(EVENT_TYPE_PATTERN)
_NAME = re.compile(r"[a-z0-9]{1,64}")
_REQUIRED = ("specversion", "id", "source", "type")
_KNOWN = frozenset((*_REQUIRED, "subject", "time", "datacontenttype"))
_decode = msgspec.json.Decoder()
_decode_time = msgspec.json.Decoder(datetime)


def read_cloud_event(headers: Iterable[tuple[str, str]], body: bytes) -> EventReceived:
    """The event in a message: its headers, with names in any case and values as they were sent, and its bytes.

    For a request and for a message of NATS alike. Data needs a header that says that it is JSON.

    Raises BadRequest for what is no JSON, UnsupportedMediaType for data that is not, and InvalidRequest with every
    attribute that is at fault.
    """
    fields = {name.lower(): value for name, value in headers}
    content_type = fields.get("content-type")
    if media_type(content_type) == STRUCTURED:
        attributes, content = _structured(_json(body))
    elif media_type(content_type).startswith("application/cloudevents"):
        raise UnsupportedMediaType(f"send one event, as {STRUCTURED} or with its attributes in ce- headers")
    else:
        attributes, content = _binary(fields, body, content_type or fields.get(f"{HEADER}datacontenttype"))
    return _event(attributes, content)


def is_batch(content_type: str | None) -> bool:
    """Whether a request is a batch of events."""
    return media_type(content_type) == BATCH


def read_batch(body: bytes) -> list[EventReceived]:
    """The events of a batch, which is a JSON array of structured events; HTTP alone has batches.

    Raises BadRequest for what is no JSON, and InvalidRequest with everything that is at fault in the first event that
    is no good: then none of them is to be taken.
    """
    whole = _json(body)
    if not isinstance(whole, list):
        raise InvalidRequest("a batch of events is an array", errors=[Fault("#", "should be an array")])
    members = cast("list[Json]", whole)
    if len(members) > MAX_BATCH:
        detail = f"has {len(members)} events; {MAX_BATCH} are the most"
        raise InvalidRequest("a batch has too many events", errors=[Fault("#", detail)])
    return [_event_of_batch(number, member) for number, member in enumerate(members)]


def as_text(value: str | int | bool) -> str:
    """The text of an attribute's value (CloudEvents 1.0.2, section 3.1), which is all that binary mode has."""
    return msgspec.json.encode(value).decode() if isinstance(value, bool | int) else value


def _event_of_batch(number: int, member: Json) -> EventReceived:
    try:
        return _event(*_structured(member))
    except InvalidRequest as exc:
        faults = [structs.replace(fault, pointer=f"#/{number}{fault.pointer[1:]}") for fault in exc.errors]
        raise InvalidRequest(f"event {number} of the batch: {exc.detail}", errors=faults) from exc


def _structured(whole: Json) -> tuple[dict[str, Json], Json]:
    if not isinstance(whole, dict):
        raise InvalidRequest("a CloudEvent is an object", errors=[Fault("#", "should be an object")])
    members = dict(cast("dict[str, Json]", whole))
    if "data_base64" in members:
        raise InvalidRequest(
            "the data of an event is JSON", errors=[Fault("#/data_base64", "not taken: send JSON in `data`")]
        )
    content = members.pop("data", None)
    # An attribute that is null is one that is not there.
    return {name: value for name, value in members.items() if value is not None}, content


def _binary(headers: Mapping[str, str], body: bytes, content_type: str | None) -> tuple[dict[str, Json], Json]:
    attributes: dict[str, Json] = {
        name.removeprefix(HEADER): _decoded(name, value) for name, value in headers.items() if name.startswith(HEADER)
    }
    if body and not _is_json(content_type):
        raise UnsupportedMediaType(f"the data of an event is JSON, not {media_type(content_type)[:100] or 'unnamed'}")
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return attributes, _json(body) if body else None


def _decoded(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as exc:
        raise BadRequest(f"the header {name} is not percent-encoded UTF-8: {exc.reason}") from exc


def _is_json(content_type: str | None) -> bool:
    media = media_type(content_type)
    return media in PLAIN_JSON or media.endswith("+json")


def _json(body: bytes) -> Json:
    try:
        return _decode.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not valid JSON: {exc}") from exc
    except RecursionError as exc:
        raise BadRequest("the body is nested too deeply") from exc


def _event(attributes: dict[str, Json], content: Json) -> EventReceived:
    faults = list(_faults(attributes))
    if faults:
        raise InvalidRequest("this is not a CloudEvent that can be taken", errors=faults)
    return EventReceived(
        event_id=attributes["id"],
        event_type=attributes["type"],
        source=attributes["source"],
        subject=attributes.get("subject"),
        time=_moment(attributes["time"]) if "time" in attributes else None,
        content=content,
        attributes={name: value for name, value in attributes.items() if name not in _KNOWN}
        | _kind_of_data(attributes),
    )


def _kind_of_data(attributes: Mapping[str, Json]) -> dict[str, str]:
    """`datacontenttype`, where it says more than that the data is JSON."""
    kind = attributes.get("datacontenttype")
    return {"datacontenttype": kind} if _is_text(kind) and media_type(kind) not in PLAIN_JSON else {}


def _faults(attributes: Mapping[str, Json]) -> Iterable[Fault]:
    for name in _REQUIRED:
        if name not in attributes:
            yield Fault(pointer(name), "missing", f"a member in structured mode, the header {HEADER}{name} in binary")
    if attributes.get("specversion", "1.0") != "1.0":
        yield Fault("#/specversion", "should be `1.0`")
    for name in ("id", "source", "type", "subject", "time", "datacontenttype"):
        if name in attributes and not _is_text(attributes[name]):
            yield Fault(pointer(name), f"should be text of 1 to {MAX_TEXT_LENGTH} characters")
    yield from _type_faults(attributes.get("type"))
    time = attributes.get("time")
    if _is_text(time) and _moment(time) is None:
        yield Fault("#/time", "should be a time of RFC 3339, such as 2026-03-01T12:00:00Z")
    content_type = attributes.get("datacontenttype")
    if _is_text(content_type) and not _is_json(content_type):
        yield Fault("#/datacontenttype", "not taken: the data of an event is JSON")
    others = [name for name in attributes if name not in _KNOWN]
    if len(others) > MAX_OTHERS:
        yield Fault("#", f"has {len(others)} attributes of its own; {MAX_OTHERS} are the most")
    for name in others[:MAX_OTHERS]:
        value = attributes[name]
        if not _NAME.fullmatch(name) or name == "data":
            yield Fault(pointer(name), "names of attributes are lower-case letters and digits")
        elif not (isinstance(value, bool) or _is_text(value) or _is_integer(value)):
            yield Fault(pointer(name), "an attribute is text, a whole number of 32 bits, true or false")


def _type_faults(kind: Json) -> Iterable[Fault]:
    if not _is_text(kind):
        return
    if len(kind) > MAX_TYPE_LENGTH or not _TYPE.fullmatch(kind):
        yield Fault("#/type", f"should be words with dots between, up to {MAX_TYPE_LENGTH} characters")
    elif kind.startswith(OWN_PREFIX) or kind in OWN_TYPES:
        yield Fault("#/type", "this is the type of an event of ours, which nobody outside can make")


def _is_text(value: Json) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_LENGTH


def _is_integer(value: Json) -> bool:
    return isinstance(value, int) and -(2**31) <= value < 2**31


def _moment(text: str) -> datetime | None:
    try:
        moment = _decode_time.decode(msgspec.json.encode(text))
    except msgspec.DecodeError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC)
