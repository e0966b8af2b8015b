"""Events as CloudEvents 1.0, structured JSON, one a line.

They are made from what the relay puts on the bus, so that an event has the same attributes wherever it is met; and
`playheadposition`, its place in the log. Large values are in their places, for there is no limit to a line.
"""

from typing import BinaryIO
from urllib.parse import unquote

import msgspec

from playhead_cli.exports.reading import Part
from playhead_eventlog import RawEvent
from playhead_projector.bus_copy import EVENT_HEADER, POSITION_HEADER, bus_message

_ATTRIBUTE = "ce-"
_OURS = {POSITION_HEADER: "playheadposition", EVENT_HEADER: "playheadevent", "traceparent": "traceparent"}
"""Headers that are attributes here. A position may be larger than an Integer of CloudEvents, so it is text."""

_NO_LIMIT = 2**62

_encoder = msgspec.json.Encoder()


async def write(part: Part, file: BinaryIO) -> int:
    """Write the events; gives how many. Raises BrokenBlob."""
    count = 0
    async for events in part.pages():
        for event in events:
            file.write(cloud_event(await part.whole(event)) + b"\n")
        count += len(events)
    return count


def cloud_event(event: RawEvent) -> bytes:
    """An event as one JSON object."""
    message = bus_message(event, _NO_LIMIT)
    members: dict[str, str | msgspec.Raw] = {}
    for line in message.headers.split("\r\n"):
        name, _, value = line.partition(": ")
        attribute = name[len(_ATTRIBUTE) :] if name.startswith(_ATTRIBUTE) else _OURS.get(name)
        if attribute is not None:
            members.setdefault(attribute, unquote(value))
    members["data"] = msgspec.Raw(message.body)
    return _encoder.encode(members)
