"""Reading a CloudEvent 1.0 from an HTTP request: in structured mode as JSON, or in binary mode, with JSON as its data.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeGuard, cast
from urllib.parse import unquote

import msgspec

from playhead_contracts.errors import Fault
from playhead_contracts.events import EventReceived, Json
from playhead_contracts.ids import EVENT_TYPE_PATTERN
from playhead_contracts.pointers import pointer
from playhead_engine.watching import OWN_PREFIX, OWN_TYPES
from playhead_gateway.bodies import media_type
from playhead_gateway.problems import BadRequest, InvalidRequest, UnsupportedMediaType

STRUCTURED = "application/cloudevents+json"
HEADER = "ce-"
MAX_TYPE_LENGTH = 200
MAX_TEXT_LENGTH = 1024
MAX_OTHERS = 50
"""How many attributes an event may have besides those that CloudEvents itself knows."""

_TYPE = re.compile(EVENT_TYPE_PATTERN)
_NAME = re.compile(r"[a-z0-9]{1,64}")
_REQUIRED = ("specversion", "id", "source", "type")
_KNOWN = frozenset((*_REQUIRED, "subject", "time", "datacontenttype"))
_decode = msgspec.json.Decoder()
_decode_time = msgspec.json.Decoder(datetime)


def read_cloud_event(headers: Iterable[tuple[str, str]], body: bytes) -> EventReceived:
    """The event that a request holds. Names of headers in lower case.

    Raises BadRequest for what is no JSON, UnsupportedMediaType for data that is not, and InvalidRequest with every
    attribute that is at fault.
    """
    fields = dict(headers)
    content_type = fields.get("content-type")
    if media_type(content_type) == STRUCTURED:
        attributes, content = _structured(body)
    elif media_type(content_type).startswith("application/cloudevents"):
        raise UnsupportedMediaType(f"send one event, as {STRUCTURED} or with its attributes in ce- headers")
    else:
        attributes, content = _binary(fields, body, content_type)
    return _event(attributes, content)


def _structured(body: bytes) -> tuple[dict[str, Json], Json]:
    whole = _json(body)
    if not isinstance(whole, dict):
        raise InvalidRequest("a CloudEvent is an object", errors=[Fault("#", "should be an object")])
    members = cast("dict[str, Json]", whole)
    if "data_base64" in members:
        raise InvalidRequest(
            "the data of an event is JSON", errors=[Fault("#/data_base64", "not taken: send JSON in `data`")]
        )
    content = members.pop("data", None)
    # An attribute that is null is one that is not there.
    return {name: value for name, value in members.items() if value is not None}, content


def _binary(headers: Mapping[str, str], body: bytes, content_type: str | None) -> tuple[dict[str, Json], Json]:
    attributes: dict[str, Json] = {
        name.removeprefix(HEADER): unquote(value) for name, value in headers.items() if name.startswith(HEADER)
    }
    if body and not _is_json(content_type):
        raise UnsupportedMediaType(f"the data of an event is JSON, not {media_type(content_type)[:100] or 'unnamed'}")
    return attributes, _json(body) if body else None


def _is_json(content_type: str | None) -> bool:
    media = media_type(content_type)
    return media in ("application/json", "text/json") or media.endswith("+json")


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
        attributes={name: value for name, value in attributes.items() if name not in _KNOWN},
    )


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
